"""The Control thread: what must be heard also while Shell is busy - interrupt, shutdown, kernel_info."""

from __future__ import annotations

from kernelbridge.kernel.router import RouterChannel
from kernelbridge.wire.messages import Message


class Control(RouterChannel[None]):
    """The Control thread. It answers each request as it comes."""

    def received(self, message: Message) -> None:
        self.answer(self.check(message))

    def deliver(self, item: None) -> None:
        """Nothing is ever put for this thread but its end."""
