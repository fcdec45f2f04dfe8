"""The Control thread: what must be heard also while Shell is busy - interrupt, shutdown, kernel_info."""

from __future__ import annotations

from collections.abc import Callable

from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Socket
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.router import Answers, RouterChannel, Wire
from kernelbridge.wire.messages import Message

INSIST_SECONDS = 0.1
"""How long an interrupt may go unheard before it is sent again."""


class Control(RouterChannel[None]):
    """The Control thread. It answers each request as it comes.

    Takes `insist`, which sends the last interrupt again and returns whether that was needed.
    """

    def __init__(
        self,
        wire: Wire,
        bind: Callable[[Socket], None],
        outputs: Outputs,
        answers: Answers,
        insist: Callable[[], bool],
        on_crash: OnCrash | None = None,
    ) -> None:
        super().__init__("control", wire, bind, outputs, answers, on_crash)
        self._insist = insist
        # Owned by the thread.
        self._insists_at: float | None = None

    def received(self, message: Message) -> None:
        self.answer(self.check(message))
        if message.msg_type in ("interrupt_request", "shutdown_request"):
            self._insists_at = self.clock.monotonic() + INSIST_SECONDS

    def deadline(self) -> float | None:
        return self._insists_at

    def on_deadline(self) -> None:
        self._insists_at = self.clock.monotonic() + INSIST_SECONDS if self._insist() else None

    def deliver(self, item: None) -> None:
        """Nothing is ever put for this thread but its end."""
