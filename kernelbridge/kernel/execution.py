"""The execution thread: runs what Shell gives it, one request at a time, on an event loop that goes on in between.

It is the thread that called `Kernel.serve`: the main thread for a language that wants signals and GUI toolkits. Each
subshell has one of its own, see `subshells`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, NoReturn
from weakref import WeakSet

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.host_loop import HostLoop
from kernelbridge.bridges.loop_bridge import LoopBridge
from kernelbridge.kernel.comms import Comms
from kernelbridge.kernel.handler import Handler, error_value, format_error
from kernelbridge.kernel.interrupts import Interrupts
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.parents import Parents
from kernelbridge.kernel.router import BUSY, IDLE, Reply, Request
from kernelbridge.kernel.shell import COMM_TYPES, Finished, Lane
from kernelbridge.wire.contents import (
    CommClose,
    CommMsg,
    CommOpen,
    CompleteReply,
    CompleteRequest,
    Content,
    Error,
    ErrorReply,
    ExecuteReply,
    ExecuteRequest,
    HistoryReply,
    HistoryRequest,
    InspectReply,
    InspectRequest,
    IsCompleteReply,
    IsCompleteRequest,
    unstructure,
)
from kernelbridge.wire.errors import WireError

logger = logging.getLogger("kernelbridge")

SHOWING_TYPES = COMM_TYPES | {"execute_request"}
"""Requests whose code shows something, and so may leave threads behind that go on showing."""


class ExecutionCount:
    """The number of the last execution that was counted. One for all shells, so that each execution has its own."""

    def __init__(self) -> None:
        # Written under the lock; any thread reads.
        self.value = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        """Count one more, and return its number."""
        with self._lock:
            self.value += 1
            return self.value

    def go_back(self, number: int, to: int) -> None:
        """Go on from `to`, because execution `number` was none or starts over; unless one was counted since."""
        with self._lock:
            if self.value == number:
                self.value = to


class Execution:
    """Runs requests. Takes `finished`, which tells the Shell thread that what it gave has ended.

    `count` and `lane` are given to that of a subshell: the main shell's count, and the lane of what it runs.
    """

    def __init__(
        self,
        handler: Handler,
        outputs: Outputs,
        parents: Parents,
        comms: Comms,
        clock: Clock,
        interrupts: Interrupts,
        finished: Callable[[Finished], object],
        count: ExecutionCount | None = None,
        lane: Lane | None = None,
    ) -> None:
        self.count = count or ExecutionCount()
        self._lane = lane
        self._handler = handler
        self._methods: dict[type[object], tuple[Callable[[Any], object], type[Content]]] = {
            CompleteRequest: (handler.complete, CompleteReply),
            InspectRequest: (handler.inspect, InspectReply),
            IsCompleteRequest: (handler.is_complete, IsCompleteReply),
            HistoryRequest: (handler.history, HistoryReply),
        }
        self._outputs = outputs
        self._parents = parents
        self._comms = comms
        self._clock = clock
        self._finished = finished
        # Between the Shell thread, which puts, and the execution thread's loop. None ends it.
        self._queue: LoopBridge[list[Request] | None] = LoopBridge()
        # Set by any thread, once.
        self._ending = False
        # The thread and the loop on which it serves.
        self._serves: tuple[int, asyncio.AbstractEventLoop] | None = None
        self.interrupts = interrupts
        """How what runs is interrupted."""
        _all.add(self)

    def beside(self, lane: Lane) -> Execution:
        """Return one more, for another thread: it runs the same language, with the same outputs, comms and count."""
        shared = self._handler, self._outputs, self._parents, self._comms, self._clock
        return Execution(*shared, Interrupts(), self._finished, self.count, lane)

    # For other threads

    def run(self, requests: list[Request]) -> None:
        """Hand over `requests`, to be run in this order."""
        self._queue.put(requests)

    def end(self) -> None:
        """End `serve` when what runs has ended, from any thread. What waits is not run."""
        self._ending = True
        self._queue.put(None)

    # On the execution thread

    async def serve(self, ready: Callable[[], None]) -> None:
        """Run what comes until `end`. Calls `ready` when the first request may come."""
        self.interrupts.attach()
        self._serves = threading.get_ident(), asyncio.get_running_loop()
        ready()
        while (requests := await self._queue.take()) is not None and not self._ending:
            await self._run_row(requests)
            if not self._queue.empty():
                # Tasks that cells have started get their turn also while requests keep coming.
                await asyncio.sleep(0)

    def _forked(self) -> None:
        """Be a forked child's copy: let the child, if a request has forked it, end when it comes back to the loop."""
        if self._serves is not None and self._serves[0] == threading.get_ident() and self._parents.handles():
            self._serves[1].call_soon(end_child)

    async def _run_row(self, requests: list[Request]) -> None:
        beside = self._lane is not None
        reply, failed = None, False
        for request in requests:
            # What a thread prints belongs to the code that ran last, not to a completion that was asked for since.
            self._parents.enter(request.message, request.msg_type in SHOWING_TYPES, beside)
            self._outputs.publish("status", BUSY, request.header)
            if isinstance(request.content, CommOpen | CommMsg | CommClose):
                await self.interrupts.run(self._comms.dispatch(request.message, request.content))
                self._handler.settle()
                # The last one wakes the IOPub thread for the whole row.
                self._outputs.publish("status", IDLE, request.header, ring=True if request is requests[-1] else None)
            else:
                reply, failed = await self._run_request(request)
                self._handler.settle()
            if self._outputs.lost:
                end_child()
        if not beside:
            self._parents.rest()
        self._finished(Finished(reply, failed, len(requests), self._lane))

    async def _run_request(self, request: Request) -> tuple[Reply, bool]:
        """Return the reply, and whether what waits is to be aborted."""
        metadata = {"started": self._clock.now()}
        content = request.content
        if isinstance(content, ExecuteRequest):
            reply = await self._execute(content, request)
            return Reply(request, reply, metadata), isinstance(reply, ErrorReply) and content.stop_on_error
        method, reply_type = self._methods[type(content)]
        answer = await self.interrupts.run(_called(method, reply_type, content))
        return Reply(request, _error_reply(answer) if isinstance(answer, BaseException) else answer, metadata), False

    async def _execute(self, content: ExecuteRequest, request: Request) -> Content:
        number = self.count.next() if content.counts else self.count.value
        if not content.silent:
            self._show_input(content.code, number, request)
        answer = await self.interrupts.run(_called(self._handler.execute, ExecuteReply, content, number))
        self.interrupts.restore()
        if isinstance(answer, BaseException):
            reply = _error_reply(answer, number)
            if not content.silent:
                self._show_error(reply, request)
            return reply
        return ExecuteReply(execution_count=number) if answer is None else answer

    def _show_input(self, code: str, number: int, request: Request) -> None:
        try:
            shown = {"code": code, "execution_count": number}
            self._outputs.publish("execute_input", shown, request.header)
        except WireError as refusal:
            logger.warning("execution: %s", refusal)

    def _show_error(self, reply: ErrorReply, request: Request) -> None:
        content = Error(ename=reply.ename, evalue=reply.evalue, traceback=reply.traceback)
        try:
            self._outputs.publish("error", unstructure(content), request.header)
        except WireError as refusal:
            content = Error(ename=reply.ename, evalue=str(refusal), traceback=[f"{reply.ename}: {refusal}"])
            self._outputs.publish("error", unstructure(content), request.header)


def end_child(status: int = 0) -> NoReturn:
    """End a forked child. It must not come back to the kernel.

    It has the descriptors of the kernel's event loop and sockets, and would take what wakes those for its own.
    """
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(status)


_all: WeakSet[Execution] = WeakSet()


def _forget_all() -> None:
    for execution in _all:
        execution._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def run_on_loop(serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `serve` to its end on an event loop of the calling thread, whatever the tasks beside it raise."""
    with asyncio.Runner(loop_factory=HostLoop) as runner:
        loop = runner.get_loop()
        serving = loop.create_task(serve())
        while not serving.done():
            try:
                loop.run_until_complete(serving)
            except (KeyboardInterrupt, SystemExit) as failure:
                if serving.done():
                    raise
                # asyncio lets these two end the loop, also from a task or a callback that a cell has left behind.
                loop.call_exception_handler({"message": "Exit from a task or callback", "exception": failure})


async def _called(method: Callable[..., Any], reply_type: type[Content], *arguments: object) -> Any:
    answer = method(*arguments)
    if inspect.isawaitable(answer):
        answer = await answer
    if isinstance(answer, (reply_type, ErrorReply)) or (answer is None and reply_type is ExecuteReply):
        return answer
    expected = f"{reply_type.__name__} or ErrorReply"
    name = getattr(method, "__qualname__", method)
    raise TypeError(f"{name} must return {expected}, and has returned {type(answer).__name__}")


def _error_reply(failure: BaseException, execution_count: int | None = None) -> ErrorReply:
    # By the type: the exception's own attributes may be anything.
    at: TracebackType | None = object.__getattribute__(failure, "__traceback__")
    while at is not None and at.tb_frame.f_code.co_filename == __file__:
        # What this file calls is of interest, not that it is this file that calls.
        at = at.tb_next
    return ErrorReply(
        ename=type(failure).__name__,
        evalue=error_value(failure),
        traceback=format_error(failure, at),
        execution_count=execution_count,
    )
