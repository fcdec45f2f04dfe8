"""The execution thread: runs what Shell gives it, one request at a time, on an event loop that goes on in between.

It is the thread that called `Kernel.serve`: the main thread for a language that wants signals and GUI toolkits.

Interrupts. SIGINT becomes a KeyboardInterrupt exactly where the running request is: raised on the spot while its code
runs, thrown into its coroutine while that awaits. When nothing runs there is nothing to interrupt, and the signal is
dropped, so that a late Ctrl-C never ends the kernel.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.loop_bridge import LoopBridge
from kernelbridge.kernel.comms import Comms
from kernelbridge.kernel.handler import Handler
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.parents import Parents
from kernelbridge.kernel.router import BUSY, IDLE, Reply, Request
from kernelbridge.kernel.shell import Finished
from kernelbridge.wire.contents import (
    CommClose,
    CommMsg,
    CommOpen,
    CompleteRequest,
    Content,
    Error,
    ErrorReply,
    ExecuteReply,
    ExecuteRequest,
    HistoryRequest,
    InspectRequest,
    IsCompleteRequest,
    unstructure,
)


class Execution:
    """Runs requests. Takes `finished`, which tells the Shell thread that what it gave has ended."""

    def __init__(
        self,
        handler: Handler,
        outputs: Outputs,
        parents: Parents,
        comms: Comms,
        clock: Clock,
        finished: Callable[[Finished], object],
    ) -> None:
        self.count = 0
        """The number of the last execution that was counted. Written by the execution thread; others may read."""
        self._handler = handler
        self._methods: dict[type[object], Callable[[Any], object]] = {
            CompleteRequest: handler.complete,
            InspectRequest: handler.inspect,
            IsCompleteRequest: handler.is_complete,
            HistoryRequest: handler.history,
        }
        self._outputs = outputs
        self._parents = parents
        self._comms = comms
        self._clock = clock
        self._finished = finished
        # Between the Shell thread, which puts, and the execution thread's loop. None ends it.
        self._queue: LoopBridge[list[Request] | None] = LoopBridge()
        # All below is owned by the execution thread; interrupt() reads the first two.
        self._ident: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._running: _Interruptible | None = None
        self._ending = False

    # For other threads

    def run(self, requests: list[Request]) -> None:
        """Hand over `requests`, to be run in this order."""
        self._queue.put(requests)

    def interrupt(self) -> None:
        """Interrupt the request that runs, if one does, from any thread."""
        if self._ident is not None and self._ident == threading.main_thread().ident:
            # A signal, and not a flag, because it also ends a system call that waits.
            signal.pthread_kill(self._ident, signal.SIGINT)
            if self._loop is not None:
                # The signal may have come just before the loop fell asleep: Python's handler runs when it wakes.
                self._loop.call_soon_threadsafe(_nothing)
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._interrupt_waiting)

    def end(self) -> None:
        """End `serve` when what runs has ended, from any thread. What waits is not run."""
        self._ending = True
        self._queue.put(None)

    # On the execution thread

    async def serve(self, ready: Callable[[], None]) -> None:
        """Run what comes until `end`. Calls `ready` when the first request may come."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._ident = threading.get_ident()
        ready()
        while (requests := await self._queue.take()) is not None and not self._ending:
            await self._run_row(requests)
            if not self._queue.empty():
                # Tasks that cells have started get their turn also while requests keep coming.
                await asyncio.sleep(0)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turn SIGINT into interrupts of what runs, where this is the main thread.

        To be left when nobody calls `interrupt` any more: a signal that comes later would end the program.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._on_sigint)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    async def _run_row(self, requests: list[Request]) -> None:
        finished = Finished(None, length=len(requests))
        for request in requests:
            self._parents.enter(request.message)
            self._outputs.publish("status", BUSY, request.header)
            if isinstance(request.content, CommOpen | CommMsg | CommClose):
                await self._guarded(self._comms.dispatch(request.message, request.content))
                # The last one wakes the IOPub thread for the whole row.
                self._outputs.publish("status", IDLE, request.header, ring=True if request is requests[-1] else None)
            else:
                finished = attrs.evolve(await self._run_request(request), length=len(requests))
        self._finished(finished)

    async def _run_request(self, request: Request) -> Finished:
        metadata = {"started": self._clock.now()}
        content = request.content
        if isinstance(content, ExecuteRequest):
            reply = await self._execute(content, request)
            return Finished(Reply(request, reply, metadata), isinstance(reply, ErrorReply) and content.stop_on_error)
        answer = await self._guarded(_called(self._methods[type(content)], content))
        return Finished(Reply(request, _error_reply(answer) if isinstance(answer, BaseException) else answer, metadata))

    async def _execute(self, content: ExecuteRequest, request: Request) -> Content:
        if content.counts:
            self.count += 1
        if not content.silent:
            shown = {"code": content.code, "execution_count": self.count}
            self._outputs.publish("execute_input", shown, request.header)
        answer = await self._guarded(_called(self._handler.execute, content, self.count))
        if isinstance(answer, BaseException):
            reply = _error_reply(answer, self.count)
            if not content.silent:
                error = Error(ename=reply.ename, evalue=reply.evalue, traceback=reply.traceback)
                self._outputs.publish("error", unstructure(error), request.header)
            return reply
        return ExecuteReply(execution_count=self.count) if answer is None else answer

    # Interrupts

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await `work` so that it can be interrupted, and return what it returns or what it raises."""
        try:
            self._running = _Interruptible(work)
            result = await self._running
            # Last inside the try: an interrupt that comes before this line is caught, one that comes after is dropped.
            self._running = None
            return result
        except asyncio.CancelledError as cancelled:
            if self._task is not None and self._task.cancelling():
                # Not the request but the kernel is told to end.
                raise
            return cancelled
        except (Exception, KeyboardInterrupt, SystemExit) as failure:  # noqa: BLE001 - whatever a handler raises.
            return failure
        finally:
            self._running = None

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        running = self._running
        if running is None or self._loop is None:
            return
        if running.on_stack:
            raise KeyboardInterrupt
        # The coroutine awaits. Its loop sleeps in a system call that goes on after this handler, so wake it.
        self._loop.call_soon_threadsafe(self._interrupt_waiting)

    def _interrupt_waiting(self) -> None:
        if self._running is not None and self._task is not None:
            self._running.interrupted = True
            self._task.cancel()


class _Interruptible:
    """Awaits a coroutine, and throws a KeyboardInterrupt into it where the task was cancelled by an interrupt."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self.on_stack = False
        """Whether the coroutine's own code runs right now."""
        self.interrupted = False
        """Whether the next cancellation stands for an interrupt."""

    def __await__(self) -> Generator[Any, Any, Any]:
        thrown: BaseException | None = None
        while True:
            try:
                self.on_stack = True
                waits_for = self._work.send(None) if thrown is None else self._work.throw(thrown)
            except StopIteration as end:
                return end.value
            finally:
                self.on_stack = False
            thrown = None
            try:
                yield waits_for
            except asyncio.CancelledError as cancelled:
                thrown = self._meant_by(cancelled)

    def _meant_by(self, cancelled: asyncio.CancelledError) -> BaseException:
        if not self.interrupted:
            return cancelled
        self.interrupted = False
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return KeyboardInterrupt()


def _nothing() -> None:
    """Be what wakes a loop."""


async def _called(method: Callable[..., Any], *arguments: object) -> Any:
    answer = method(*arguments)
    return await answer if inspect.isawaitable(answer) else answer


def _error_reply(failure: BaseException, execution_count: int | None = None) -> ErrorReply:
    at = failure.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename == __file__:
        # What this file calls is of interest, not that it is this file that calls.
        at = at.tb_next
    return ErrorReply(
        ename=type(failure).__name__,
        evalue=error_value(failure),
        traceback=traceback.format_exception(type(failure), failure, at),
        execution_count=execution_count,
    )


def error_value(failure: BaseException) -> str:
    """Return what an exception says, also where its own ``__str__`` raises: that must not hide the error itself."""
    try:
        return str(failure)
    except Exception as fault:  # noqa: BLE001 - a user's class may raise anything.
        return f"<str() of it raised {type(fault).__name__}>"
