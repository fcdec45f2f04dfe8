"""The execution queue: which execution may run now, and in what state each one is. Pure.

One execution at a time is in the kernel's hands, in each of its shells; the others wait here. So one that waits can be
cancelled, and an interrupt aborts what was asked for before it and nothing else (contract F7): neither can be done any
more to what has been sent. An execution that finds its shell free is sent at once, and costs nothing more.

What is no execution (a completion, a comm message) is sent at once, too, unless executions wait: it then keeps its
place behind them, so that the kernel gets everything in the order in which it was asked for.

The life of one execution is the table in `execution_states.py`.

An interrupt needs care in four places, because it travels on another way than the executions do:

* One that comes when an execution has been sent and has not begun would hit nothing. It waits for the beginning, unless
  something else runs; and then it is sent once more at the beginning. A kernel that has not begun `BEGINNING_WAIT`
  seconds after it was asked to does something that is not known here, and is interrupted in that.
* Code that is about to wait for something may not notice a signal: Python looks for signals, and then waits. That is
  likely at the beginning. So what was interrupted there and has shown no effect for `INSIST_WAIT` seconds is
  interrupted again, up to `INSISTS` times. No clean-up is disturbed that anybody could miss: who asked for the
  interrupt did not want it to begin.
* Nothing is sent while an interrupt is on its way: it would hit what was asked for after it. It has arrived when the
  signal was sent or the kernel has answered; a kernel that does not answer is waited for `ANSWER_WAIT` seconds.
* ipykernel loses the reply of an execution that is interrupted before its first line, or behind its last one. When an
  execution was interrupted and its `idle` has come without the reply, the kernel is asked for something else: what it
  has not sent when it answers that, it will never send. So is a kernel of whose execution one half of the end, the
  reply or the `idle`, has come, and which is interrupted then: whoever does that has waited for the other half.

An execution that ran out of time is interrupted in the same way, but what waits stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from kernelbridge.frontend.execution_states import NEXT, REPLIES, STATES, Event, Phase, State

BEGINNING_WAIT: Final = 0.25

INSIST_WAIT: Final = 1.0
INSISTS: Final = 3

ANSWER_WAIT: Final = 2.0
"""Seconds in which a kernel has to answer an interrupt_request before more is sent to it."""

_FAILED: Final = {Phase.ERROR, Phase.ENDED_INTERRUPTED}


class Entry:
    """One execution in the queue.

    Takes the `lane`: the id of its subshell, None for the main shell; whether its failure aborts what waits; and the
    seconds that it may run, from when it was sent.
    """

    def __init__(self, lane: str | None = None, stop_on_error: bool = True, timeout: float | None = None) -> None:
        self.lane = lane
        self.stop_on_error = stop_on_error
        # What is no number fails here, with its caller, and not where it is added up, which is on the bridge's thread.
        self.timeout = None if timeout is None else float(timeout)
        # The queue's.
        self.phase = Phase.QUEUED
        self.timed_out = False
        self.due: float | None = None
        self.begun = False
        self.sent_at = 0.0
        # Whether the kernel is to be asked if what is missing will come.
        self.doubted = False

    @property
    def state(self) -> State:
        return STATES.get(self.phase, State.RUNNING)

    @property
    def ended(self) -> bool:
        return self.phase not in NEXT


E = TypeVar("E", bound=Entry)
Item = TypeVar("Item")


class _Lane(Generic[E, Item]):
    """One of the kernel's shells: what runs there, and what waits for it, in its order."""

    def __init__(self) -> None:
        self.running: E | None = None
        self.doomed: list[E] | None = None
        """What waited when the one that runs showed an error, if it has."""
        self.waiting: deque[tuple[E | None, Item]] = deque()


class ExecutionQueue(Generic[E, Item]):
    """Takes what is asked of Shell, each with the `Item` to be sent, and says what to send, and what has ended.

    After each call its owner sends what is in `outgoing`, in its order; then calls what is in `interrupts`, which
    interrupts the kernel, and tells by `interrupted` of each that it has arrived; and for what is in `missing` it asks
    the kernel something in the same lane, and tells by `unanswered` when that is answered. Calls return the executions
    that they have ended. `now` tells the time, in seconds. Nothing is sent until `open`.

    Has no lock of its own: its owner calls it under one.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.outgoing: list[Item] = []
        self.interrupts: list[Callable[[], None]] = []
        self.missing: list[E] = []
        self.due: float | None = None
        """When `expire` is to be called. Any thread may read it."""
        self._now = now
        self._lanes: dict[str | None, _Lane[E, Item]] = {}
        self._ready = False
        # How many interrupts are on their way, and until when they are waited for.
        self._interrupting = 0
        self._answer_due: float | None = None
        # What interrupts the kernel when an execution begins that was interrupted before; and until when that has not
        # been done at all.
        self._at_beginning: Callable[[], None] | None = None
        self._beginning_due: float | None = None
        # When that is to be done again, and how often it still may be.
        self._insist_due: float | None = None
        self._insists_left = 0

    # What is asked for

    def put(self, entry: E, item: Item) -> None:
        """Take an execution: it is sent when those before it in its lane have ended."""
        lane = self._lane(entry.lane)
        if self._flows and lane.running is None and not lane.waiting:
            self._send(lane, entry, item)
        else:
            lane.waiting.append((entry, item))

    def pass_on(self, lane_id: str | None, item: Item) -> None:
        """Take what is no execution: it is sent now, or behind the executions that wait."""
        lane = self._lanes.get(lane_id)
        if self._flows and (lane is None or not lane.waiting):
            self.outgoing.append(item)
        else:
            self._lane(lane_id).waiting.append((None, item))

    def refuse(self, entry: E) -> None:
        """Learn of an execution for which there is no kernel any more."""
        self._move([entry], Event.DEATH)

    def cancel(self, entry: E) -> list[E]:
        """Abort an execution that waits. Nothing happens to one that has been sent."""
        ended = self._move([entry], Event.ABORT)
        if ended:
            self._advance(self._lane(entry.lane))
        return ended

    def abort_waiting(self, lane_id: str) -> list[E]:
        """Abort all that wait in a lane."""
        lane = self._lanes.get(lane_id)
        if lane is None:
            return []
        ended = self._move([entry for entry, _ in lane.waiting if entry is not None], Event.ABORT)
        self._advance(lane)
        return ended

    def interrupt(self, deliver: Callable[[], None], kernel_is_idle: bool) -> list[E]:
        """End what runs and abort what waits; what is put from now on runs.

        Takes what interrupts the kernel, and whether, as far as is known, nothing runs in it.
        """
        ended = self._move(self._waiting(), Event.ABORT)
        running = self.running()
        for entry in running:
            # Whoever interrupts says himself what is aborted: all that waits now, and nothing that he asks for later.
            entry.stop_on_error = False
        self._interrupt(running, deliver, kernel_is_idle)
        for lane in self._lanes.values():
            self._advance(lane)
        return ended

    def interrupted(self) -> None:
        """Learn that an interrupt has reached the kernel."""
        if self._interrupting:
            self._interrupting -= 1
            self._flow()

    # What happens

    def open(self) -> None:
        """Learn that the kernel is ready for requests."""
        self._ready = True
        if self._interrupting:
            self._await_answer()
        self._flow()

    def begun(self, entry: E) -> None:
        """Learn that the kernel has begun to run an execution. It may be told again."""
        if entry.begun:
            return
        entry.begun = True
        if entry.phase is Phase.INTERRUPTED and self._at_beginning is not None:
            self._deliver(self._at_beginning)
            self._insists_left = INSISTS
            self._insist_later()

    def replied(self, entry: E, status: object) -> list[E]:
        """Learn of the reply to an execution, with this `status`."""
        return self._went_on(entry, REPLIES.get(status if isinstance(status, str) else "", Event.REPLY_ERROR))

    def failed(self, entry: E) -> None:
        """Learn that an execution has shown an error. Whoever puts another from now on may have seen it: that runs."""
        lane = self._lane(entry.lane)
        lane.doomed = [other for other, _ in lane.waiting if other is not None]

    def idle(self, entry: E) -> list[E]:
        """Learn of the `idle` of an execution."""
        return self._went_on(entry, Event.IDLE)

    def unanswered(self, entry: E) -> list[E]:
        """Learn that the kernel has answered what was asked because of an entry in `missing`."""
        return self._went_on(entry, Event.SILENCE)

    def expire(self, deliver: Callable[[], None], kernel_is_idle: bool) -> None:
        """Learn that it is `due`: what has used up its time is interrupted. Takes what `interrupt` takes."""
        now = self._now()
        late = [entry for entry in self.running() if entry.due is not None and entry.due <= now]
        for entry in late:
            entry.timed_out = True
            entry.due = None
        if late:
            self._interrupt(late, deliver, kernel_is_idle)
        if self._beginning_due is not None and self._beginning_due <= now and self._at_beginning is not None:
            self._deliver(self._at_beginning)
        if self._insist_due is not None and self._insist_due <= now:
            self._insist()
        if self._answer_due is not None and self._answer_due <= now:
            self._interrupting = 0
            self._flow()
        self._set_due()

    def died(self) -> list[E]:
        """End all, because the kernel is gone or is being restarted: what is put from now on waits for `open`."""
        ended = self._move([*self.running(), *self._waiting()], Event.DEATH)
        self._lanes.clear()
        self.outgoing.clear()
        self.interrupts.clear()
        self.missing.clear()
        self._ready = False
        self._interrupting = 0
        self._answer_due = self._at_beginning = self._beginning_due = self._insist_due = None
        self._set_due()
        return ended

    def running(self) -> list[E]:
        """Return what is in the kernel's hands."""
        return [lane.running for lane in self._lanes.values() if lane.running is not None]

    # The rules

    @property
    def _flows(self) -> bool:
        return self._ready and not self._interrupting

    def _lane(self, lane_id: str | None) -> _Lane[E, Item]:
        lane = self._lanes.get(lane_id)
        if lane is None:
            lane = self._lanes[lane_id] = _Lane()
        return lane

    def _waiting(self) -> list[E]:
        return [entry for lane in self._lanes.values() for entry, _ in lane.waiting if entry is not None]

    def _move(self, entries: Iterable[E], event: Event) -> list[E]:
        """Let `event` happen to entries. Returns those that it has ended."""
        ended = []
        for entry in entries:
            following = NEXT.get(entry.phase, {}).get(event)
            if following is not None:
                entry.phase = following
                if following not in NEXT:
                    ended.append(entry)
        return ended

    def _went_on(self, entry: E, event: Event) -> list[E]:
        ended = self._move([entry], event)
        if not ended:
            entry.doubted = entry.phase is Phase.INTERRUPTED_IDLE
            self._ask_after(entry)
            return ended
        lane = self._lane(entry.lane)
        if entry.stop_on_error and entry.phase in _FAILED:
            if lane.doomed is None:
                self.failed(entry)
            ended += self._move(lane.doomed or (), Event.ABORT)
        lane.running = lane.doomed = None
        if self._at_beginning is not None and all(other.begun for other in self.running()):
            # Nobody's beginning is waited for any more. Who has asked for the interrupt gets it all the same.
            if self._beginning_due is not None:
                self._deliver(self._at_beginning)
            self._at_beginning = self._insist_due = None
        self._advance(lane)
        if entry.lane is not None and lane.running is None and not lane.waiting:
            # Its subshell may be deleted, and many may be made.
            del self._lanes[entry.lane]
        if self.due is not None:
            self._set_due()
        return ended

    def _interrupt(self, entries: Iterable[E], deliver: Callable[[], None], kernel_is_idle: bool) -> None:
        self._move(entries, Event.INTERRUPT)
        for entry in entries:
            # Whoever insists may have seen that nothing comes.
            entry.doubted = Event.SILENCE in NEXT[entry.phase]
        unbegun = [entry for entry in entries if entry.phase is Phase.INTERRUPTED and not entry.begun]
        begins_by = max((entry.sent_at for entry in unbegun), default=0.0) + BEGINNING_WAIT
        former = self._at_beginning if self._beginning_due is not None else None
        self._at_beginning = deliver if unbegun else None
        self._insist_due = None
        if former is not None:
            # Asked for again: whoever insists is not kept waiting, whatever is known.
            self._deliver(former)
            self._deliver(deliver)
        elif unbegun and kernel_is_idle and self._now() < begins_by:
            self._beginning_due = begins_by
            self._set_due()
        else:
            self._deliver(deliver)

    def _insist_later(self) -> None:
        self._insist_due = self._now() + INSIST_WAIT if self._insists_left else None
        self._set_due()

    def _insist(self) -> None:
        unheeding = [entry for entry in self.running() if entry.phase is Phase.INTERRUPTED and entry.begun]
        if unheeding and self._at_beginning is not None:
            self._insists_left -= 1
            self._deliver(self._at_beginning)
            self._insist_later()
        else:
            self._insist_due = None

    def _deliver(self, deliver: Callable[[], None]) -> None:
        self.interrupts.append(deliver)
        self._beginning_due = None
        self._interrupting += 1
        if self._ready:
            self._await_answer()

    def _await_answer(self) -> None:
        self._answer_due = self._now() + ANSWER_WAIT
        self._set_due()

    def _flow(self) -> None:
        if self._flows:
            self._answer_due = None
            self._set_due()
            for lane in self._lanes.values():
                if lane.running is not None:
                    self._ask_after(lane.running)
                self._advance(lane)

    def _ask_after(self, entry: E) -> None:
        if entry.doubted and self._flows:
            entry.doubted = False
            self.missing.append(entry)

    def _advance(self, lane: _Lane[E, Item]) -> None:
        """Send what may be sent: all up to the next execution that has to wait."""
        waiting = lane.waiting
        while waiting and self._flows:
            entry, item = waiting[0]
            if entry is None:
                self.outgoing.append(item)
            elif entry.phase is Phase.QUEUED:
                if lane.running is not None:
                    return
                self._send(lane, entry, item)
            waiting.popleft()

    def _send(self, lane: _Lane[E, Item], entry: E, item: Item) -> None:
        lane.running = entry
        self._move([entry], Event.SEND)
        self.outgoing.append(item)
        entry.sent_at = self._now()
        if entry.timeout is not None:
            entry.due = entry.sent_at + entry.timeout
            self._set_due()

    def _set_due(self) -> None:
        times = [entry.due for entry in self.running()]
        waits = self._answer_due, self._beginning_due, self._insist_due
        self.due = min((at for at in (*times, *waits) if at is not None), default=None)
