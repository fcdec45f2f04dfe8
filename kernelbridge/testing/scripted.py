"""A kernel that plays a script: for tests of frontends, of any frontend, also one that blocks its thread.

    script = [
        on(execute_request("a"), busy(), stdout("x"), reply(), idle()),
        on(execute_request("b"), busy(), stdout("last words"), die()),
    ]
    with ScriptedKernel(*script) as kernel:
        client = BlockingKernelClient(connection_file=str(kernel.connection_file))
        ...

A script is a row of steps, played once and in order on the kernel's own thread (`kernelbridge.testing.steps` has them
all). `on` awaits a request and answers it with its steps; a matcher among them is sent, with that request as its
parent, and what it leaves open is filled in. Late and early messages are written where they come:

    on(execute_request("a"), idle(), busy(), reply())                      idle before the reply, busy behind it
    on(execute_request("a"), busy(), reply(),                              the idle of the first request comes
       on(execute_request("b"), handle(stdout("x"))), idle())              behind all of the second
    on(execute_request("a"))                                               never answered
    on(execute_request("a"), handle(stdout("x", parent="nobody")))         a wrong parent
    on(execute_request("a"), handle(message("of_my_own", a=1)))            an unknown type
    on(execute_request("a"), handle(stdout("x" * 10**9)))                  a message over somebody's limit

Faults are steps as well: `duplicate`, `replay`, `bad_signature`, `truncated`, `garbage`, `gap`, `flood`, `hang`, `die`.

What the script does not await is answered by standing answers (`always`) or fails the test. There are two from the
start: a kernel_info_request is answered, and a shutdown_request ends the kernel. ``always(request("kernel_info"))``,
which takes and never answers, turns the first off. Subscriptions are welcomed and heartbeats echoed.

A kernel in a process of its own, which can be launched by name and can exit, is made by `scripted_kernelspec`; one that
the test plays itself, step by step, is a `ManualKernel`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, Unpack

from kernelbridge.bridges.channel_bridge import ChannelBridge
from kernelbridge.bridges.service import Service
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.testing.manual import ANSWER_KERNEL_INFO, KernelOptions, ManualKernel
from kernelbridge.testing.matchers import request
from kernelbridge.testing.report import Comparison, TimeLine, hides_kit
from kernelbridge.testing.sockets import REQUEST_CHANNELS
from kernelbridge.testing.steps import Always, Scriptable, Step, always, as_steps, die, handle, outline
from kernelbridge.wire.connection import ConnectionInfo
from kernelbridge.wire.messages import Message

__all__ = ["ScriptedKernel"]

__tracebackhide__ = hides_kit

_ANSWERS: Final = (ANSWER_KERNEL_INFO, always(request("shutdown"), handle(), die(0)))

# How many lines of a script a report shows before and behind the step that was being played.
_OUTLINE_BEFORE: Final = 30
_OUTLINE_BEHIND: Final = 10


class Player(ManualKernel):
    """A kernel that plays its script. Used by one thread, but for `words`.

    Calls `on_played` when the script has been played to its end. One that is not `patient` ends then when nothing has
    come for the deadline; else the test has to tell it.
    """

    def __init__(
        self,
        script: Sequence[Scriptable | Always],
        *,
        on_played: Callable[[], object] = lambda: None,
        patient: bool = True,
        **options: Unpack[KernelOptions],
    ) -> None:
        standing = tuple(step for step in script if isinstance(step, Always))
        super().__init__(answers=(*standing, *_ANSWERS), **options)
        self.words: ChannelBridge[str | None]
        """Tells the kernel to go on at a cue, by its name, or to end, by None. Any thread may."""
        self.cut_short = False
        """Whether the test has ended before the script had."""
        self._script = as_steps([step for step in script if not isinstance(step, Always)])
        self._on_played = on_played
        self._patient = patient
        self._outline = list(outline(self._script))
        self._begun = 0
        self._standing = False
        self._cues: set[str] = set()
        self._ending = self._settled = False

    def open(self) -> None:
        super().open()
        self.words = ChannelBridge(self.context)
        self._sockets.watch(self.words.open())

    def close_sockets(self) -> None:
        super().close_sockets()
        self.words.close()

    def perform(self) -> None:
        """Play the script, and then give standing answers until the kernel is told to end or dies.

        Raises `ProtocolFailure`.
        """
        self.play(*self._script)
        if self._begun < len(self._outline):
            self.fail("the script was not played to its end", self.hopeless())
        if not self._hangs:
            self._on_played()
        while not self.dead and not self._hangs:
            self._answer_standing(None)
            if unexpected := [channel for channel in REQUEST_CHANNELS if self._waiting[channel]]:
                headline = f"{unexpected[0]}: a message that no step expects"
                self.fail(headline, "the script has been played to its end", unexpected[0])
            if self.hopeless() or not self._something_comes():
                return

    def _something_comes(self) -> bool:
        """Wait for something, and return whether it has come in time."""
        before = len(self.time_line.events)
        end = time.monotonic() + self.deadline
        while len(self.time_line.events) == before and not self._ending:
            left = end - time.monotonic()
            if left <= 0 and not self._patient:
                return False
            self._receive_or_fail(None if self._patient else left)
        return True

    # What the test says

    def receive(self, seconds: float | None) -> str:
        if self.dead:
            return ""
        # Who has been told to end waits for nothing more.
        asleep = self.words.rest() and not self._ending
        problem = super().receive(seconds if asleep else 0)
        self._listen()
        return problem

    def _listen(self) -> None:
        self.words.answer()
        for word in self.words.take():
            if word is None:
                self._ending = True
            else:
                self._cues.add(word)

    def hopeless(self) -> str:
        if not self._ending or self.dead or self._hangs:
            return super().hopeless()
        if not self._settled:
            # What was sent before the test ended counts.
            self._settled = True
            self.settle()
            return ""
        self.cut_short = True
        return "the test has ended"

    def await_cue(self, name: str) -> None:
        end = time.monotonic() + self.deadline
        while name not in self._cues:
            left = end - time.monotonic()
            why = self.hopeless() or (f"not within {self.deadline:g} s" if left <= 0 else "")
            if why:
                self.fail(f"the test has not given cue {name!r}", why)
            self._receive_or_fail(left)

    def hang(self) -> None:
        super().hang()
        if self._begun == len(self._outline):
            # It may never come back.
            self._on_played()
        end = time.monotonic() + self.deadline
        while not self._ending:
            left = end - time.monotonic()
            if left <= 0 and not self._patient:
                return
            if self.words.rest():
                self._sockets.sleep(None if self._patient else left)
            self._listen()

    # The report

    def begin(self, step: Step) -> None:
        if not self._standing:
            self._begun += 1

    def answer_standing(self, answer: Always, asked: Message) -> None:
        outer, self._standing = self._standing, True
        super().answer_standing(answer, asked)
        self._standing = outer

    def report(self, headline: str, why: str, comparison: Comparison | None = None) -> str:
        first = max(0, self._begun - _OUTLINE_BEFORE)
        last = self._begun + _OUTLINE_BEHIND
        lines = [f"  ... {first} steps"] if first else []
        for number, line in list(enumerate(self._outline, 1))[first:last]:
            mark = ">" if number == self._begun else "=" if number < self._begun else " "
            lines.append(f"{mark} {line}")
        if last < len(self._outline):
            lines.append(f"  ... {len(self._outline) - last} steps")
        whole = super().report(headline, why, comparison)
        return "\n".join([whole, "", "script (= played; > the last step begun)", *(lines or ["  is empty"])])


class _Thread(Service):
    """Plays a script, and keeps what went wrong. Sets `over` at its end."""

    def __init__(self, player: Player, over: threading.Event) -> None:
        super().__init__("testing-scripted")
        self._over = over
        self.failure: BaseException | None = None
        self._player = player

    def run(self) -> None:
        self._player.open()
        self.ready()
        try:
            self._player.perform()
        except BaseException as failure:  # noqa: BLE001 - raised in the thread of the test.
            self.failure = failure
        finally:
            self._player.close_sockets()
            self._over.set()

    def wake(self) -> None:
        self._player.words.put(None)


class ScriptedKernel:
    """A kernel that plays `script` on a thread of its own, for the time of a `with` block.

    Takes what a `ManualKernel` takes beside. At the end of the block the script has to have been played to its end, and
    everything that was sent to the kernel has to have been awaited by a step or a standing answer. Raises
    `ProtocolFailure`, an AssertionError, whose text is the report, and what else was raised on the kernel's thread.
    Where the block itself fails, that is raised from the block's exception; of a script that had just not ended yet,
    the report is a note to it.
    """

    def __init__(self, *script: Scriptable | Always, **options: Unpack[KernelOptions]) -> None:
        self._played = threading.Event()
        self._player = Player(script, on_played=self._played.set, **options)
        self._thread = _Thread(self._player, self._played)

    @property
    def connection(self) -> ConnectionInfo:
        """Where the kernel is."""
        return self._player.connection

    @property
    def connection_file(self) -> Path:
        """A connection file, which only the user can read. It is written when it is first asked for."""
        return self._player.connection_file

    @property
    def context(self) -> Context:
        """What a frontend in this process needs where the transport is inproc."""
        return self._player.context

    @property
    def time_line(self) -> TimeLine:
        """All that has travelled."""
        return self._player.time_line

    def cue(self, name: str) -> None:
        """Let the script go on at its step `cue(name)`."""
        self._player.words.put(name)

    def wait(self) -> None:
        """Wait until the script has been played to its end. Raises what the kernel's thread raised."""
        if not self._played.wait(self._player.deadline):
            raise TimeoutError(f"the script has not ended within {self._player.deadline:g} s")
        self.check()

    def check(self) -> None:
        """Raise what the kernel's thread raised, if it has."""
        if self._thread.failure is not None:
            raise self._thread.failure

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except BaseException:
            self._player.clean_up()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._thread.stop(self._player.deadline):
            raise TimeoutError(f"the kernel's thread has not ended within {self._player.deadline:g} s") from error
        self._player.clean_up()
        failure = self._thread.failure
        if isinstance(error, Exception) and failure is not None and not self._player.cut_short:
            raise failure from error
        if error is None:
            self.check()
        elif failure is not None:
            error.add_note(str(failure))
