"""The Shell thread: requests in the order of their arrival, run elsewhere one at a time, each answered (K5, K6, K11).

`ShellCore` decides whose turn it is; it has no socket and no thread. The rules:

1. Requests have their turn in the order of their arrival.
2. One runs at a time on the execution thread. It has been answered, and its `idle` put, before the next has its turn.
3. Comm messages have no reply, so a row of them runs without coming back to this thread in between.
4. What needs no language - kernel_info, comm_info, a fault - is answered on this thread, when it has its turn.
5. When an execution fails and asked for it, all executions that wait then are aborted when they have their turn.

While a request runs this thread keeps serving its socket and its channel bridge, so nothing that the running code does
can wait for Shell and deadlock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
import zmq

from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Socket, receive
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.router import Answers, Reply, Request, RouterChannel, Wire, fault_reply
from kernelbridge.wire.contents import AbortedReply, Content, ErrorReply
from kernelbridge.wire.messages import Message

COMM_TYPES = frozenset({"comm_open", "comm_msg", "comm_close"})
RUN_TYPES = COMM_TYPES | {
    "execute_request",
    "complete_request",
    "inspect_request",
    "is_complete_request",
    "history_request",
}


ROW_LENGTH = 64
"""How many comm messages run in a row. What they put is sent before the next row starts, see `router`."""

HUSH_SECONDS = 0.002
"""How long a request may run before what it has put so far is sent. Most end sooner, and are sent as one."""


@attrs.frozen
class Run:
    """Run these on the execution thread, in this order. Only the last may have a reply."""

    requests: list[Request]


@attrs.frozen
class Answer:
    """Answer this on the Shell thread."""

    request: Request


@attrs.frozen
class Finished:
    """The execution thread is done with what it was given to run.

    `reply` is the answer to the last of it, if it has one. `failed`: what waits is to be aborted. `length`: how many
    requests it was.
    """

    reply: Reply | None
    failed: bool = False
    length: int = 1


class ShellCore:
    """Whose turn it is. Each method returns what is to be done now, in order."""

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        """What has arrived and not had its turn."""
        self._running = False

    def received(self, request: Request) -> list[Run | Answer]:
        """Take a request that has arrived."""
        self.waiting.append(request)
        return self._turns()

    def finished(self, failed: bool) -> list[Run | Answer]:
        """Hear that what was given to run has ended, and been answered."""
        self._running = False
        if failed:
            for waiting in self.waiting:
                waiting.aborted = waiting.msg_type == "execute_request"
        return self._turns()

    def _turns(self) -> list[Run | Answer]:
        turns: list[Run | Answer] = []
        while self.waiting and not self._running:
            if not _runs(self.waiting[0]):
                turns.append(Answer(self.waiting.popleft()))
                continue
            row: list[Request] = []
            while self.waiting and _runs(self.waiting[0]):
                row.append(self.waiting.popleft())
                if row[-1].msg_type not in COMM_TYPES or len(row) == ROW_LENGTH:
                    break
            self._running = True
            turns.append(Run(row))
        return turns


def _runs(waiting: Request) -> bool:
    return waiting.msg_type in RUN_TYPES and waiting.fault is None and not waiting.aborted


class Shell(RouterChannel[Finished]):
    """The Shell thread. Takes `run`, which hands requests to the execution thread, and its `execution_count`."""

    def __init__(
        self,
        wire: Wire,
        bind: Callable[[Socket], None],
        outputs: Outputs,
        answers: Answers,
        run: Callable[[list[Request]], None],
        execution_count: Callable[[], int],
        on_crash: OnCrash | None = None,
    ) -> None:
        super().__init__("shell", wire, bind, outputs, answers, on_crash)
        self._run = run
        self._execution_count = execution_count
        # Owned by the thread.
        self._core = ShellCore()
        self._hush_ends: float | None = None

    def received(self, message: Message) -> None:
        self._follow(self._core.received(self.check(message)))

    def deadline(self) -> float | None:
        return self._hush_ends

    def on_deadline(self) -> None:
        self._hush_ends = None
        self._outputs.end_hush()

    def finished(self, item: Finished) -> None:
        """Hear from the execution thread that what it was given has ended."""
        if item.reply is not None:
            self.put(item)
            return
        # Nobody waits for the end of a row of comm messages but what is behind it. Put, then look: a request that
        # arrives in between sees the item, or is seen here.
        self.put(item, ring=False)
        if self._core.waiting:
            self.ring()

    def deliver(self, item: Finished) -> None:
        self._hush_ends = None
        if item.failed:
            # Before the reply: what the frontend sends when it has seen that must run.
            self._read_what_has_arrived()
        if item.reply is not None:
            self.send_reply(item.reply)
            self.idle(item.reply.request)
        self._outputs.end_hush()
        self.take_turns(item.length)
        self._follow(self._core.finished(item.failed))

    def _read_what_has_arrived(self) -> None:
        """Let what the frontend had sent when the execution failed count as waiting."""
        while True:
            try:
                frames = receive(self._socket)
            except zmq.Again:
                return
            self._arrived(frames)

    def _answer_to(self, request: Request) -> Content | bytes | None:
        if request.msg_type == "execute_request" and (request.aborted or request.fault is not None):
            # An execute_reply says the count whatever its status ("Request-Reply" in the specification).
            refused: AbortedReply | ErrorReply = AbortedReply() if request.fault is None else fault_reply(request.fault)
            return attrs.evolve(refused, execution_count=self._execution_count())
        return super()._answer_to(request)

    def _follow(self, turns: list[Run | Answer]) -> None:
        for turn in turns:
            if isinstance(turn, Run):
                self._outputs.hush()
                self._hush_ends = self.clock.monotonic() + HUSH_SECONDS
                self._run(turn.requests)
            else:
                self.answer(turn.request)
