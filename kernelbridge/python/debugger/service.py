"""The debugger's thread, and what the other threads ask of it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from kernelbridge.bridges.loop_bridge import LoopBridge
from kernelbridge.bridges.service import Service
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.python.debugger import tracing
from kernelbridge.python.debugger.adapter import Dap
from kernelbridge.python.debugger.session import Refusal, Session
from kernelbridge.wire.contents import DebugReply, DebugRequest

logger = logging.getLogger("kernelbridge")

Answer = Callable[[DebugReply], object]


class Debugger(Service):
    """The debugger of one kernel. Takes IPython's `shell`, as soon as there is one."""

    def __init__(self, kernel: Kernel, shell: Future[Any]) -> None:
        super().__init__("debugger")
        self._kernel = kernel
        self._shell = shell
        # Between all threads, which put, and the debugger's. A call is made between two requests.
        self._queue: LoopBridge[tuple[DebugRequest, Answer] | Callable[[Session], None]] = LoopBridge()
        # Written by the debugger's thread, once; others ask it whether something is attached.
        self._session: Session | None = None
        # Owned by the debugger's thread.
        self._loop: asyncio.AbstractEventLoop
        self._serving: asyncio.Task[Any] | None
        self._answering: set[asyncio.Task[None]] = set()
        self._seq = 0

    # For any thread

    def ask(self, request: DebugRequest, answer: Answer) -> None:
        """Have `request` answered by a call of `answer`."""
        if not self.alive or not self._queue.put((request, answer)):
            answer(_ended(request))

    def let_go(self) -> None:
        """Let all that is stopped go on, and stop nothing any more, because the kernel ends."""
        self._queue.put(Session.let_go)

    def wake(self) -> None:
        # A loop that is closed has ended.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    # On a thread that runs a cell

    def cell_begins(self, code: str, transformed: str) -> str:
        """See to it that this thread is traced as long as something is attached, and return what is to be compiled.

        It has the line numbers of `code`, of which IPython has dropped the empty lines at the top.
        """
        if self._session is not None and self._session.attached:
            tracing.trace_this_thread()
            return "\n" * self._session.cells.lines_before(code) + transformed
        self.leave_this_thread()
        return transformed

    def leave_this_thread(self) -> None:
        """Trace this thread no longer, if it is."""
        if tracing.is_own(sys.gettrace()):
            tracing.leave_this_thread()

    def cell_ends(self, interrupted: bool) -> None:
        """Return when what debugpy had to say of the cell is in the queue, before the cell's `idle` is.

        If it was `interrupted`, the threads go on that were stopped with this one.
        """
        if self._session is None or not self._session.attached:
            return
        if interrupted:
            self._queue.put(Session.resume)
        settled: Future[None] = Future()
        if self._queue.put(lambda session: session.settle(lambda: settled.set_result(None))):
            settled.result()

    # On the debugger's thread

    def run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    def _end(self) -> None:
        if self._serving is not None:
            self._serving.cancel()

    async def _serve(self) -> None:
        self._loop, self._serving = asyncio.get_running_loop(), asyncio.current_task()
        self.ready()
        # Shielded: it is not this thread that decides that there will be none.
        shell = await asyncio.shield(asyncio.wrap_future(self._shell))
        self._session = session = Session(shell, self._show)
        try:
            while True:
                item = await self._queue.take()
                if isinstance(item, tuple):
                    # On their own: a command may take as long as the program that is debugged, and `continue` may
                    # be what it waits for. They begin in order, and are sent as they begin.
                    task = asyncio.create_task(self._answer(session, *item))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                else:
                    item(session)
        finally:
            session.close()
            while not self._queue.empty():
                item = await self._queue.take()
                if isinstance(item, tuple):
                    item[1](_ended(item[0]))

    async def _answer(self, session: Session, request: DebugRequest, answer: Answer) -> None:
        try:
            response = await session.answer(request.command, request.arguments or {})
        except Refusal as refusal:
            response = {"success": False, "message": str(refusal)}
        except Exception as failure:
            # A client that gets no answer waits for ever.
            logger.warning("debugger: %s failed", request.command, exc_info=failure)
            response = {"success": False, "message": f"{type(failure).__name__}: {failure}"}
        answer(
            DebugReply(
                success=bool(response["success"]),
                command=response.get("command") or request.command,
                seq=self._next_seq(),
                request_seq=request.seq,
                message=response.get("message"),
                body=response.get("body"),
            )
        )

    def _show(self, event: Dap) -> None:
        content = {"type": "event", "event": event["event"], "seq": self._next_seq(), "body": event.get("body", {})}
        # Nothing is handled on this thread: as all that a plain thread puts, it belongs to the code that runs.
        self._kernel.publish("debug_event", content)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq


def _ended(request: DebugRequest) -> DebugReply:
    return DebugReply(success=False, command=request.command, request_seq=request.seq, message="the debugger has ended")
