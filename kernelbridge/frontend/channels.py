"""A kernel's five channels, as a bridge holds them, and what it has in common with the bridge's other kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import attrs

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.socket_bridge import Context, Frame
from kernelbridge.frontend.channel import Channel
from kernelbridge.frontend.control import Control
from kernelbridge.frontend.heartbeat import Heartbeat
from kernelbridge.frontend.iopub import Iopub
from kernelbridge.frontend.shell import Shell
from kernelbridge.frontend.stdin import Stdin
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.signing import Signer

if TYPE_CHECKING:
    from kernelbridge.frontend.output_store import OutputStore

SendingChannel = Literal["shell", "control"]


@attrs.frozen(kw_only=True)
class Settings:
    """How a bridge holds each of its kernels."""

    name: str
    """The kernel's, for messages."""
    signer: Signer
    context: Context | None
    clock: Clock
    limits: Limits
    timeout: float | None
    """The seconds that a kernel has to become ready; None: for ever."""
    beat_seconds: float | None
    """How often it is pinged then; None: never, and so it is never taken for hung."""
    may_be_busy: bool
    """Whether the kernel was there before the bridge."""
    interrupt_mode: Literal["signal", "message"] = "message"
    output_store: OutputStore | None = None
    """Where large outputs are kept; None: in memory."""


@attrs.frozen
class Channels:
    """The five threads."""

    shell: Shell
    control: Control
    iopub: Iopub
    stdin: Stdin
    heartbeat: Heartbeat

    def all(self) -> tuple[Channel[Any], ...]:
        return self.shell, self.control, self.iopub, self.stdin, self.heartbeat

    def put(self, channel: SendingChannel, frames: list[Frame]) -> None:
        """Send frames. A thread that has ended takes nothing, and what ended it ends the request as well."""
        (self.shell if channel == "shell" else self.control).put(frames)

    def when_read(self, then: Callable[[], None]) -> None:
        """Have `then` called when all that has arrived is read: replies first, so that no idle is without its reply."""
        self.shell.drained(partial(self.control.drained, partial(self.iopub.drained, then)))

    def forget_unsent(self) -> None:
        """Let the threads end without waiting for what has not been sent: there is nobody to take it any more."""
        for channel in self.all():
            channel.linger = 0
