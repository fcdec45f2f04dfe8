"""The tracker: knows which message ends which request (contract F2), and what may be sent when (F7).

Theory of operation. A message belongs to a request when its parent header's ``msg_id`` is the request's. On Shell and
Control it must also be of the right type, or it ends nothing: a stray message is never delivered as something else
(contract F10). What belongs to an execution goes to the execution queue, which decides its state, and to who holds it.

The `Tracker` is told what happened and answers with what has changed. It has neither a lock nor a thread nor a socket:
the bridge calls it under its lock, sends what is in the queue's `outgoing`, and settles what has ended when it has let
go of that lock, because waking who waits runs their callbacks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final
from weakref import WeakSet

import attrs

from kernelbridge.bridges.socket_bridge import Frame
from kernelbridge.frontend.comms import OpenComms
from kernelbridge.frontend.execution import Request, Running
from kernelbridge.frontend.execution_queue import ExecutionQueue
from kernelbridge.frontend.execution_states import State
from kernelbridge.frontend.outputs import ExecutionOutputs
from kernelbridge.frontend.subscribers import RunningCode, Snapshot
from kernelbridge.wire.contents import iopub as published
from kernelbridge.wire.messages import Header, Message, Session
from kernelbridge.wire.strays import Strays

PUBLISHED_TYPES: Final = frozenset(
    {"shutdown_reply", *(getattr(published, name).msg_type for name in published.__all__)}
)
"""The types of messages that a kernel is known to publish on IOPub."""

_ABORTED: Final = {"status": "aborted"}
_INTERRUPTED: Final = {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}
_SWEPT_AT_LEAST: Final = 64


@attrs.frozen
class Ended:
    """The end of a request."""

    request: Request
    outcome: Message | Exception

    def settle(self) -> None:
        """Wake who waits for the request. Called once, without the bridge's lock."""
        if isinstance(self.outcome, Exception):
            self.request._future.set_exception(self.outcome)
        else:
            self.request._future.set_result(self.outcome)


class Tracker:
    """Knows the requests that have not ended. Takes the `session` of its own messages, and where to count strays.

    `now` tells the time for the executions that have a timeout.
    """

    def __init__(self, session: Session, strays: Strays, now: Callable[[], float]) -> None:
        self.status = "starting"
        """The kernel's state, as it last said."""
        self.queue: ExecutionQueue[Running, list[Frame]] = ExecutionQueue(now)
        self.comms = OpenComms()
        self._session = session
        self._strays = strays
        self._pending: dict[str, Request] = {}
        self._refusal: Callable[[], Exception] | None = None
        self._displays = Displays()

    def find(self, msg_id: str | None) -> Request | None:
        """Return the request of this id, if it has not ended."""
        return None if msg_id is None else self._pending.get(msg_id)

    def add(self, request: Request) -> list[Ended]:
        """Learn of a request, before it is sent. It ends at once when nothing can be asked any more."""
        if self._refusal is not None:
            if isinstance(request, Running):
                self.queue.refuse(request)
            return [self._end(request, self._refusal())]
        self._pending[request.msg_id] = request
        return []

    def ask(self, request: Request, frames: list[Frame]) -> None:
        """Have a request that was added sent on Shell, when it may be."""
        if isinstance(request, Running):
            self.queue.put(request, frames)
        else:
            self.queue.pass_on(request.header.subshell_id, frames)

    def cancel(self, execution: Running) -> list[Ended]:
        """Abort an execution that waits for its turn."""
        return self._executions_ended(self.queue.cancel(execution))

    def abort_waiting(self, lane: str) -> list[Ended]:
        """Abort all executions that wait for their turn in a subshell."""
        return self._executions_ended(self.queue.abort_waiting(lane))

    def interrupt(self, deliver: Callable[[], None]) -> list[Ended]:
        """Learn that the kernel is to be interrupted, see `ExecutionQueue.interrupt`."""
        return self._executions_ended(self.queue.interrupt(deliver, self.status != "busy"))

    def unanswered(self, execution: Running) -> list[Ended]:
        """Learn that the reply to an execution would have come by now."""
        return self._executions_ended(self.queue.unanswered(execution))

    def expire(self, deliver: Callable[[], None]) -> None:
        """Learn that the queue's `due` has come."""
        self.queue.expire(deliver, self.status != "busy")

    def replied(self, channel: str, message: Message) -> list[Ended]:
        """Learn of a message on Shell or Control."""
        request = self.find(message.parent_id)
        if request is None:
            if self._refusal is not None:
                # Too late: what it answers has ended with all others.
                return []
            self._strays.count(channel, "unknown parent", message.msg_type)
            return []
        expected = request.header.msg_type.removesuffix("_request") + "_reply"
        if message.msg_type != expected or not request._needs_reply:
            self._strays.count(channel, "unexpected type", f"{message.msg_type} in answer to {request.header.msg_type}")
            return []
        request._needs_reply = False
        request._outcome = message
        if isinstance(request, Running):
            return self._executions_ended(self.queue.replied(request, message.content.get("status")))
        if message.msg_type == "comm_info_reply":
            self.comms.answered(request.msg_id, message.content)
        return self._ended_if_complete(request)

    def published(self, batch: Iterable[Message]) -> list[Ended]:
        """Learn of messages on IOPub, in their order. Executions get theirs, and their readers what is new."""
        ended: list[Ended] = []
        pending = self._pending
        known_types = PUBLISHED_TYPES
        # All that one request causes comes with the same parent, so that neighbours mostly share it.
        parent: Header | None = None
        request: Request | None = None
        execution: Running | None = None
        fresh: list[Message] = []
        for message in batch:
            if message.parent is not parent:
                _hand(execution, fresh)
                parent = message.parent
                request = None if parent is None else pending.get(parent.msg_id)
                execution = request if isinstance(request, Running) else None
                fresh = []
                if parent is not None and request is None and parent.session != self._session.session_id:
                    # Another frontend's, or nobody's. Ours that have ended may still publish, from a thread.
                    self._strays.count("iopub", "unknown parent", message.msg_type, logging.INFO)
            if execution is not None:
                fresh.append(message)
            msg_type = message.msg_type
            if msg_type == "stream":
                continue
            if execution is not None and msg_type == execution.begins_with:
                self.queue.begun(execution)
            if msg_type == "status":
                state = message.content.get("execution_state")
                if not isinstance(state, str):
                    self._strays.count("iopub", "status without execution_state")
                    continue
                self.status = state
                if state == "idle" and request is not None and request._needs_idle:
                    _hand(execution, fresh)
                    request._needs_idle = False
                    if execution is not None:
                        ended += self._executions_ended(self.queue.idle(execution))
                    else:
                        if request._outcome is None and not request._needs_reply:
                            request._outcome = message
                        ended += self._ended_if_complete(request)
                    # What follows with this parent belongs to the execution only while that has not ended.
                    parent = request = execution = None
            elif msg_type in _SPECIAL:
                _SPECIAL[msg_type](self, message, execution)
            elif msg_type not in known_types:
                self._strays.count("iopub", "unknown type", msg_type)
        _hand(execution, fresh)
        return ended

    def snapshot(self, status: str) -> Snapshot:
        """Return what a reader of the stream would know by now. `status` is the bridge's."""
        running = (RunningCode(one.header, one.code, one.shown.outputs) for one in self.queue.running())
        return Snapshot(status, tuple(running), self.comms.all())

    def end_all(self, error: Callable[[], Exception]) -> list[Ended]:
        """End every request, executions as `died`, and each one that comes later, with an exception made for it."""
        self._refusal = error
        self.queue.died()
        ended = [self._end(request, error()) for request in self._pending.values()]
        self._pending.clear()
        return ended

    def _ended_if_complete(self, request: Request) -> list[Ended]:
        if request._needs_reply or request._needs_idle or request._outcome is None:
            return []
        del self._pending[request.msg_id]
        return [self._end(request, request._outcome)]

    def _executions_ended(self, executions: Iterable[Running]) -> list[Ended]:
        ended = []
        for execution in executions:
            del self._pending[execution.msg_id]
            ended.append(self._end(execution, execution._outcome or self._made_reply(execution)))
        return ended

    def _made_reply(self, execution: Running) -> Message:
        """Return the reply that the kernel has not given: to what it was never asked, or to what it has lost."""
        header = self._session.header("execute_reply")
        content = _INTERRUPTED if execution.state is State.INTERRUPTED else _ABORTED
        return Message(header, dict(content), parent=execution.header)

    def _end(self, request: Request, outcome: Message | Exception) -> Ended:
        execution = request.execution if isinstance(request, Running) else None
        if execution is not None:
            execution.end()
        return Ended(request, outcome)

    # Messages that concern more than their own execution

    def _showed(self, message: Message, execution: Running | None) -> None:
        display_id = _display_id(message)
        if display_id is not None and execution is not None:
            self._displays.add(display_id, execution.shown)

    def _updated(self, message: Message, execution: Running | None) -> None:
        own = None if execution is None else execution.shown
        if own is not None:
            own.replaces()
        for shown in self._displays.showing(_display_id(message)):
            if shown is not own:
                shown.replaces()
                shown.take([message])

    def _failed(self, message: Message, execution: Running | None) -> None:
        if execution is not None:
            self.queue.failed(execution)

    def _cleared(self, message: Message, execution: Running | None) -> None:
        if execution is not None:
            execution.shown.replaces()

    def _comm(self, message: Message, execution: Running | None) -> None:
        self.comms.passed(message.header.msg_type, message.content)


_SPECIAL: Final[dict[str, Callable[[Tracker, Message, Running | None], None]]] = {
    "display_data": Tracker._showed,
    "execute_result": Tracker._showed,
    "update_display_data": Tracker._updated,
    "clear_output": Tracker._cleared,
    "error": Tracker._failed,
    "comm_open": Tracker._comm,
    "comm_close": Tracker._comm,
}


class Displays:
    """Which outputs show a display that can be updated. They are forgotten with the executions that they belong to."""

    def __init__(self) -> None:
        self._showing: dict[str, WeakSet[ExecutionOutputs]] = {}
        self._swept_at = _SWEPT_AT_LEAST

    def add(self, display_id: str, outputs: ExecutionOutputs) -> None:
        """Learn that `outputs` show this display."""
        if len(self._showing) >= self._swept_at:
            self._showing = {name: showing for name, showing in self._showing.items() if showing}
            self._swept_at = max(_SWEPT_AT_LEAST, 2 * len(self._showing))
        self._showing.setdefault(display_id, WeakSet()).add(outputs)

    def showing(self, display_id: str | None) -> list[ExecutionOutputs]:
        """Return the outputs that show this display."""
        return [] if display_id is None else list(self._showing.get(display_id, ()))


def _display_id(message: Message) -> str | None:
    transient = message.content.get("transient")
    display_id = transient.get("display_id") if isinstance(transient, dict) else None
    return display_id if isinstance(display_id, str) else None


def _hand(running: Running | None, fresh: list[Message]) -> None:
    """Give an execution what is new; `fresh` is not to be changed any more."""
    if fresh and running is not None:
        running.shown.take(fresh)
        execution = running.execution
        if execution is not None:
            execution.hand(fresh)


def settle(ended: Iterable[Ended]) -> None:
    """Wake who waits for what has ended. Called without the bridge's lock."""
    for end in ended:
        end.settle()
