"""The Shell thread: requests in the order of their arrival, run elsewhere one at a time, each answered (K5, K6, K11).

`ShellCore` decides whose turn it is; it has no socket and no thread. There is one for each lane: for the main shell,
and for each subshell, which go on beside each other. The rules of a lane:

1. Requests have their turn in the order of their arrival.
2. One runs at a time on the execution thread. It has been answered, and its `idle` put, before the next has its turn.
3. Comm messages have no reply, so a row of them runs without coming back to this thread in between.
4. What needs no language - kernel_info, comm_info, a fault - is answered on this thread, when it has its turn.
5. When an execution fails and asked for it, all executions that wait then are aborted when they have their turn.
6. When a subshell is deleted, what runs there goes on to its end; all that waits to be run is aborted.

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
from kernelbridge.wire.contents import AbortedReply, Content
from kernelbridge.wire.errors import ContentError, short_repr
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
    requests it was. `lane`: where it was, None for the main shell.
    """

    reply: Reply | None
    failed: bool = False
    length: int = 1
    lane: Lane | None = None


class ShellCore:
    """Whose turn it is. Each method returns what is to be done now, in order."""

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        """What has arrived and not had its turn."""
        self.closed = False
        """Whether nothing is to run any more."""
        self._running = False

    @property
    def done(self) -> bool:
        """Whether it is closed, and all has been answered."""
        return self.closed and not self._running and not self.waiting

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

    def close(self) -> list[Run | Answer]:
        """Run nothing any more but what runs already."""
        self.closed = True
        for waiting in self.waiting:
            waiting.aborted = waiting.msg_type in RUN_TYPES
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


class Lane:
    """The requests of one shell, which have their turns one after the other. Owned by the Shell thread.

    Takes `run`, which hands requests to the shell's execution thread, and `end`, which ends that.
    """

    def __init__(self, run: Callable[[list[Request]], None], end: Callable[[], None]) -> None:
        self.core = ShellCore()
        self.run = run
        self.end = end


@attrs.frozen
class Close:
    """The subshell with this lane is deleted."""

    lane: Lane


class Shell(RouterChannel[Finished | Close]):
    """The Shell thread.

    Takes the main shell's lane; `find`, which returns the lane of a subshell by its id, None where there is none, and
    is None itself where there are no subshells; and the number of the last execution.
    """

    def __init__(
        self,
        wire: Wire,
        bind: Callable[[Socket], None],
        outputs: Outputs,
        answers: Answers,
        main_lane: Lane,
        find: Callable[[str], Lane | None] | None,
        execution_count: Callable[[], int],
        on_crash: OnCrash | None = None,
    ) -> None:
        super().__init__("shell", wire, bind, outputs, answers, on_crash)
        self._main_lane = main_lane
        self._find = find
        self._execution_count = execution_count
        # Owned by the thread.
        self._hush_ends: float | None = None

    def received(self, message: Message) -> None:
        lane = self._main_lane
        subshell_id = message.header.subshell_id
        # Who has no subshells ignores the field ("Kernels not supporting subshells" in JEP 91).
        if subshell_id is not None and self._find is not None:
            found = self._find(subshell_id)
            if found is None:
                fault = ContentError(message.msg_type, "subshell_id", f"names no subshell: {short_repr(subshell_id)}")
                self.answer(Request(message, message.content, fault))
                return
            lane = found
        self._follow(lane, lane.core.received(self.check(message)))

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
        core = (item.lane or self._main_lane).core
        self.put(item, ring=False)
        if core.waiting or core.closed:
            self.ring()

    def deliver(self, item: Finished | Close) -> None:
        if isinstance(item, Close):
            self._follow(item.lane, item.lane.core.close())
            return
        lane = item.lane or self._main_lane
        self._hush_ends = None
        if item.failed:
            # Before the reply: what the frontend sends when it has seen that must run.
            self._read_what_has_arrived()
        if item.reply is not None:
            self.send_reply(item.reply)
            self.idle(item.reply.request)
        self._outputs.end_hush()
        self.take_turns(item.length)
        self._follow(lane, lane.core.finished(item.failed))

    def _read_what_has_arrived(self) -> None:
        """Let what the frontend had sent when the execution failed count as waiting."""
        while True:
            try:
                frames = receive(self._socket)
            except zmq.Again:
                return
            self._arrived(frames)

    def _answer_to(self, request: Request) -> Content | bytes | None:
        if request.fault is not None and request.msg_type == "execute_request":
            # An execute_reply says the count whatever its status ("Request-Reply" in the specification).
            return attrs.evolve(fault_reply(request.fault), execution_count=self._execution_count())
        if request.aborted:
            # Here without the count, as ipykernel's: JupyterLab shows what it gets as the number of a cell that ran.
            return AbortedReply() if request.msg_type not in COMM_TYPES else None
        return super()._answer_to(request)

    def _follow(self, lane: Lane, turns: list[Run | Answer]) -> None:
        for turn in turns:
            if isinstance(turn, Run):
                self._outputs.hush()
                self._hush_ends = self.clock.monotonic() + HUSH_SECONDS
                lane.run(turn.requests)
            else:
                self.answer(turn.request)
        if lane.core.done:
            lane.end()
