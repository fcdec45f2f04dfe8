"""A client that holds nothing against a kernel: it sends, waits, and keeps what it sees for a rule to judge.

The strict client fails at the first message that is not expected. This one reads what there is, counts what is no
message, and raises only where there is nothing left to wait for: the kernel has died, or does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import attrs

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.socket_bridge import Context, Frame
from kernelbridge.testing.check.failures import KernelDied, KernelHung
from kernelbridge.testing.making import channel_to_kernel
from kernelbridge.testing.report import Event, TimeLine
from kernelbridge.testing.sockets import READ_CHANNELS, Sockets, Until
from kernelbridge.wire.connection import Channel, ConnectionInfo
from kernelbridge.wire.contents import ExecuteRequest, unstructure
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode, encode
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.signing import Signer

__all__ = ["Handled", "Observer"]

_QUIET_SECONDS: Final = 0.5
"""How long the idle of a probe may take behind its reply until another is sent: a subscription takes effect at an
unknown time, and not every kernel says so."""

_LINES_SHOWN: Final = 60


@attrs.frozen
class Handled:
    """All that a request has caused."""

    request: Message
    reply: Message
    published: list[Message]
    """On IOPub with the request as parent, in order; also what came after the idle."""

    @property
    def shown(self) -> list[Message]:
        """What was published, but for the statuses and the input."""
        return [message for message in self.published if message.msg_type not in ("status", "execute_input")]

    @property
    def status(self) -> Any:
        return self.reply.content.get("status")


class Observer:
    """Connected to the kernel at `info` for the time of a `with` block. Used by one thread.

    `fate` says how the kernel ended, when its connections were lost.
    """

    def __init__(self, info: ConnectionInfo, context: Context, fate: Callable[[], str] = str) -> None:
        self.time_line = TimeLine()
        """What was sent and received since `begin`."""
        self.strays: list[str] = []
        """What came since `begin` and is no message."""
        self._fate = fate
        self._clock = SystemClock()
        self._session = Session(self._clock.now)
        self._signer = Signer(info.key, info.signature_scheme)
        self._sockets = Sockets(info, context, self._session.session_id.encode(), None, self._clock)
        self._sockets.subscribe(b"")
        self._began = self._end = 0.0
        self._published: dict[str, list[Message]] = {}
        self._replies: dict[str, Message] = {}
        self._idle: set[str] = set()
        self._probes: set[str] = set()
        self.begin(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sockets.close()

    def begin(self, seconds: float) -> None:
        """Begin a trial: forget what was seen. All that is waited for has to come within `seconds` from now."""
        self.time_line = TimeLine()
        self.strays = []
        self._published, self._replies, self._idle, self._probes = {}, {}, set(), set()
        self._began = time.monotonic()
        self._end = self._began + seconds

    @property
    def seconds_left(self) -> float:
        """How much of the trial's time is left."""
        return self._end - time.monotonic()

    # What is sent

    def execute(self, code: str, *, subshell_id: str | None = None, **fields: Any) -> Message:
        """Ask for an execution, and return the request. `fields` are those of `ExecuteRequest`."""
        content = unstructure(ExecuteRequest(code=code, **fields))
        return self.send(ExecuteRequest.msg_type, content, subshell_id=subshell_id)

    def send(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        *,
        channel: Channel | None = None,
        parent: Message | None = None,
        subshell_id: str | None = None,
    ) -> Message:
        """Send a message, and return it. Without a `channel`, it goes where the specification has it."""
        header = self._session.header(msg_type, subshell_id)
        message = Message(header, dict(content or {}), None if parent is None else parent.header)
        where = channel or channel_to_kernel(msg_type)
        self.time_line.add_request(Event("->", where, self._seconds(), message))
        self.send_frames(where, encode(message, self._signer))
        return message

    def send_frames(self, channel: Channel, frames: Sequence[Frame]) -> None:
        """Send frames as they are. The time line does not show them."""
        if not self._sockets.send(channel, list(frames)):
            raise self._died()

    def encoded(self, msg_type: str, content: Mapping[str, Any] | None = None) -> tuple[Message, list[Frame]]:
        """Return a message that is not sent, and its frames."""
        message = Message(self._session.header(msg_type), dict(content or {}))
        return message, encode(message, self._signer)

    def sign(self, parts: Iterable[bytes]) -> list[Frame]:
        """Return `parts` as the frames of a message: behind the delimiter and a signature that is right."""
        signed = list(parts)
        return [b"<IDS|MSG>", self._signer.sign(signed), *signed]

    # What comes

    def finish(self, request: Message) -> Handled:
        """Wait until the kernel has answered a request and said that it is idle again, and return all of it."""
        self.reply(request)
        self.wait(f"no idle for {request.msg_type}", lambda: self.is_idle(request))
        return self.handled(request)

    def handled(self, request: Message) -> Handled:
        """Return what a request that was answered has caused so far."""
        return Handled(request, self._replies[request.msg_id], self.published(request))

    def run(self, code: str, **fields: Any) -> Handled:
        """Execute code and finish."""
        return self.finish(self.execute(code, **fields))

    def reply(self, request: Message) -> Message:
        """Wait for the reply to a request."""
        self.wait(f"no reply to {request.msg_type}", lambda: self.has_reply(request))
        return self._replies[request.msg_id]

    def has_reply(self, request: Message) -> bool:
        """Return whether the reply to a request was seen."""
        return request.msg_id in self._replies

    def published(self, request: Message) -> list[Message]:
        """Return what was seen on IOPub with this parent."""
        return self._published.get(request.msg_id, [])

    def is_idle(self, request: Message) -> bool:
        """Return whether the idle of a request was seen."""
        return request.msg_id in self._idle

    def prompt(self, request: Message) -> Message | None:
        """Wait until a request asks for input or is answered, and return the input_request, if there is one."""
        self.wait("neither a reply nor a prompt", lambda: bool(self.received("stdin")) or self.has_reply(request))
        # They come on different sockets: one may be here and the other not.
        self.wait("", lambda: bool(self.received("stdin")), 0)
        return next(iter(self.received("stdin")), None)

    def ends(self, seconds: float) -> bool:
        """Return whether the kernel ends within so many seconds."""
        try:
            return self.wait("", lambda: False, seconds)
        except KernelDied:
            return True

    def received(self, channel: Channel) -> list[Message]:
        """Return what was seen on a channel."""
        return [
            event.message for event in self.time_line.events if event.direction == "<-" and event.channel == channel
        ]

    def wait(self, missing: str, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Read until the condition holds, and return True.

        Without `seconds` it has to hold before the trial's time is up: raises `KernelHung`, whose text begins with
        `missing`. With them, False is returned when it does not hold by then. Raises `KernelDied`.
        """
        end = self._end if seconds is None else time.monotonic() + seconds
        self._read(0)
        while not condition():
            # What it had sent on any channel before it went is read by now.
            if all(map(self._sockets.gone, READ_CHANNELS)):
                raise self._died()
            left = end - time.monotonic()
            if left <= 0:
                if seconds is not None:
                    return False
                raise KernelHung(f"{missing} within {self._end - self._began:g} s")
            self._read(left)
        return True

    def settle(self) -> None:
        """Return when all that the kernel has put on IOPub so far is here. The subscription is in effect then."""
        while True:
            probe = self.send("kernel_info_request")
            self._probes.add(probe.msg_id)
            self.reply(probe)
            if self.wait("", partial(self.is_idle, probe), _QUIET_SECONDS):
                return
            if time.monotonic() >= self._end:
                raise KernelHung(f"no idle for kernel_info_request within {self._end - self._began:g} s")

    def until_quiet(self, seconds: float) -> None:
        """Read until nothing has come on IOPub for so long from a kernel that answers, or the trial's time is up."""
        seen = -1
        while seen != self._heard() and self.seconds_left > 0:
            seen = self._heard()
            self.wait("", lambda: False, seconds)
            self.settle()

    def _heard(self) -> int:
        """Return how many messages on IOPub have come, but for those of probes."""
        return sum(message.parent_id not in self._probes for message in self.received("iopub"))

    def report(self, problem: str) -> str:
        """Return the problem and the time line, cut to what can be read."""
        lines = self.time_line.lines()
        if len(lines) > _LINES_SHOWN:
            half = _LINES_SHOWN // 2
            lines = [*lines[:half], f"  ... {len(lines) - 2 * half} more ...", *lines[-half:]]
        return "\n".join([self.time_line.with_names(problem), *lines])

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _died(self) -> KernelDied:
        return KernelDied(self._fate() or "the kernel closed its connections")

    def _read(self, seconds: float) -> None:
        for channel, frames in self._sockets.read(Until.after(seconds, self._clock)):
            try:
                message = decode(frames, self._signer)
            except WireError as error:
                self.strays.append(f"{channel}: {error}")
                continue
            self.time_line.events.append(Event("<-", channel, self._seconds(), message, read=True))
            parent = message.parent_id
            if parent is None:
                continue
            if channel == "iopub":
                self._published.setdefault(parent, []).append(message)
                if message.is_idle:
                    self._idle.add(parent)
            elif channel != "stdin":
                self._replies.setdefault(parent, message)
