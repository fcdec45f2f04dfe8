"""A kernel whose part is played by hand: the test takes the requests off the sockets and sends what it likes.

    with ManualKernel() as kernel:
        bridge = connect(kernel.connection)
        kernel.become_ready()
        execution = bridge.execute("a")
        request = kernel.take(execute_request("a"))
        kernel.play(busy(), stdout("x"), idle(), reply(), parent=request)

All of it happens on the thread that calls, so nothing happens between two calls. The frontend must not be one that
blocks that thread: for those there is `ScriptedKernel`, which plays a script in the same words on a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self, TypedDict

import zmq

from kernelbridge.bridges.clock import Clock, SystemClock
from kernelbridge.bridges.socket_bridge import Context, Frame
from kernelbridge.frontend.readiness import sends_welcome
from kernelbridge.testing.client import DEADLINE
from kernelbridge.testing.kernel_sockets import KernelSockets, Place
from kernelbridge.testing.making import Maker, channel_to_kernel
from kernelbridge.testing.matchers import Matcher, iopub_welcome, message, request
from kernelbridge.testing.patterns import ANY, Captured
from kernelbridge.testing.report import Comparison, Event, ProtocolFailure, TimeLine, full_report, hides_kit
from kernelbridge.testing.sockets import REQUEST_CHANNELS
from kernelbridge.testing.steps import Always, Scriptable, Step, always, as_steps, handle
from kernelbridge.wire.connection import Channel, ConnectionInfo, Transport
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode, encode
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.signing import ReplayGuard, Signer

__all__ = ["ANSWER_KERNEL_INFO", "KernelOptions", "ManualKernel"]

__tracebackhide__ = hides_kit

ANSWER_KERNEL_INFO: Final = always(request("kernel_info"), handle())

_FRAMES_KEPT: Final = 100


class KernelOptions(TypedDict, total=False):
    """What every kernel of the kit takes; see `ManualKernel`."""

    transport: Transport
    connection: ConnectionInfo | None
    protocol_version: str
    welcome: bool | None
    numbered: bool
    context: Context | None
    deadline: float
    clock: Clock | None


class ManualKernel:
    """A kernel for the time of a `with` block, over real sockets. Used by one thread.

    Takes the `transport`, or a `connection` that says where to listen; the `protocol_version` that it speaks; whether
    it welcomes subscriptions (JEP 65; None: as its version promises); whether IOPub's messages are `numbered`
    (contract K9); the standing `answers` (`always`); the ZMQ `context`, by default one of its own; the `deadline`
    of every wait in seconds; and the `clock`.

    While it waits it echoes heartbeats, welcomes subscriptions and gives the standing answers. At the end of the block
    everything that was sent to it has to have been taken. Raises `ProtocolFailure`.
    """

    def __init__(
        self,
        *,
        transport: Transport = "ipc",
        connection: ConnectionInfo | None = None,
        protocol_version: str = "5.5",
        welcome: bool | None = None,
        numbered: bool = False,
        answers: Sequence[Always] = (),
        context: Context | None = None,
        deadline: float = DEADLINE,
        clock: Clock | None = None,
    ) -> None:
        self.deadline = deadline
        """May be changed at any time."""
        self.time_line = TimeLine()
        self.exit_status: int | None = None
        """With what the kernel has died, if it has."""
        self._transport = transport
        self._given = connection
        self._place: Place | None = None
        self._welcome = sends_welcome(protocol_version) if welcome is None else welcome
        self._always = tuple(answers)
        self._given_context = context
        self.context: Context
        """What a frontend in this process needs where the transport is inproc. There when the block has begun."""
        self._clock = clock or SystemClock()
        self._began = self._clock.monotonic()
        self.session = Session(self._clock.now)
        self._maker = Maker(self.session, protocol_version, numbered=numbered)
        self._guard = ReplayGuard()
        self._waiting: dict[Channel, deque[Event]] = {channel: deque() for channel in REQUEST_CHANNELS}
        self._subscriptions: deque[bytes] = deque()
        self._sent: deque[tuple[Channel, list[Frame]]] = deque(maxlen=_FRAMES_KEPT)
        self._hangs = False
        self._sockets: KernelSockets
        self._signer: Signer

    # The beginning and the end

    def open(self) -> None:
        """Bind the channels, on the thread that uses the kernel."""
        self.context = zmq.Context() if self._given_context is None else self._given_context
        self._place = Place.new(self._transport) if self._given is None else Place(self._given)
        self._sockets = KernelSockets(self._place.connection, self.context)
        self._place.connection = self._sockets.connection
        self._signer = Signer(self.connection.key, self.connection.signature_scheme)

    def close_sockets(self) -> None:
        """Close the sockets, on the same thread."""
        self._sockets.close()

    def clean_up(self) -> None:
        """Remove every file, and wait until what a kernel that died has sent has left; at most the deadline."""
        if self._place is not None:
            self._place.remove()
        if self._given_context is None:
            # On a thread: it waits for ever where a frontend of this process has left a socket open.
            ending = threading.Thread(target=self.context.term, name="kernelbridge-testing-context", daemon=True)
            ending.start()
            ending.join(2 * self.deadline)
            if ending.is_alive():
                raise TimeoutError("a frontend in this process was not closed before its kernel")

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self.close_sockets()
            self.clean_up()

    def finish(self) -> None:
        """Hold that everything that was sent to the kernel has been taken."""
        self.settle()
        self._answer_standing(None)
        # By a clock of its own a frontend asks there whether a kernel that says nothing on Shell is only busy.
        control = self._waiting["control"]
        self._waiting["control"] = deque(one for one in control if one.message.msg_type != "kernel_info_request")
        for channel in REQUEST_CHANNELS:
            if self._waiting[channel] and not self._hangs:
                number = len(self._waiting[channel])
                headline = f"{channel}: {number} message{'s were' if number > 1 else ' was'} not expected"
                self.fail(headline, "everything that a frontend sends has to be expected", channel)

    @property
    def connection(self) -> ConnectionInfo:
        """Where the kernel is."""
        return self._where.connection

    @property
    def connection_file(self) -> Path:
        """A connection file, which only the user can read. It is written when it is first asked for."""
        return self._where.connection_file

    @property
    def _where(self) -> Place:
        if self._place is None:
            raise RuntimeError("the kernel listens nowhere yet: its block has not begun")
        return self._place

    @property
    def dead(self) -> bool:
        return self.exit_status is not None

    # What the kernel hears

    def take(self, matcher: Matcher | None = None, *, channel: Channel | None = None) -> Message:
        """Return the next message on Shell, or on the channel of what is awaited. Raises `ProtocolFailure`.

        It must match, if a matcher is given.
        """
        awaited = message(ANY) if matcher is None else matcher
        where = channel or channel_to_kernel(awaited.msg_type)
        end = time.monotonic() + self.deadline
        self._receive_or_fail(0)
        while True:
            self._answer_standing(where, awaited)
            if self._waiting[where]:
                return self._take(where, awaited)
            headline = f"{where}: what was expected did not come"
            if why := self.hopeless():
                self.fail(headline, why, where, [awaited])
            left = end - time.monotonic()
            if left <= 0:
                self.fail(headline, f"nothing came within {self.deadline:g} s", where, [awaited])
            self._receive_or_fail(left)

    def _take(self, channel: Channel, awaited: Matcher) -> Message:
        event = self._waiting[channel][0]
        captured: Captured = {}
        if why := awaited.difference(event.message, captured):
            self.fail(f"{channel}: the message is not what was expected", why, channel, [awaited])
        for capture, value in captured.items():
            capture.keep(value)
        return self._taken(channel)

    def _taken(self, channel: Channel) -> Message:
        event = self._waiting[channel].popleft()
        event.read = True
        if event.message.msg_type == "execute_request":
            self._maker.execution_count += 1
        return event.message

    def waiting(self, channel: Channel = "shell") -> list[Message]:
        """Return what has been sent to the kernel on this channel until now and was not taken, without taking it."""
        self.settle()
        return [event.message for event in self._waiting[channel]]

    def take_subscription(self) -> bytes:
        """Return the next subscription's topic. It has been welcomed, if this kernel does that."""
        end = time.monotonic() + self.deadline
        self._receive_or_fail(0)
        while not self._subscriptions:
            left = end - time.monotonic()
            if left <= 0:
                self.fail("no subscription came", f"nothing came within {self.deadline:g} s")
            self._receive_or_fail(left)
        return self._subscriptions.popleft()

    def become_ready(self) -> None:
        """Await a subscription and a kernel_info_request, and answer it; further ones have a standing answer now.

        A frontend asks again where it was not sure to hear all of the first answer.
        """
        self.take_subscription()
        self.play(handle(), parent=self.take(request("kernel_info")))
        self._always = (*self._always, ANSWER_KERNEL_INFO)

    def settle(self) -> None:
        """Return when all that has left a frontend before has come."""
        if self.dead or self._hangs:
            return
        found, all_came = self._sockets.read_all(self.deadline)
        self._sort_or_fail(found)
        if not all_came:
            raise TimeoutError(f"the kernel's own sockets have not answered within {self.deadline:g} s")

    def hopeless(self) -> str:
        """Return why nothing more will come, if that is so."""
        if self.dead:
            return "the kernel has died"
        return "the kernel hangs" if self._hangs else ""

    def receive(self, seconds: float | None) -> str:
        """Wait at most so long, take all that has come, and return what was wrong with any of it."""
        return "" if self.dead else self._sort(self._sockets.read(seconds))

    def _receive_or_fail(self, seconds: float | None) -> None:
        if problem := self.receive(seconds):
            self.fail("what came is no message", problem)

    def _sort_or_fail(self, came: Sequence[tuple[Channel, list[Frame]]]) -> None:
        if problem := self._sort(came):
            self.fail("what came is no message", problem)

    def _sort(self, came: Sequence[tuple[Channel, list[Frame]]]) -> str:
        problem = ""
        for channel, frames in came:
            if channel == "hb":
                self._sockets.send("hb", frames)
            elif channel == "iopub":
                self._subscribed(bytes(frames[0]))
            else:
                try:
                    found = decode(frames, self._signer, self._guard)
                except WireError as error:
                    problem = problem or f"{channel}: {error}"
                    continue
                event = Event("<-", channel, self._seconds(), found)
                self.time_line.add_request(event)
                self._maker.heard(found, channel)
                self._waiting[channel].append(event)
        return problem

    def _subscribed(self, frame: bytes) -> None:
        if not frame.startswith(b"\x01"):
            return
        topic = frame[1:]
        self._subscriptions.append(topic)
        if self._welcome:
            channel, made = self.make(iopub_welcome(topic.decode(), parent=None), None)
            # Only what begins with its topic reaches a subscriber.
            made.identities = [topic or b"iopub_welcome"]
            self.send_frames(channel, self.encoded(made))

    def _answer_standing(self, awaiting: Channel | None, awaited: Matcher | None = None) -> None:
        """Play the standing answers to what has come, as far as no `on` awaits it."""
        for channel, events in self._waiting.items():
            while events and not self.dead:
                found = events[0].message
                if channel == awaiting and awaited is not None and not awaited.difference(found, {}):
                    break
                answer = next((one for one in self._always if not one.matcher.difference(found, {})), None)
                if answer is None:
                    break
                self._taken(channel)
                self.answer_standing(answer, found)

    def answer_standing(self, answer: Always, asked: Message) -> None:
        """Play a standing answer."""
        self.play(*answer.steps, parent=asked)

    # What the kernel says

    def play(self, *steps: Scriptable, parent: Message | None = None) -> None:
        """Play the steps; `parent` is the request that is being handled. Messages are sent in the order given."""
        for step in as_steps(steps):
            if self.dead or self._hangs:
                return
            self.begin(step)
            step.play(self, parent)

    def begin(self, step: Step) -> None:
        """Learn that a step is about to be played."""

    def make(
        self, matcher: Matcher, parent: Message | None, channel: Channel | None = None, *, fill: bool = True
    ) -> tuple[Channel, Message]:
        """Return the message that the matcher says, and where it goes: see `Maker.make`."""
        where, made = self._maker.make(matcher, parent, channel, fill=fill)
        if where != "iopub" and not made.identities:
            raise ValueError(f"{made.msg_type} cannot be sent on {where}: there is no request that it could answer")
        return where, made

    def encoded(self, message: Message) -> list[Frame]:
        """Return the frames of a message, signed."""
        return encode(message, self._signer)

    def send_frames(self, channel: Channel, frames: Sequence[Frame]) -> None:
        """Send frames as they are. The time line shows them if they are a message."""
        sent = list(frames)
        self._sent.append((channel, sent))
        if not self._sockets.send(channel, sent):
            self.fail(f"nothing can be sent on {channel}", "the frontend that asked is not connected there")
        try:
            shown = decode(sent, self._signer)
        except WireError as error:
            shown = Message(self.session.header(f"({error})"), {})
        self.time_line.events.append(Event("->", channel, self._seconds(), shown))

    def send_again(self, back: int) -> None:
        """Send again what was sent `back` messages before the next one."""
        if not 1 <= back <= len(self._sent):
            raise ValueError(f"only what was sent 1 to {len(self._sent)} messages before can be sent again, not {back}")
        self.send_frames(*self._sent[-back])

    def leave_out(self, numbers: int) -> None:
        """Leave out so many of IOPub's numbers."""
        self._maker.leave_out(numbers)

    def die(self, status: int) -> None:
        """Close the sockets. What was sent leaves before."""
        self.exit_status = status
        self._sockets.close(self.deadline)

    def hang(self) -> None:
        """Do nothing any more."""
        self._hangs = True

    def await_cue(self, name: str) -> None:
        """Return when the test has given this cue. Only a script needs one."""
        raise TypeError(f"cue {name!r}: a kernel that is played by hand needs no cue")

    def fail(
        self, headline: str, why: str, channel: Channel | None = None, expected: Sequence[Matcher] = ()
    ) -> NoReturn:
        """Raise `ProtocolFailure` with a report of what was expected, of what has come and of all that travelled."""
        # Whatever lies ready belongs in the report; one failure is told at a time.
        self.receive(0)
        comparison = None
        if channel is not None:
            comparison = Comparison(channel, expected, [event.message for event in self._waiting[channel]])
        raise ProtocolFailure(headline, self.report(headline, why, comparison))

    def report(self, headline: str, why: str, comparison: Comparison | None = None) -> str:
        """Return the report of a failure."""
        return full_report(headline, why, comparison, self.time_line)

    def _seconds(self) -> float:
        return self._clock.monotonic() - self._began
