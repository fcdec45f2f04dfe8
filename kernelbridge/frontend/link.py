"""A bridge's inner life: the channels' threads, the tracker and the subscribers, and how they begin and end together.

Everything that arrives goes one way. The IOPub thread hands on what it read in a row, the Shell and Control threads
each reply; both tell the tracker under one lock, `ordering`, and the IOPub thread hands its batch to all subscribers
under the same. So whoever is told that an execution is done finds all of its outputs handed out.

A death takes the same way: Shell, Control and IOPub read what has arrived before the requests that are still open end.
The reply and the last words of a kernel that answered and went are not lost.

A link holds one kernel. When a bridge restarts its kernel, another link takes the place of this one, and goes on with
its stream and its session (lives.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import zmq

from kernelbridge.bridges.service import Service
from kernelbridge.frontend.answers import Answers
from kernelbridge.frontend.channel import Wiring
from kernelbridge.frontend.channels import Channels, SendingChannel, Settings
from kernelbridge.frontend.control import Control
from kernelbridge.frontend.errors import (
    BridgeClosedError,
    BridgeCrashedError,
    BridgeError,
    KernelDiedError,
    KernelStartError,
)
from kernelbridge.frontend.execution import Home
from kernelbridge.frontend.heartbeat import Heartbeat
from kernelbridge.frontend.interrupter import Interrupter
from kernelbridge.frontend.iopub import Iopub
from kernelbridge.frontend.liveness import MISSES
from kernelbridge.frontend.outbox import Outbox
from kernelbridge.frontend.registration import Registration
from kernelbridge.frontend.shell import Shell
from kernelbridge.frontend.stdin import Stdin
from kernelbridge.frontend.subscribers import Batch, Snapshot, Subscribers
from kernelbridge.frontend.threads import Threads
from kernelbridge.frontend.tracker import Tracker, settle
from kernelbridge.wire.connection import Channel as ChannelName
from kernelbridge.wire.connection import ConnectionInfo
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import encode
from kernelbridge.wire.log import begin as begin_log
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.signing import Signer
from kernelbridge.wire.strays import Strays

if TYPE_CHECKING:
    from kernelbridge.frontend.process import Exit, KernelProcess


class Link:
    """Holds one kernel, from its start to its end, or from when it is connected to. Any thread may call it.

    Takes the bridge's `settings`; the `former` link, whose place this one takes; and `on_death`, which is called on any
    thread, once, when the kernel has died and all consequences but the end of its process have happened.
    """

    def __init__(
        self, settings: Settings, former: Link | None = None, on_death: Callable[[Link], object] = lambda link: None
    ) -> None:
        begin_log()
        self.settings = settings
        self.name = settings.name
        self.clock = settings.clock
        self.session: Session = Session(self.clock.now) if former is None else former.session
        self.strays: Strays = Strays() if former is None else former.strays
        self._on_death = on_death
        self.ready: Future[None] = Future()
        """Done when the kernel is ready, or will not be. One that is replaced before leaves it to its successor."""
        self.ready.set_running_or_notify_cancel()
        self.info: dict[str, Any] = {}
        """Content of the kernel_info_reply; empty until the kernel is ready."""
        self.connection: ConnectionInfo | None = None
        self.connection_file: Path | None = None
        self.process: KernelProcess | None = None
        self.second_start: Callable[[], None] | None = None
        """Starts the kernel in another way, once, when its process has ended before it was ready. For `launch`."""
        self.attempt = 1
        """Which start this is. Written with `second_start`: what an earlier one has yet to open must stay closed."""
        # Orders the stream. Guards what stands below it. Taken by the IOPub thread once for a batch, by Shell and
        # Control once for a reply, by a caller once for a request; never held while anything is waited for or settled.
        self.ordering: threading.Lock = threading.Lock() if former is None else former.ordering
        self.tracker = Tracker(self.session, self.strays, self.clock.monotonic)
        self.outbox = Outbox(settings, self.session, self.ordering, self.tracker)
        self._threads = Threads(settings.context, self.ordering, self.outbox)
        self.subscribers: Subscribers = Subscribers(self.ordering) if former is None else former.subscribers
        if former is None:
            self.subscribers.snapshot = self.snapshot
        self.fate: Literal["alive", "dead", "replaced", "closed"] = "alive"
        self.ready_at: float | None = None
        """When the kernel became ready, on the clock's monotonic scale."""
        self.told_to_end = False
        """Whether the bridge has asked for its end, so that its exit is no accident."""
        self.waits_for = former
        """The link whose kernel has yet to end before this one's may begin."""
        self._verdict: BridgeError | None = None
        """Why the kernel is given up, if its exit is not the reason."""
        # Whether the stream has been told of the kernel's end, behind which nothing of it comes any more.
        self._said_last = False
        # The process of the first start, whose thread makes the second one.
        self._former: KernelProcess | None = None
        self.home = Home(self.ordering, self.strays, self.outbox.cancel, settings.output_store)
        self.interrupter = Interrupter(self)
        self._answers = Answers(self)

    @property
    def status(self) -> str:
        """See `Bridge.status`."""
        if self.fate != "alive":
            return self.fate
        if not self.outbox.is_open:
            return "starting" if self.waits_for is None else "restarting"
        said = self.tracker.status
        return "idle" if said == "starting" else said

    @property
    def is_starting(self) -> bool:
        """Whether somebody waits for it: it is neither ready nor given up."""
        return self.fate == "alive" and not self.outbox.is_open

    @property
    def ready_seconds(self) -> float | None:
        """How long ago the kernel became ready."""
        return None if self.ready_at is None else self.clock.monotonic() - self.ready_at

    def expect_end(self) -> None:
        """Learn that the kernel is about to be told to end: its exit will be no accident."""
        self.told_to_end = True
        self.second_start = None

    def snapshot(self) -> Snapshot:
        """Return what a reader of the stream would know by now. Called under the lock."""
        return self.tracker.snapshot(self.status)

    @property
    def last_beat(self) -> float | None:
        """When the kernel last echoed a ping."""
        channels = self.outbox.channels
        return None if channels is None else channels.heartbeat.last_beat

    # The beginning

    def open(self, connection: ConnectionInfo, attempt: int = 1) -> None:
        """Connect the channels. Does nothing when the bridge has been closed, or another start been made, meanwhile."""
        # A provisioner may have let the kernel choose it. What was asked before was signed with the one it was offered.
        has_own_key = not self.settings.signer.is_for(connection.key, connection.signature_scheme)
        wiring = Wiring(
            self._threads.context,
            self.clock,
            connection,
            self.session.session_id.encode(),
            Signer(connection.key, connection.signature_scheme) if has_own_key else self.settings.signer,
            self.settings.limits,
            self.strays,
            self.crashed,
            starting=not self.settings.may_be_busy,
            signs_again=has_own_key,
        )

        def channels() -> Channels | None:
            if self.fate != "alive" or attempt != self.attempt:
                return None
            self.connection = connection
            shell = Shell(
                wiring,
                self.session,
                self.settings.timeout,
                partial(self._replied, "shell"),
                on_ready=partial(self._ready, attempt),
                on_late=self._late,
                ask_control=partial(self.outbox.put, "control") if self.settings.may_be_busy else None,
                due=lambda: self.tracker.queue.due,
                on_due=self.interrupter.expire,
            )
            return Channels(
                shell,
                Control(wiring, partial(self._replied, "control")),
                Iopub(wiring, self._published),
                Stdin(wiring, self._answers.requested, shell.can_ask),
                Heartbeat(wiring, self.settings.beat_seconds, self._silent),
            )

        self._threads.begin(channels)

    def register(self, kernel_id: str, ip: str, on_ports: Callable[[dict[ChannelName, int]], None]) -> int:
        """Return the port at which the kernel of this id is to report its ports. `on_ports` is called with them."""
        registration = Registration(
            self._threads.context,
            self.clock,
            ip=ip,
            kernel_id=kernel_id,
            signer=self.settings.signer,
            strays=self.strays,
            timeout=self.settings.timeout,
            on_ports=on_ports,
            on_late=partial(self._late, "it has not reported its ports"),
            on_crash=self.crashed,
        )
        return self._threads.register(registration)

    def opened(self, connection: ConnectionInfo, attempt: int) -> None:
        """Do what `open` does where nobody could take its exception: the start fails instead."""
        try:
            self.open(connection, attempt)
        except (OSError, zmq.ZMQError) as error:
            self.fail_start(f"cannot be connected to: {error}")

    def _ready(self, attempt: int, info: dict[str, Any], busy: bool) -> None:
        with self.ordering:
            # A kernel may have been ready at its end, which is a start that failed: another takes its place.
            if self.fate != "alive" or attempt != self.attempt:
                return
            self.info = info
            self.ready_at = self.clock.monotonic()
            if busy:
                # What Control was asked has ended with an idle of its own.
                self.tracker.status = "busy"
            self.outbox.open()
        self.ready.set_result(None)

    def _late(self, missing: str) -> None:
        encrypted = self.connection is not None and self.connection.curve_publickey is not None
        hint = " (the connection is encrypted: does it know CURVE?)" if encrypted else ""
        self.fail_start(f"was not ready after {self.settings.timeout:g} s: {missing}{hint}")

    def fail_start(self, problem: str) -> None:
        """Give the start up. `problem` continues the sentence "kernel 'python3' ..."."""
        with self.ordering:
            self._verdict = KernelStartError(f"kernel {self.name!r} {problem}")
        if self.process is None:
            self._die(None)
        else:
            # Its exit has all the consequences.
            self.process.end(0)

    def could_not_start(self, error: BaseException) -> None:
        """Learn that there is no kernel, and may be no process."""
        with self.ordering:
            self._verdict = KernelStartError(f"kernel {self.name!r} could not be started: {error}")
        self._die(None)
        if self.process is not None:
            self.process.end(0)

    # What arrives: on the channels' threads

    def _published(self, batch: list[Message]) -> None:
        store = self.settings.output_store
        if store is not None and isinstance(batch, Batch) and batch.size > store.limit:
            store.take_from(batch)
        with self.ordering:
            if self._said_last:
                return
            ended = self.tracker.published(batch)
            self.subscribers.hand(batch)
            self.outbox.release()
            starting = None if self.outbox.is_open else self.outbox.channels
        settle(ended)
        if starting is not None:
            starting.shell.heard(batch)

    def _replied(self, channel: SendingChannel, message: Message) -> None:
        with self.ordering:
            probed = channel == "control" and message.msg_type == "kernel_info_reply"
            if probed and self.tracker.find(message.parent_id) is None and self.outbox.channels is not None:
                # Shell knows its probes.
                self.outbox.channels.shell.answered(message)
                return
            ended = self.tracker.replied(channel, message)
            self.outbox.release()
        settle(ended)

    def _silent(self, ever_echoed: bool = True) -> None:
        """Judge, on Heartbeat's thread, a kernel that does not echo (liveness.py)."""
        state = None if self.process is None else self.process.state()
        with self.ordering:
            starting, works = not self.outbox.is_open, self.tracker.status == "busy"
        if not ever_echoed and state != "stopped":
            return
        # Whoever starts has its own time to become ready.
        if state == "traced" or (starting and state != "stopped") or (works and state == "runs"):
            self.strays.count("hb", "no echo", f"of a kernel whose process is there: {state}")
            return
        seconds = MISSES * (self.settings.beat_seconds or 0)
        problem = "was stopped" if state == "stopped" else "hangs"
        with self.ordering:
            if self._verdict is None:
                kind = KernelDiedError if self.outbox.is_open else KernelStartError
                self._verdict = kind(f"kernel {self.name!r} {problem}: it has not echoed for {seconds:g} s")
            channels = self.outbox.channels
        if channels is not None:
            channels.when_read(partial(self._die, None))
        if self.process is not None:
            self.process.end(0)

    # The end

    def exited(self, how: Exit) -> None:
        """Learn, on the process's thread, that the process has ended. Returns when all consequences have happened."""
        if self._starts_again():
            return
        finished = threading.Event()
        channels = self._threads.begun()

        def end() -> None:
            if channels is not None:
                channels.forget_unsent()
            self._die(how)
            finished.set()

        if channels is None:
            end()
        else:
            channels.when_read(end)
            finished.wait()
        self._threads.end()

    def _starts_again(self) -> bool:
        """Make the second start, if there is one and it is of use. What was asked for is still held: none is lost."""
        with self.ordering:
            start, self.second_start = self.second_start, None
            if start is None or self.fate != "alive" or self.outbox.is_open or self._verdict is not None:
                return False
            self.attempt += 1
            self._former = self.process
            if self.outbox.channels is not None:
                self.outbox.channels.forget_unsent()
        self._threads.stop()
        try:
            start()
        except (BridgeError, WireError, OSError, zmq.ZMQError) as error:
            self.could_not_start(error)
        return True

    def _die(self, how: Exit | None) -> None:
        """End what is open, once, because the kernel is gone; `how` is None where it has no process here."""
        with self.ordering:
            if self.fate != "alive":
                return
            self.fate = "dead"
            was_ready = self.outbox.is_open
            error = self._death(how, was_ready)
            self._say_last("dead")
            ended = self.tracker.end_all(error)
        if not was_ready:
            self.ready.set_exception(error())
        settle(ended)
        self._threads.release()
        self._on_death(self)

    def _say_last(self, state: Literal["dead", "restarting"]) -> None:
        """Hand out, under the lock, what the kernel cannot say itself any more. Nothing that it says comes behind."""
        self._said_last = True
        status = Message(self.session.header("status"), {"execution_state": state})
        self.subscribers.hand([*self.tracker.comms.close_all(self.session), status])

    def _death(self, how: Exit | None, was_ready: bool) -> Callable[[], Exception]:
        said = self._verdict
        if said is not None:
            return lambda: type(said)(str(said))
        if how is None:
            return lambda: KernelDiedError(f"kernel {self.name!r} is gone")
        if was_ready:
            return lambda: KernelDiedError(f"kernel {self.name!r} {how.describe()}")
        return lambda: KernelStartError(f"kernel {self.name!r} {how.describe(' while starting')}")

    def crashed(self, service: Service, failure: BaseException) -> None:
        """Learn, on its thread, that a service has crashed: to its users the kernel is gone (contract F6)."""
        with self.ordering:
            self._verdict = BridgeCrashedError(f"the {service.name} thread crashed: {failure!r}")
        self._die(None)
        if self.process is not None:
            self.process.end(0)

    def refuse(self) -> None:
        """End what is open because the bridge is closed, and begin nothing any more. Waits for nothing."""

        def error() -> BridgeClosedError:
            return BridgeClosedError("the bridge was closed")

        with self.ordering:
            was_starting = self.is_starting
            if self.fate != "replaced":
                self.fate = "closed"
            ended = self.tracker.end_all(error)
        if was_starting:
            self.ready.set_exception(error())
        settle(ended)

    def give_way(self, take_over: Callable[[], None]) -> None:
        """End what is open because the kernel is restarted. Nothing that it still says is handed out (contract F8).

        `take_over` is called under the lock that orders the stream: between what this kernel has said and what the next
        one will.
        """
        with self.ordering:
            take_over()
            self._say_last("restarting")
            if self.fate != "closed":
                self.fate = "replaced"
            ended = self.tracker.end_all(lambda: KernelDiedError(f"kernel {self.name!r} was restarted"))
        settle(ended)

    def close(self, grace: float) -> None:
        """End everything. A launched kernel is shut down, and killed if it has not ended within `grace` seconds.

        Returns when no thread, process or file is left. Further calls do, and wait for, the same.
        """
        self.refuse()
        while (process := self.process) is not None:
            if self.ready_at is not None:
                self._ask_to_shut_down()
            # One that is not ready would not hear it, and has nothing to lose.
            process.end(grace if self.ready_at is not None else 0)
            process.wait()
            process.stop()
            if process is self.process:
                break
        if self._former is not None:
            self._former.wait()
            self._former.stop()
        self._threads.end()

    def _ask_to_shut_down(self) -> None:
        request = Message(self.session.header("shutdown_request"), {"restart": self.fate == "replaced"})
        with self.ordering:
            self.outbox.put("control", encode(request, self.settings.signer, self.settings.limits))
