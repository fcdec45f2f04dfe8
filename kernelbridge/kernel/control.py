"""The Control thread: what must be heard also while Shell is busy - interrupt, shutdown, kernel_info.

It also looks after interrupts that go unheard, whoever sent them.
"""

from __future__ import annotations

from collections.abc import Callable

from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Socket
from kernelbridge.kernel.interrupts import Interrupts
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.router import Answers, RouterChannel, Wire
from kernelbridge.wire.messages import Message

INSIST_SECONDS = 0.1
"""How long an interrupt may go unheard before it is sent again."""


class Control(RouterChannel[None]):
    """The Control thread. It answers each request as it comes."""

    def __init__(
        self,
        wire: Wire,
        bind: Callable[[Socket], None],
        outputs: Outputs,
        answers: Answers,
        interrupts: Interrupts,
        on_crash: OnCrash | None = None,
    ) -> None:
        super().__init__("control", wire, bind, outputs, answers, on_crash)
        self._interrupts = interrupts
        # Owned by the thread.
        self._insists_at: float | None = None

    def open_sockets(self) -> None:
        super().open_sockets()
        if self._interrupts.ear is not None:
            self.watch(self._interrupts.ear.fileno(), self._signalled)

    def _signalled(self) -> None:
        self._insist_later(self._interrupts.listen())

    def _insist_later(self, unheard: bool) -> None:
        self._insists_at = self.clock.monotonic() + INSIST_SECONDS if unheard else None

    def received(self, message: Message) -> None:
        self.answer(self.check(message))

    def deadline(self) -> float | None:
        return self._insists_at

    def on_deadline(self) -> None:
        self._insist_later(self._interrupts.insist())

    def deliver(self, item: None) -> None:
        """Nothing is ever put for this thread but its end."""
