"""A strict client: it reads a kernel channel by channel, and everything that comes has to be expected.

    with ProtocolClient("python3") as client:
        request = client.execute("print('hi')")
        client.iopub.expect(busy(), execute_input("print('hi')"), stdout("hi\\n"), idle(), parent=request)
        client.shell.expect(execute_reply("ok", parent=request))

No sleep, no retry, no filter: what is not expected where it comes, and what nobody has read at the end, is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from kernelbridge.bridges.clock import Clock, SystemClock
from kernelbridge.bridges.socket_bridge import Context, Frame
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing.channel import ProtocolChannel, Unread
from kernelbridge.testing.line import Line
from kernelbridge.testing.making import channel_to_kernel
from kernelbridge.testing.matchers import Matcher, iopub_welcome
from kernelbridge.testing.report import Comparison, Event, ProtocolFailure, TimeLine, full_report, hides_kit
from kernelbridge.testing.sockets import READ_CHANNELS, REQUEST_CHANNELS, Sockets, Until
from kernelbridge.testing.targets import Target, running
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.contents import ExecuteRequest, unstructure
from kernelbridge.wire.messages import Buffer, Message, Session

__all__ = ["DEADLINE", "ProtocolClient"]

__tracebackhide__ = hides_kit

DEADLINE: Final = 60.0
"""How long a wait may take, in seconds. Only what would never come meets it."""

_PROBE_SECONDS: Final = 1.0
"""How long the idle of a probe may take behind its reply, until another probe is sent: a subscription takes effect at
an unknown time, and not every kernel says so."""

_PROBES: Final = 3
"""In how many answered requests a kernel that welcomes subscriptions has done so for sure: its IOPub thread may be in
the middle of a round when the subscription comes, and publish the rest of it before it looks."""


class ProtocolClient:
    """A client of one kernel, over real sockets, for the time of a `with` block. Used by one thread.

    Takes the kernel as a `Target` and, where a Kernel serves over inproc, its ZMQ `context`; the `deadline` of every
    wait in seconds, which has passed when they have, on the client's clock or in real time; and that `clock`, on which
    the kernel's timers are as well where it was given as a handler. When the block begins, all channels are connected,
    the subscription is in effect, and what came before is forgotten; without `settle` nothing is, and `starting` or
    `iopub_welcome` may be expected.

    `topics` are what it subscribes to on IOPub, by default all. `identity` is its name on the other channels (a random
    one), and `receive_limit` how many messages may wait in its own IOPub socket (0: any number), for a client that is
    to be slow.

    A kernel has as many clients as there are blocks, and each sees what the requests of all cause, and their welcomes;
    only the kit's own requests nobody sees. Where a kernel numbers what it publishes (contract K9), a number that is
    missing, comes twice or too early is a failure, from the first message that the client sees on; unless it has
    subscribed to some topics only, which leaves gaps.

    At the end of the block the kernel is asked for a sign that it has said all (a kernel_info_request on each
    channel that was used; one that was sent a shutdown_request has to go away instead), and everything that came has to
    have been read. Raises `ProtocolFailure`, an AssertionError, whose text is the report.
    """

    def __init__(
        self,
        target: Target,
        *,
        context: Context | None = None,
        deadline: float = DEADLINE,
        settle: bool = True,
        topics: Sequence[str] = ("",),
        identity: bytes | None = None,
        receive_limit: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.deadline = deadline
        """May be changed at any time. With 0, what is expected has to be there already."""
        self.time_line = TimeLine()
        self.iopub, self.shell, self.control, self.stdin = self._channels = [
            ProtocolChannel(name, self) for name in READ_CHANNELS
        ]
        self._target = target
        self._context = context
        self._settle_first = settle
        self._clock = clock or SystemClock()
        self._began = self._clock.monotonic()
        self.session = Session(self._clock.now)
        self._used: set[Channel] = {"shell"}
        self._end_expected = False
        self._topics = topics
        # Of some topics only, no idle may come: all is subscribed to for a moment, to learn what is in effect.
        self._subscriptions = topics if "" in topics else [*topics, ""]
        self._identity = identity or self.session.session_id.encode()
        self._receive_limit = receive_limit
        self._stack = ExitStack()
        self._connected: Line | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            kernel = stack.enter_context(running(self._target, self._context, lambda: self.deadline, self._clock))
            info = kernel.connection
            sockets = Sockets(info, kernel.context, self._identity, kernel.ended, self._clock, self._receive_limit)
            stack.callback(self._disconnect)
            self._connected = Line(kernel, sockets, self._topics, self._clock)
            for topic in self._subscriptions if self._settle_first else self._topics:
                self.subscribe(topic)
            if kernel.start is not None:
                kernel.start()
            if self._settle_first:
                self._settle()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, at)
            return
        with self._stack:
            self._finish()

    def _disconnect(self) -> None:
        self._line.sockets.close()
        self._connected = None

    @property
    def _line(self) -> Line:
        if self._connected is None:
            raise RuntimeError("a client is connected for the time of its with block, and no longer")
        return self._connected

    @property
    def kernel(self) -> Kernel | None:
        """The kernel, where it is in this process."""
        return self._line.kernel.kernel

    # What a frontend sends

    def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        allow_stdin: bool = True,
        stop_on_error: bool = True,
        subshell: str | None = None,
    ) -> Message:
        """Ask for an execution, in a subshell where one is named, and return the request."""
        content = ExecuteRequest(
            code=code,
            silent=silent,
            store_history=store_history,
            user_expressions=dict(user_expressions or {}),
            allow_stdin=allow_stdin,
            stop_on_error=stop_on_error,
        )
        return self.send(content.msg_type, unstructure(content), subshell=subshell)

    def send(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        *,
        channel: Channel | None = None,
        parent: Message | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        subshell: str | None = None,
        **fields: Any,
    ) -> Message:
        """Send any message, and return it. `fields` are added to its content; `subshell` is the one it is for (JEP 91).

        Without a `channel`, it goes where the specification has it: interrupts, shutdowns, debugging and subshells to
        Control, answers to Stdin, the rest to Shell.
        """
        message = Message(
            self.session.header(msg_type, subshell),
            {**(content or {}), **fields},
            None if parent is None else parent.header,
            dict(metadata or {}),
            list(buffers),
        )
        where = channel or channel_to_kernel(msg_type)
        self._use(where)
        self._end_expected |= msg_type == "shutdown_request"
        self.time_line.add_request(Event("->", where, self._seconds(), message))
        self._send(where, message)
        return message

    def send_frames(self, channel: Channel, frames: Sequence[Frame]) -> None:
        """Send frames as they are, for what is no message. The time line does not show them."""
        self._use(channel)
        self._send(channel, frames)

    def answer(self, value: str, prompt: Message | None = None) -> Message:
        """Answer the `prompt`, by default the input_request that was read last, and return the answer."""
        if prompt is None:
            asked = [
                event.message
                for event in self.time_line.events
                if event.direction == "<-" and event.read and event.message.msg_type == "input_request"
            ]
            if not asked:
                raise ValueError("no input_request has been read: expect one on stdin first")
            prompt = asked[-1]
        return self.send("input_reply", {"value": value}, parent=prompt)

    def subscribe(self, topic: str | bytes) -> None:
        """Subscribe to one more topic on IOPub. A kernel that knows JEP 65 welcomes it."""
        self._line.sockets.subscribe(topic.encode() if isinstance(topic, str) else topic)

    def expect_end(self) -> None:
        """Wait until the kernel has gone. What it sent before can be read then."""
        self._end_expected = True
        end = self._wait_ends()
        kernel = self._line.kernel.kernel
        if kernel is not None:
            if not kernel.wait(self.deadline):
                self.fail("the kernel does not end", self._late())
            self._read()
            return
        while not all(self._line.sockets.gone(channel) for channel in READ_CHANNELS):
            if not self._read(end) and end.passed():
                self.fail("the kernel does not end", self._late())

    # What comes

    def wait(self, channel: Unread, fail: Callable[[str], NoReturn]) -> None:
        """Return when `channel` has something unread; call `fail` with the reason when it will not."""
        end = self._wait_ends()
        self._read()
        while not channel.unread:
            if self._line.sockets.gone(channel.name):
                fail(self._line.why_gone())
            if not self._read(end) and end.passed():
                fail(self._late())

    def read_all(self) -> None:
        """Read whatever comes until the kernel has said all that it has to say: nothing of it has to be expected."""
        end = self._wait_ends()
        self._read()
        while True:
            for channel in self._channels:
                while channel.unread:
                    channel.take().read = True
            if end.passed():
                self.fail("the kernel does not come to rest", f"something still came after {self.deadline:g} s")
            if self._end_expected and not all(self._line.sockets.gone(channel) for channel in READ_CHANNELS):
                self.expect_end()
            elif not self._end_expected:
                self._come_to_rest()
            if not self._unread():
                return

    def fail(
        self,
        headline: str,
        why: str,
        channel: Unread | None = None,
        expected: Sequence[Matcher] = (),
        seen: Sequence[Message] = (),
    ) -> NoReturn:
        """Raise `ProtocolFailure` with a report of what was expected, what was seen and what else has come."""
        # Whatever lies ready belongs in the report; one failure is told at a time.
        self._receive(self._line.sockets.read())
        comparison = None
        if channel is not None:
            left = [event.view() for event in channel.unread]
            comparison = Comparison(channel.name, expected, [*seen, *left])
        raise ProtocolFailure(headline, full_report(headline, why, comparison, self.time_line))

    def _wait_ends(self) -> Until:
        return Until.after(self.deadline, self._clock)

    def _read(self, until: Until | None = None) -> bool:
        """Wait until something comes, not at all by default, take all that has come, and return whether any has."""
        came = self._line.sockets.read(until)
        problem = self._receive(came)
        if problem is not None:
            self.fail(*problem)
        return bool(came)

    def _receive(self, came: Sequence[tuple[Channel, list[Frame]]]) -> tuple[str, str] | None:
        """Take what has come, and return what was wrong first, if anything was."""
        messages, problem = self._line.messages(came)
        for name, message in messages:
            event = Event("<-", name, self._seconds(), message)
            self.time_line.events.append(event)
            self._channels[READ_CHANNELS.index(name)].unread.append(event)
            if message.msg_type == "shutdown_reply" and message.content.get("status") == "error":
                # It was refused: the kernel stays.
                self._end_expected = False
        return problem

    def _seconds(self) -> float:
        return self._clock.monotonic() - self._began

    def _late(self) -> str:
        return f"nothing came within {self.deadline:g} s"

    def _use(self, channel: Channel) -> None:
        """Learn that something is sent on a channel. Raises ValueError for one on which frontends send nothing."""
        if channel not in REQUEST_CHANNELS:
            raise ValueError(f"a frontend sends on {', '.join(REQUEST_CHANNELS)}, not on {channel!r}")
        self._used.add(channel)

    def _send(self, channel: Channel, sent: Message | Sequence[Frame]) -> None:
        if not self._line.send(channel, sent):
            self.fail(f"nothing can be sent on {channel}", self._line.why_gone())

    # The beginning

    def _settle(self) -> None:
        """Return when the subscription is in effect, and all that was published before has come and been forgotten."""
        end = self._wait_ends()
        if self._line.kernel.begun is not None and not self._line.kernel.begun(self.deadline):
            self.fail("the kernel does not start", self._late())
        headline = "the kernel does not answer a kernel_info_request on Shell"
        whole = 0
        while whole < _PROBES and not (whole and self._welcomed()):
            probe = self._probe("shell")
            while not self._line.probes.has_reply(probe):
                self._wait_for_probe("shell", end, headline)
            headline = "the kernel publishes no idle for a kernel_info_request"
            idle_until = end.within(_PROBE_SECONDS)
            while not self._line.probes.has_idle(probe) and (self._read(idle_until) or not idle_until.passed()):
                continue
            if self._line.probes.has_idle(probe):
                whole += 1
            elif end.passed():
                self.fail(headline, self._late())
        # Else a question would find nobody, and an end on a channel that was never reached would be waited for.
        while missing := self._line.sockets.unconnected():
            self._wait_for_probe(missing[0], end, f"there is no connection to the kernel on {missing[0]}")
        if "" not in self._topics:
            self._line.sockets.unsubscribe(b"")
        for channel in self._channels:
            channel.unread.clear()
        self.time_line.events.clear()

    def _welcomed(self) -> bool:
        """Whether the last subscription was welcomed, and so all were."""
        welcome = iopub_welcome(self._subscriptions[-1])
        return any(not welcome.difference(event.message, {}) for event in self.iopub.unread)

    def _probe(self, channel: Channel) -> Message:
        probe = self._line.probes.make()
        self._send(channel, probe)
        return probe

    def _wait_for_probe(self, channel: Channel, end: Until, headline: str) -> None:
        if self._line.sockets.gone(channel):
            self.fail(headline, self._line.why_gone())
        if not self._read(end) and end.passed():
            self.fail(headline, self._late())

    # The end

    def _finish(self) -> None:
        """Hold that everything was read, once all that the kernel has to say has come."""
        self._read()
        if not self._unread():
            if self._end_expected:
                self.expect_end()
            else:
                self._come_to_rest()
        if unread := self._unread():
            counts = ", ".join(f"{len(channel.unread)} on {channel.name}" for channel in unread)
            number = sum(len(channel.unread) for channel in unread)
            headline = f"{number} message{'s were' if number > 1 else ' was'} not read: {counts}"
            self.fail(headline, "everything that comes has to be expected", unread[0])

    def _unread(self) -> list[ProtocolChannel]:
        return [channel for channel in self._channels if channel.unread]

    def _come_to_rest(self) -> None:
        """Return when the kernel has answered what was sent behind everything, or something unread comes before."""
        end = self._wait_ends()
        asked: list[Channel] = ["shell", "control"] if "control" in self._used else ["shell"]
        probes = {channel: self._probe(channel) for channel in asked}
        headline = "the kernel does not answer at the end: what it was asked before may still run"
        while not self._unread():
            missing = [channel for channel, probe in probes.items() if not self._line.probes.has_reply(probe)]
            if not missing and ("" not in self._topics or self._line.probes.has_idle(probes["shell"])):
                return
            self._wait_for_probe(missing[0] if missing else "iopub", end, headline)
