"""The execution queue by itself: what is sent when, and how each execution ends, once (F2, F6, F7, F8)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelbridge.frontend.execution_queue import (
    ANSWER_WAIT,
    BEGINNING_WAIT,
    INSIST_WAIT,
    INSISTS,
    Entry,
    ExecutionQueue,
)
from kernelbridge.frontend.execution_states import NEXT, STATES, Event, Phase, State


class Scene:
    """A queue, the kernel's side of it, and a clock."""

    def __init__(self, ready: bool = True) -> None:
        self.now = 0.0
        self.queue: ExecutionQueue[Entry, object] = ExecutionQueue(lambda: self.now)
        self.sent: list[object] = []
        self.interrupts = 0
        self.ended: list[Entry] = []
        self.missing: list[Entry] = []
        if ready:
            self.queue.open()

    def put(self, stop_on_error: bool = True, timeout: float | None = None, lane: str | None = None) -> Entry:
        entry = Entry(lane, stop_on_error, timeout)
        self.queue.put(entry, entry)
        self.look()
        return entry

    def pass_on(self, item: str) -> None:
        self.queue.pass_on(None, item)
        self.look()

    def look(self, ended: list[Entry] | None = None) -> None:
        """Do what the queue's owner does after each call."""
        self.ended += ended or []
        self.missing += self.queue.missing
        self.queue.missing.clear()
        while self.queue.outgoing or self.queue.interrupts:
            self.sent += self.queue.outgoing
            self.queue.outgoing = []
            interrupts, self.queue.interrupts = self.queue.interrupts, []
            for interrupt in interrupts:
                interrupt()

    def _count(self) -> None:
        self.interrupts += 1

    def begin(self, entry: Entry) -> None:
        self.queue.begun(entry)
        self.look()

    def reply(self, entry: Entry, status: object = "ok") -> None:
        self.look(self.queue.replied(entry, status))

    def idle(self, entry: Entry) -> None:
        self.look(self.queue.idle(entry))

    def finish(self, entry: Entry, status: object = "ok") -> None:
        self.reply(entry, status)
        self.idle(entry)

    def interrupt(self, kernel_is_idle: bool = False) -> None:
        self.look(self.queue.interrupt(self._count, kernel_is_idle))

    def arrive(self) -> None:
        self.queue.interrupted()
        self.look()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.queue.due is not None and self.queue.due <= self.now:
            self.queue.expire(self._count, kernel_is_idle=False)
            self.look()

    def die(self) -> None:
        self.look(self.queue.died())


class TestTheTable:
    def test_every_phase_is_either_in_the_table_or_an_end_and_ends_have_a_state_of_their_own(self) -> None:
        ends = set(Phase) - set(NEXT)
        assert {STATES[phase] for phase in ends} == set(State) - {State.QUEUED, State.RUNNING}
        assert len(ends) == 5

    def test_whatever_has_not_ended_dies_with_the_kernel(self) -> None:
        assert all(ways[Event.DEATH] is Phase.DIED for ways in NEXT.values())

    def test_only_what_waits_is_aborted_and_only_what_runs_is_interrupted(self) -> None:
        assert [phase for phase, ways in NEXT.items() if Event.ABORT in ways] == [Phase.QUEUED]
        assert [phase for phase, ways in NEXT.items() if Event.INTERRUPT in ways] == [Phase.RUNNING, Phase.IDLE]

    @pytest.mark.parametrize(
        ("status", "state", "after_interrupt"),
        [
            ("ok", State.OK, State.OK),
            ("error", State.ERROR, State.INTERRUPTED),
            ("aborted", State.ABORTED, State.INTERRUPTED),
            ("abort", State.ABORTED, State.INTERRUPTED),
            ("of its own", State.ERROR, State.INTERRUPTED),
            (None, State.ERROR, State.INTERRUPTED),
        ],
    )
    @pytest.mark.parametrize("idle_first", [False, True])
    def test_f2_the_reply_says_how_it_ended_whichever_comes_first(
        self, status: object, state: State, after_interrupt: State, idle_first: bool
    ) -> None:
        for interrupted in (False, True):
            scene = Scene()
            entry = scene.put()
            scene.begin(entry)
            if interrupted:
                scene.interrupt()
            for step in ("idle", "reply") if idle_first else ("reply", "idle"):
                assert entry.state is State.RUNNING
                if step == "idle":
                    scene.idle(entry)
                else:
                    scene.reply(entry, status)
            assert entry.state is (after_interrupt if interrupted else state)
            assert scene.ended == [entry]


class TestOrder:
    def test_one_runs_and_the_others_wait(self) -> None:
        scene = Scene()
        first, second = scene.put(), scene.put()
        assert (scene.sent, first.state, second.state) == ([first], State.RUNNING, State.QUEUED)
        scene.reply(first)
        assert scene.sent == [first]
        scene.idle(first)
        assert (scene.sent, second.state) == ([first, second], State.RUNNING)

    def test_nothing_is_sent_before_the_kernel_is_ready(self) -> None:
        scene = Scene(ready=False)
        scene.pass_on("before")
        first = scene.put()
        scene.pass_on("between")
        second = scene.put()
        scene.pass_on("behind")
        assert scene.sent == []
        scene.queue.open()
        scene.look()
        assert scene.sent == ["before", first, "between"]
        scene.finish(first)
        assert scene.sent == ["before", first, "between", second, "behind"]

    def test_what_is_no_execution_is_sent_at_once_where_none_waits_and_keeps_its_place_where_one_does(self) -> None:
        scene = Scene()
        first = scene.put()
        scene.pass_on("now")
        second = scene.put()
        scene.pass_on("in its place")
        assert scene.sent == [first, "now"]
        scene.finish(first)
        assert scene.sent == [first, "now", second, "in its place"]

    def test_a_subshell_with_nothing_to_do_is_forgotten(self) -> None:
        scene = Scene()
        for number in range(3):
            first, second, cancelled = (scene.put(lane=str(number)) for _ in range(3))
            scene.finish(first)
            scene.look(scene.queue.cancel(cancelled))
            scene.finish(second)
            scene.queue.pass_on(str(number), "a completion")
            assert scene.queue.abort_waiting(str(number)) == scene.queue.cancel(first) == []
        assert scene.queue._lanes == {}

    def test_each_shell_has_a_queue_of_its_own(self) -> None:
        """JEP 91: what runs in a subshell runs beside the main shell."""
        scene = Scene()
        main, beside, behind = scene.put(), scene.put(lane="a"), scene.put(lane="a")
        assert scene.sent == [main, beside]
        scene.finish(beside)
        assert scene.sent == [main, beside, behind]


class TestAborts:
    def test_one_that_waits_can_be_cancelled_and_one_that_runs_cannot(self) -> None:
        scene = Scene()
        first, second, third = scene.put(), scene.put(), scene.put()
        for entry in (second, second, first):
            scene.look(scene.queue.cancel(entry))
        assert [first.state, second.state] == [State.RUNNING, State.ABORTED]
        assert scene.ended == [second]
        scene.finish(first)
        assert scene.sent == [first, third]

    def test_what_stands_behind_a_cancelled_one_waits_for_nobody(self) -> None:
        scene = Scene()
        first, second = scene.put(), scene.put()
        scene.pass_on("behind")
        scene.look(scene.queue.cancel(second))
        assert scene.sent == [first, "behind"]

    @pytest.mark.parametrize("stop_on_error", [True, False])
    def test_a_failure_aborts_what_waits_where_it_was_asked_to(self, stop_on_error: bool) -> None:
        scene = Scene()
        failing, waiting = scene.put(stop_on_error), scene.put()
        beside = scene.put(lane="a")
        scene.finish(failing, "error")
        assert waiting.state is (State.ABORTED if stop_on_error else State.RUNNING)
        assert beside.state is State.RUNNING
        later = scene.put()
        assert later.state is (State.RUNNING if stop_on_error else State.QUEUED)

    def test_what_is_put_when_the_error_has_been_shown_runs(self) -> None:
        """K11: its reply and its idle are still on their way, and whoever puts another knows of it."""
        scene = Scene()
        failing, waiting = scene.put(), scene.put()
        scene.queue.failed(failing)
        after = scene.put()
        scene.finish(failing, "error")
        assert (waiting.state, after.state) == (State.ABORTED, State.RUNNING)


class TestInterrupts:
    """F7: an interrupt ends the running execution and aborts what was queued before it; what comes after it runs."""

    def test_what_waits_is_aborted_and_what_is_put_afterwards_runs(self) -> None:
        scene = Scene()
        running, before = scene.put(), scene.put()
        scene.begin(running)
        scene.interrupt()
        after = scene.put()
        assert (before.state, after.state, scene.interrupts) == (State.ABORTED, State.QUEUED, 1)
        scene.arrive()
        scene.finish(running, "error")
        assert (running.state, after.state) == (State.INTERRUPTED, State.RUNNING)

    def test_nothing_is_sent_while_an_interrupt_is_on_its_way(self) -> None:
        scene = Scene()
        running = scene.put()
        scene.begin(running)
        scene.interrupt()
        after = scene.put()
        scene.pass_on("a completion")
        scene.finish(running)
        assert scene.sent == [running]
        scene.arrive()
        assert scene.sent == [running, after, "a completion"]

    def test_a_kernel_that_does_not_answer_an_interrupt_is_not_waited_for_longer(self) -> None:
        scene = Scene()
        scene.interrupt()
        scene.interrupt()
        after = scene.put()
        assert after.state is State.QUEUED
        scene.pass_time(ANSWER_WAIT)
        assert (after.state, scene.queue.due) == (State.RUNNING, None)
        scene.arrive()

    def test_one_that_is_asked_for_before_the_kernel_is_ready_is_waited_for_from_then_on(self) -> None:
        scene = Scene(ready=False)
        scene.interrupt()
        after = scene.put()
        scene.pass_time(10 * ANSWER_WAIT)
        scene.queue.open()
        scene.look()
        assert (after.state, scene.queue.due) == (State.QUEUED, 11 * ANSWER_WAIT)
        scene.arrive()
        assert after.state is State.RUNNING

    def test_one_that_was_sent_and_has_not_begun_is_interrupted_at_its_beginning(self) -> None:
        scene = Scene()
        running = scene.put()
        scene.interrupt(kernel_is_idle=True)
        assert scene.interrupts == 0
        scene.begin(running)
        # The `idle` of a silent one, or a question, tells it once more.
        scene.begin(running)
        assert scene.interrupts == 1
        scene.finish(running, "error")
        assert (running.state, scene.interrupts) == (State.INTERRUPTED, 1)

    def test_where_something_else_runs_both_are_interrupted(self) -> None:
        scene = Scene()
        running = scene.put()
        scene.interrupt(kernel_is_idle=False)
        assert scene.interrupts == 1
        scene.arrive()
        scene.begin(running)
        assert scene.interrupts == 2

    def test_the_beginning_is_not_waited_for_longer_than_a_kernel_with_nothing_to_do_takes(self) -> None:
        scene = Scene()
        scene.put()
        scene.pass_time(BEGINNING_WAIT / 2)
        scene.interrupt(kernel_is_idle=True)
        scene.pass_time(BEGINNING_WAIT / 2)
        assert scene.interrupts == 1
        scene = Scene()
        scene.put()
        scene.pass_time(BEGINNING_WAIT)
        scene.interrupt(kernel_is_idle=True)
        assert scene.interrupts == 1

    def test_one_that_does_not_heed_the_interrupt_at_its_beginning_is_interrupted_again(self) -> None:
        """Python may look for signals, and then begin to wait: it is not woken by the one that came between."""
        scene = Scene()
        running = scene.put()
        scene.interrupt(kernel_is_idle=True)
        scene.begin(running)
        scene.arrive()
        counts = []
        for _ in range(INSISTS + 2):
            scene.pass_time(INSIST_WAIT)
            scene.arrive()
            counts.append(scene.interrupts)
        assert counts == [2, 3, 4, 4, 4]
        assert scene.queue.due is None

    @pytest.mark.parametrize("says", ["a reply", "an idle", "both"])
    def test_one_that_heeds_it_is_interrupted_once(self, says: str) -> None:
        scene = Scene()
        running = scene.put()
        scene.interrupt(kernel_is_idle=True)
        scene.begin(running)
        scene.arrive()
        if says != "an idle":
            scene.reply(running, "error")
        if says != "a reply":
            scene.idle(running)
        scene.pass_time(INSIST_WAIT)
        assert (scene.interrupts, scene.queue.due) == (1, None)

    def test_one_that_had_begun_is_interrupted_once(self) -> None:
        """What it does then may be to save its work."""
        scene = Scene()
        running = scene.put()
        scene.begin(running)
        scene.interrupt()
        scene.arrive()
        scene.pass_time(10 * INSIST_WAIT)
        assert scene.interrupts == 1

    def test_who_insists_is_not_kept_waiting(self) -> None:
        scene = Scene()
        scene.put()
        scene.interrupt(kernel_is_idle=True)
        scene.interrupt(kernel_is_idle=True)
        assert scene.interrupts == 2

    def test_an_interrupt_whose_execution_ends_without_a_beginning_is_sent_all_the_same(self) -> None:
        """Whoever asked for it has a request that must end."""
        scene = Scene()
        running = scene.put()
        scene.interrupt(kernel_is_idle=True)
        scene.finish(running)
        assert (scene.interrupts, running.state) == (1, State.OK)

    def test_its_stop_on_error_aborts_nothing_that_was_put_after_the_interrupt(self) -> None:
        scene = Scene()
        running = scene.put(stop_on_error=True)
        scene.begin(running)
        scene.interrupt()
        scene.arrive()
        after = scene.put()
        scene.finish(running, "error")
        assert after.state is State.RUNNING


class TestLostReplies:
    """F7 with ipykernel, which loses the reply of what is interrupted before its first line."""

    def test_one_whose_idle_has_come_is_asked_after_when_the_interrupt_has_arrived(self) -> None:
        scene = Scene()
        running, uninterrupted = scene.put(), scene.put(lane="a")
        scene.begin(running)
        scene.interrupt()
        beside = scene.put(lane="b")
        scene.idle(running)
        assert scene.missing == []
        scene.arrive()
        assert scene.missing == [running]
        scene.look(scene.queue.unanswered(running))
        assert running.state is State.INTERRUPTED
        assert (beside.state, uninterrupted.state) == (State.RUNNING, State.RUNNING)

    def test_a_reply_that_came_in_time_counts(self) -> None:
        scene = Scene()
        running = scene.put()
        scene.begin(running)
        scene.interrupt()
        scene.arrive()
        scene.idle(running)
        assert scene.missing == [running]
        scene.reply(running)
        scene.look(scene.queue.unanswered(running))
        assert (running.state, scene.ended) == (State.OK, [running])

    def test_what_still_runs_and_what_was_not_interrupted_is_waited_for(self) -> None:
        scene = Scene()
        running, idle = scene.put(), scene.put(lane="a")
        scene.begin(running)
        scene.idle(idle)
        scene.pass_time(10 * ANSWER_WAIT)
        scene.look(scene.queue.unanswered(running))
        assert (scene.missing, scene.ended) == ([], [])

    @pytest.mark.parametrize("status", ["ok", "error", "aborted", None])
    def test_one_that_has_half_ended_is_asked_after_when_it_is_interrupted(self, status: str | None) -> None:
        """The other half is on its way, or was lost: by an interrupt of somebody else's, for instance."""
        scene = Scene()
        running = scene.put()
        scene.begin(running)
        if status is None:
            scene.idle(running)
        else:
            scene.reply(running, status)
        assert scene.missing == []
        scene.interrupt()
        scene.arrive()
        assert scene.missing == [running]
        after = scene.put()
        scene.look(scene.queue.unanswered(running))
        assert (running.state, after.state) == (State(status or "interrupted"), State.RUNNING)


class TestTimeouts:
    def test_what_has_used_up_its_time_is_interrupted_and_what_waits_stays(self) -> None:
        scene = Scene()
        slow, waiting = scene.put(timeout=10, stop_on_error=False), scene.put(timeout=10)
        scene.begin(slow)
        scene.pass_time(9.999)
        assert scene.interrupts == 0
        scene.pass_time(0.001)
        assert (scene.interrupts, slow.timed_out, slow.state, waiting.state) == (1, True, State.RUNNING, State.QUEUED)
        scene.arrive()
        scene.finish(slow, "error")
        assert (slow.state, waiting.state, waiting.timed_out) == (State.INTERRUPTED, State.RUNNING, False)

    def test_the_time_counts_from_when_it_was_sent(self) -> None:
        scene = Scene()
        first, second = scene.put(), scene.put(timeout=1)
        scene.pass_time(5)
        scene.finish(first)
        assert scene.queue.due == 6
        scene.finish(second)
        assert scene.queue.due is None

    def test_a_failure_by_time_is_a_failure(self) -> None:
        scene = Scene()
        slow, waiting = scene.put(timeout=1, stop_on_error=True), scene.put()
        scene.begin(slow)
        scene.pass_time(1)
        scene.arrive()
        scene.finish(slow, "error")
        assert waiting.state is State.ABORTED


class TestDeath:
    """F6, F8: each running and queued execution ends as died."""

    def test_what_runs_and_what_waits_dies_and_what_comes_later_waits_for_the_next_kernel(self) -> None:
        scene = Scene()
        running, waiting, beside = scene.put(), scene.put(), scene.put(lane="a")
        scene.interrupt()
        scene.die()
        assert {running.state, beside.state} == {State.DIED}
        assert waiting.state is State.ABORTED
        later = scene.put()
        assert scene.sent == [running, beside]
        scene.queue.open()
        scene.look()
        assert scene.sent == [running, beside, later]

    def test_what_the_old_kernel_still_says_changes_nothing(self) -> None:
        scene = Scene()
        old = scene.put()
        scene.die()
        scene.queue.open()
        new = scene.put()
        scene.finish(old)
        assert (old.state, new.state, scene.ended) == (State.DIED, State.RUNNING, [old])


ACTIONS = ["put", "pass", "begin", "reply", "idle", "silence", "interrupt", "arrive", "cancel", "die", "open", "time"]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 5), st.sampled_from(["ok", "error", "aborted"]))))
def test_whatever_comes_in_whatever_order_each_ends_once_and_the_order_holds(
    program: list[tuple[str, int, str]],
) -> None:
    """F2, F6, F7, F8: against a model that knows nothing but the contract."""
    scene = Scene()
    entries: list[Entry] = []
    asked: list[object] = []
    history: dict[Entry, list[State]] = {}
    asked_before: dict[Entry, int] = {}
    interrupts_asked = 0
    for action, number, status in program:
        entry = entries[number % len(entries)] if entries else None
        if action == "put":
            made = scene.put(stop_on_error=number % 2 == 0, timeout=1.0 if number > 3 else None)
            entries.append(made)
            asked.append(made)
            history[made] = [State.QUEUED]
            asked_before[made] = interrupts_asked
        elif action == "pass":
            item = f"item {len(asked)}"
            scene.pass_on(item)
            asked.append(item)
        elif action == "interrupt":
            interrupts_asked += 1
            waited = [one for one in entries if one.state is State.QUEUED]
            scene.interrupt(kernel_is_idle=number % 2 == 0)
            assert all(one.state is State.ABORTED for one in waited)
        elif action == "arrive":
            scene.arrive()
        elif action == "die":
            scene.die()
            assert all(one.ended for one in entries)
        elif action == "open":
            scene.queue.open()
            scene.look()
        elif action == "time":
            scene.pass_time(number / 2)
        elif entry is not None:
            if action == "cancel":
                scene.look(scene.queue.cancel(entry))
            # A kernel says nothing of what it was never asked.
            elif entry in scene.sent:
                if action == "silence":
                    scene.look(scene.queue.unanswered(entry))
                elif action == "reply":
                    scene.reply(entry, status)
                else:
                    {"begin": scene.begin, "idle": scene.idle}[action](entry)
        for one in entries:
            if one.state is not history[one][-1]:
                history[one].append(one.state)
        assert sum(one.state is State.RUNNING for one in entries) <= 1
    assert max(Counter(map(id, scene.ended)).values(), default=1) == 1
    assert {one for one in entries if one.ended} == set(scene.ended)
    # What was sent was sent in the order in which it was asked for, and once.
    places = [asked.index(item) for item in scene.sent]
    assert places == sorted(set(places))
    for one, states in history.items():
        assert sum(state not in (State.QUEUED, State.RUNNING) for state in states) == one.ended
        assert (one in scene.sent) or states[-1] in (State.QUEUED, State.ABORTED, State.DIED)
        assert states[-1] is not State.INTERRUPTED or one.timed_out or interrupts_asked > asked_before[one]
    # Nothing is left waiting when the kernel is there, answers, and does what it was asked to.
    scene.queue.open()
    scene.pass_time(100)
    while running := scene.queue.running():
        scene.begin(running[0])
        scene.finish(running[0])
        scene.pass_time(100)
    assert all(one.ended for one in entries)
