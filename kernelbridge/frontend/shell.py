"""Shell as the frontend uses it: requests out, replies in, and the probes that tell when the kernel is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from kernelbridge.frontend.channel import RequestChannel, Wiring
from kernelbridge.frontend.readiness import Readiness
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Message, Session


@attrs.frozen
class Heard:
    """Messages have come on IOPub, and among them the `idle` of these requests."""

    idle: list[str]


class Shell(RequestChannel[Heard]):
    """Sends requests and hands on replies.

    All three are called on the thread: `on_reply` with each reply, `on_ready` once with the content of the
    kernel_info_reply, or `on_late` with what was missing when `timeout` seconds had passed.
    """

    channel = "shell"

    def __init__(
        self,
        wiring: Wiring,
        session: Session,
        timeout: float | None,
        on_reply: Callable[[Message], None],
        on_ready: Callable[[dict[str, Any]], None],
        on_late: Callable[[str], None],
    ) -> None:
        super().__init__(wiring)
        self._session = session
        self._on_reply = on_reply
        self._on_ready = on_ready
        self._on_late = on_late
        # Decides from here on until the kernel is ready or given up, then is None. Owned by the thread.
        self._readiness: Readiness | None = Readiness(wiring.clock.monotonic(), timeout)
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

    # On the thread

    def received(self, message: Message) -> None:
        if self._probing.replied(message, self.clock.monotonic()):
            self._conclude()
        else:
            self._on_reply(message)

    def handle(self, item: Heard) -> None:
        self._probing.heard(item.idle, self.clock.monotonic())
        self._conclude()

    def deadline(self) -> float | None:
        return None if self._readiness is None else self._readiness.due()

    def on_deadline(self) -> None:
        readiness = self._readiness
        if readiness is None:
            return
        now = self.clock.monotonic()
        if readiness.gives_up(now):
            self._readiness = None
            self._on_late(readiness.missing())
        elif readiness.wants_probe(now):
            probe = Message(self._session.header("kernel_info_request"), {})
            readiness.probed(probe.msg_id)
            self.send(encode(probe, self._signer, self._limits))

    def _conclude(self) -> None:
        readiness = self._readiness
        if readiness is not None and readiness.ready and readiness.info is not None:
            self._readiness = None
            self._on_ready(readiness.info)
