"""The Control thread: what must be heard also while Shell is busy - interrupt, shutdown, kernel_info.

It also looks after interrupts that go unheard, whoever sent them, and hears of what ends a kernel beside a request:
SIGTERM, and the end of the program that started it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Socket
from kernelbridge.kernel.handler import Handler, error_value
from kernelbridge.kernel.interrupts import Interrupts
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.parent import Parent
from kernelbridge.kernel.router import BUSY, Answers, Reply, Request, RouterChannel, Wire
from kernelbridge.wire.contents import DebugReply, DebugRequest
from kernelbridge.wire.messages import Message

logger = logging.getLogger("kernelbridge")

INSIST_SECONDS = 0.1
"""How long an interrupt may go unheard before it is sent again."""


class Control(RouterChannel[Reply]):
    """The Control thread. It answers each request as it comes.

    It calls `terminated` when SIGTERM has come, and `abandoned` when the `parent` has ended.
    """

    def __init__(
        self,
        wire: Wire,
        bind: Callable[[Socket], None],
        outputs: Outputs,
        answers: Answers,
        handler: Handler,
        interrupts: Interrupts,
        terminated: Callable[[], None],
        abandoned: Callable[[], None],
        on_crash: OnCrash | None = None,
    ) -> None:
        super().__init__("control", wire, bind, outputs, answers, on_crash)
        self._handler = handler
        self._interrupts = interrupts
        self._terminated = terminated
        self._abandoned = abandoned
        self.parent: Parent | None = None
        """Whose end is the kernel's. Set before the start; owned by the thread from then on."""
        # Owned by the thread.
        self._insists_at: float | None = None
        self._looks_at: float | None = None

    def open_sockets(self) -> None:
        super().open_sockets()
        if self._interrupts.ear is not None:
            self.watch(self._interrupts.ear.fileno(), self._signalled)
        if self.parent is not None:
            for descriptor in self.parent.descriptors:
                self.watch(descriptor, self._orphaned)
            self._look_later(self.parent.look_seconds)

    def _signalled(self) -> None:
        self._insist_later(self._interrupts.listen())
        if self._interrupts.told_to_end():
            self._terminated()

    def _orphaned(self) -> None:
        parent, self.parent = self.parent, None
        if parent is None:
            return
        for descriptor in parent.descriptors:
            # Readable from now on, for ever.
            self.unwatch(descriptor)
        self._looks_at = None
        self._abandoned()

    def _look_later(self, seconds: float | None) -> None:
        self._looks_at = None if seconds is None else self.clock.monotonic() + seconds

    def _insist_later(self, unheard: bool) -> None:
        self._insists_at = self.clock.monotonic() + INSIST_SECONDS if unheard else None

    def received(self, message: Message) -> None:
        request = self.check(message)
        if isinstance(request.content, DebugRequest):
            self._debug(request, request.content)
        else:
            self.answer(request)

    def _debug(self, request: Request, content: DebugRequest) -> None:
        """Have `request` answered elsewhere, because it may take as long as the program that is debugged likes."""
        self._outputs.publish("status", BUSY, request.header)

        # Whoever answers takes it out, so that there is one answer, also where the handler fails when it has given it.
        unanswered = [request]

        def answer(reply: DebugReply) -> None:
            if not isinstance(reply, DebugReply):
                name = f"{type(self._handler).__name__}.debug"
                reply = refusal(f"{name} must answer by a DebugReply, and has given {type(reply).__name__}")
            with suppress(IndexError):
                self.put(Reply(unanswered.pop(), reply))

        def refusal(message: str) -> DebugReply:
            return DebugReply(success=False, command=content.command, request_seq=content.seq, message=message)

        try:
            self._handler.debug(content, answer)
        except BaseException as failure:
            # A language's failure, which must not end this thread.
            logger.warning("debug_request %r failed", content.command, exc_info=failure)
            answer(refusal(f"{type(failure).__name__}: {error_value(failure)}"))

    def deadline(self) -> float | None:
        return min((due for due in (self._insists_at, self._looks_at) if due is not None), default=None)

    def on_deadline(self) -> None:
        now = self.clock.monotonic()
        if self._insists_at is not None and self._insists_at <= now:
            self._insist_later(self._interrupts.insist())
        if self._looks_at is not None and self._looks_at <= now and self.parent is not None:
            self._look_later(self.parent.look_seconds)
            if self.parent.has_left():
                self._orphaned()

    def deliver(self, item: Reply) -> None:
        self.send_reply(item)
        self.idle(item.request)
