"""Shell as the frontend uses it: requests out, replies in, and the probes that tell when the kernel is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from kernelbridge.bridges.socket_bridge import Frame
from kernelbridge.frontend.channel import RequestChannel, Wiring
from kernelbridge.frontend.readiness import Readiness
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Message, Session


@attrs.frozen
class Heard:
    """Messages have come on IOPub, and among them the `idle` of these requests."""

    idle: list[str]


@attrs.frozen
class Answered:
    """A reply has come on Control, which may be to a probe."""

    reply: Message


@attrs.frozen
class LookUp:
    """The time at which something is due has changed: how long to wait is to be asked again."""


@attrs.frozen
class CanAsk:
    """Stdin is connected: the kernel can ask for input."""


class Shell(RequestChannel[Heard | Answered | LookUp | CanAsk]):
    """Sends requests and hands on replies.

    All are called on the thread: `on_reply` with each reply; `on_ready` once with the content of the kernel_info_reply
    and whether the kernel is busy, or `on_late` with what was missing when `timeout` seconds had passed; `ask_control`
    with the frames of a probe, for a kernel that may be busy (None: for one that starts); and `on_due` at the time that
    `due` tells, on the clock's monotonic scale.
    """

    channel = "shell"

    def __init__(
        self,
        wiring: Wiring,
        session: Session,
        timeout: float | None,
        on_reply: Callable[[Message], None],
        on_ready: Callable[[dict[str, Any], bool], None],
        on_late: Callable[[str], None],
        ask_control: Callable[[list[Frame]], object] | None = None,
        due: Callable[[], float | None] = lambda: None,
        on_due: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(wiring)
        self._session = session
        self._on_reply = on_reply
        self._on_ready = on_ready
        self._on_late = on_late
        self._ask_control = ask_control
        self._due = due
        self._on_due = on_due
        # Decides from here on until the kernel is ready or given up, then is None. Owned by the thread.
        self._readiness: Readiness | None = Readiness(
            wiring.clock.monotonic(), timeout, may_be_busy=ask_control is not None
        )
        # Kept, so that answers to late probes are known for what they are.
        self._probing = self._readiness

    def heard(self, batch: Iterable[Message]) -> None:
        """Learn, from any thread, what has come on IOPub. Of interest until the kernel is ready."""
        idle = [
            message.parent.msg_id
            for message in batch
            if message.parent is not None and message.content.get("execution_state") == "idle"
        ]
        self.put(Heard(idle))

    def answered(self, reply: Message) -> None:
        """Learn, from any thread, of a reply on Control. Of interest until the kernel is ready."""
        self.put(Answered(reply))

    def can_ask(self) -> None:
        """Learn, from any thread, that Stdin is connected. The kernel is not ready before."""
        self.put(CanAsk())

    def look_up(self) -> None:
        """Learn, from any thread, that what `due` tells has changed."""
        self.put(LookUp())

    # On the thread

    def received(self, message: Message) -> None:
        if self._probing.replied(message, self.clock.monotonic()):
            self._conclude()
        else:
            self._on_reply(message)

    def handle(self, item: Heard | Answered | LookUp | CanAsk) -> None:
        now = self.clock.monotonic()
        if isinstance(item, Heard):
            self._probing.heard(item.idle, now)
        elif isinstance(item, CanAsk):
            self._probing.can_ask()
        elif isinstance(item, Answered) and not self._probing.replied(item.reply, now):
            self.wiring.strays.count("control", "unknown parent", item.reply.msg_type)
        self._conclude()

    def deadline(self) -> float | None:
        if self._readiness is None:
            return self._due()
        return min((at for at in (self._readiness.due(), self._due()) if at is not None), default=None)

    def on_deadline(self) -> None:
        now = self.clock.monotonic()
        due = self._due()
        if due is not None and due <= now:
            self._on_due()
        readiness = self._readiness
        if readiness is None:
            return
        if readiness.gives_up(now):
            self._readiness = None
            self._on_late(readiness.missing())
        elif readiness.wants_probe(now):
            probe = Message(self._session.header("kernel_info_request"), {})
            frames = encode(probe, self._signer, self._limits)
            if readiness.channel == "control" and self._ask_control is not None:
                self._ask_control(frames)
            else:
                self.send(frames)
            readiness.probed(probe.msg_id)

    def _conclude(self) -> None:
        readiness = self._readiness
        if readiness is not None and readiness.ready and readiness.info is not None:
            self._readiness = None
            self._on_ready(readiness.info, readiness.busy)
