"""Control as the frontend uses it: what must reach the kernel while Shell is busy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

from kernelbridge.frontend.channel import RequestChannel, Wiring
from kernelbridge.wire.messages import Message


class Control(RequestChannel[Never]):
    """Sends requests and hands on replies: `on_reply` is called on the thread with each."""

    channel = "control"

    def __init__(self, wiring: Wiring, on_reply: Callable[[Message], None]) -> None:
        super().__init__(wiring)
        self._on_reply = on_reply

    def received(self, message: Message) -> None:
        self._on_reply(message)
