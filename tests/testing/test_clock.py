"""The virtual clock goes when it is told to, through the deadlines in their order, and waits for who waits on it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import zmq

from kernelbridge.bridges.clock import Clock, SystemClock
from kernelbridge.bridges.clock_poller import ClockPoller
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket, SocketBridge, send
from kernelbridge.testing import DEADLINE, VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as context:
        yield context


class Alarm(SocketBridge[Callable[[], object]]):
    """A thread with a socket, which runs what it is given, and rings at the times that it was told."""

    def __init__(self, context: Context, clock: Clock, name: str = "alarm") -> None:
        super().__init__(name, context, clock)
        self.times: list[float] = []
        self.rings: Callable[[float], object] = float
        self.reads: Callable[[list[Frame]], object] = len
        self.socket: Socket

    def open_sockets(self) -> None:
        self.socket = self.context.socket(zmq.PAIR)
        self.adopt(self.socket, self.read)

    def read(self, frames: list[Frame]) -> None:
        self.reads(frames)

    def deliver(self, item: Callable[[], object]) -> None:
        item()

    def deadline(self) -> float | None:
        return min(self.times, default=None)

    def on_deadline(self) -> None:
        at = min(self.times)
        self.times.remove(at)
        self.rings(at)

    def set(self, *times: float) -> None:
        """Set alarms, from any thread."""
        self.put(lambda: self.times.extend(times))


@contextmanager
def alarms(context: Context, clock: Clock, *names: str) -> Iterator[list[Alarm]]:
    made = [Alarm(context, clock, name) for name in names]
    for alarm in made:
        alarm.start()
    yield made
    for alarm in made:
        assert alarm.stop(DEADLINE)


# The time


def test_it_stands_until_it_is_advanced(clock: VirtualClock) -> None:
    assert (clock.monotonic(), clock.now()) == (0.0, "2000-01-01T00:00:00.000000Z")
    clock.advance(1.5)
    assert (clock.monotonic(), clock.now()) == (1.5, "2000-01-01T00:00:01.500000Z")
    clock.advance(0)
    assert clock.monotonic() == 1.5


def test_the_date_at_its_start_is_told_in_utc() -> None:
    clock = VirtualClock(datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == "2025-12-31T23:30:00.000000Z"
    assert VirtualClock(datetime(1970, 1, 1, tzinfo=UTC)).now() == "1970-01-01T00:00:00.000000Z"


def test_small_steps_add_up(clock: VirtualClock) -> None:
    for _ in range(10):
        clock.advance(0.1)
    assert clock.monotonic() == 1.0


@pytest.mark.parametrize("seconds", [-1, -0.001, math.nan, math.inf])
def test_it_does_not_go_back_nor_for_ever(clock: VirtualClock, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"a clock is advanced by 0 seconds or more, not by {seconds}"):
        clock.advance(seconds)


def test_it_is_a_clock_like_the_machines() -> None:
    def names(clock: Any) -> set[str]:
        return {name for name in ("monotonic", "now", "attend") if callable(getattr(clock, name))}

    assert names(VirtualClock()) == names(SystemClock())
    assert len(VirtualClock().now()) == len(SystemClock().now())


# Deadlines


def test_a_deadline_is_met_exactly_when_it_is_due(context: Context, clock: VirtualClock) -> None:
    with alarms(context, clock, "alarm") as (alarm,):
        met: list[float] = []
        alarm.rings = lambda at: met.append(clock.monotonic())
        alarm.set(10.0)
        clock.advance(9.999)
        assert met == []
        clock.advance(0.001)
        assert met == [10.0]
        clock.advance(100)
        assert met == [10.0]


def test_a_sum_of_fractions_is_due_when_a_reader_would_say_so(context: Context, clock: VirtualClock) -> None:
    """0.1 + 0.04 + 0.04 is more than 0.1 + 0.08, in binary."""
    clock.advance(0.1)
    with alarms(context, clock, "alarm") as (alarm,):
        met: list[float] = []
        alarm.rings = met.append
        due = clock.monotonic() + 0.04 + 0.04
        assert due > 0.18
        alarm.set(due)
        clock.advance(0.08)
        assert met == [due]
        assert clock.monotonic() >= due


def test_the_deadlines_of_all_threads_are_met_in_their_order(context: Context, clock: VirtualClock) -> None:
    with alarms(context, clock, "one", "two", "three") as (one, two, three):
        met: list[tuple[str, float, float]] = []
        for alarm in (one, two, three):
            alarm.rings = lambda at, name=alarm.name: met.append((name, at, clock.monotonic()))  # type: ignore[misc]
        one.set(1.0, 4.0)
        two.set(3.0, 6.0)
        three.set(2.0, 5.0)
        clock.advance(5.5)
        assert met == [
            ("one", 1.0, 1.0),
            ("three", 2.0, 2.0),
            ("two", 3.0, 3.0),
            ("one", 4.0, 4.0),
            ("three", 5.0, 5.0),
        ]
        assert clock.monotonic() == 5.5


def test_a_timer_that_sets_itself_again_comes_as_often_as_it_should(context: Context, clock: VirtualClock) -> None:
    with alarms(context, clock, "alarm") as (alarm,):
        met: list[float] = []

        def again(at: float) -> None:
            met.append(at)
            alarm.times.append(at + 0.25)

        alarm.rings = again
        alarm.set(0.25)
        clock.advance(1.1)
        assert met == [0.25, 0.5, 0.75, 1.0]


def test_a_deadline_that_has_passed_already_is_met_at_once(context: Context, clock: VirtualClock) -> None:
    clock.advance(7)
    with alarms(context, clock, "alarm") as (alarm,):
        met: list[float] = []
        alarm.rings = lambda at: met.append(clock.monotonic())
        alarm.set(3.0)
        clock.advance(0)
        assert met == [7.0]


# At rest


def test_it_waits_for_what_threads_hand_to_each_other(context: Context, clock: VirtualClock) -> None:
    """A deadline set by the fourth thread in a row counts from the time at which the first was told to pass it on."""
    with alarms(context, clock, *"abcd") as threads:
        met: list[float] = []
        threads[-1].rings = lambda at: met.append(at)

        def pass_on(place: int) -> None:
            if place == len(threads):
                threads[-1].times.append(clock.monotonic() + 1)
            else:
                threads[place].put(lambda: pass_on(place + 1))

        for _ in range(50):
            # To the last first, which so has answered before it gets the work.
            threads[0].put(lambda: pass_on(1))
            due = clock.monotonic() + 1
            clock.advance(0.5)
            assert met == []
            clock.advance(0.5)
            assert met == [due]
            met.clear()


def test_it_waits_for_what_threads_send_over_inproc_sockets(context: Context, clock: VirtualClock) -> None:
    with alarms(context, clock, "one", "two") as (one, two):
        met: list[float] = []
        one.put(lambda: one.socket.bind("inproc://pair"))
        clock.advance(0)
        two.put(lambda: two.socket.connect("inproc://pair"))
        clock.advance(0)
        two.reads = lambda frames: two.times.append(clock.monotonic() + 1)
        two.rings = lambda at: met.append(at)
        for _ in range(50):
            one.put(lambda: send(one.socket, [b"now"]))
            due = clock.monotonic() + 1
            clock.advance(1)
            assert met == [due]
            met.clear()


def test_what_falls_due_may_set_what_falls_due_elsewhere(context: Context, clock: VirtualClock) -> None:
    with alarms(context, clock, "one", "two") as (one, two):
        met: list[tuple[float, float]] = []
        one.rings = lambda at: two.set(at + 0.5)
        two.rings = lambda at: met.append((at, clock.monotonic()))
        one.set(1.0, 2.0)
        clock.advance(10)
        assert met == [(1.5, 1.5), (2.5, 2.5)]


def test_a_thread_that_begins_meanwhile_is_waited_for_until_it_ends(context: Context, clock: VirtualClock) -> None:
    late = Alarm(context, clock, "late")
    met: list[float] = []

    def end(at: float) -> None:
        met.append(at)
        late.wake()

    late.times = [1.5, 3.0]
    late.rings = end
    with alarms(context, clock, "first") as (first,):
        first.rings = lambda at: late.start()
        first.set(1.0)
        clock.advance(5)
        assert met == [1.5]
        assert late.stop(DEADLINE)


def test_several_threads_may_advance_it(context: Context, clock: VirtualClock) -> None:
    with alarms(context, clock, "alarm") as (alarm,), ThreadPoolExecutor(4) as pool:
        met: list[float] = []
        alarm.rings = met.append
        alarm.set(*(float(at) for at in range(1, 101)))
        for done in [pool.submit(clock.advance, 1) for _ in range(100)]:
            done.result(DEADLINE)
        assert clock.monotonic() == 100
        assert met == [float(at) for at in range(1, 101)]


def test_a_thread_that_waits_on_the_clock_cannot_advance_it(context: Context, clock: VirtualClock) -> None:
    with alarms(context, clock, "alarm") as (alarm,):
        refused: list[str] = []

        def ring(at: float) -> None:
            with pytest.raises(RuntimeError) as refusal:
                clock.advance(1)
            refused.append(str(refusal.value))

        alarm.rings = ring
        alarm.set(1.0)
        clock.advance(1)
    assert refused == ["the alarm thread waits on this clock, and so cannot be the one that advances it"]


def test_a_thread_that_does_not_come_to_rest_is_named(context: Context) -> None:
    clock = VirtualClock(guard=0.05)
    with alarms(context, clock, "stuck", "fine") as (stuck, _):
        go_on = threading.Event()
        stuck.put(lambda: go_on.wait(DEADLINE))
        with pytest.raises(TimeoutError, match=r"^threads that wait on the clock are not at rest after 0.05 s: stuck$"):
            clock.advance(1)
        go_on.set()
    # Nothing of that is left.
    clock.advance(1)
    assert clock.monotonic() == 1


def test_a_thread_that_never_stops_working_is_named_too(context: Context) -> None:
    clock = VirtualClock(guard=0.05)
    with alarms(context, clock, "busy", "fine") as (busy, _):
        working = True

        def work() -> None:
            if working:
                busy.put(work)

        busy.put(work)
        with pytest.raises(TimeoutError, match="busy"):
            clock.advance(1)
        working = False


# By itself


def test_it_flows_for_a_while_and_stands_again(context: Context, clock: VirtualClock) -> None:
    clock.advance(100)
    with alarms(context, clock, "alarm") as (alarm,):
        met: list[float] = []
        rung = threading.Event()

        def ring(at: float) -> None:
            met.append(at)
            rung.set()

        alarm.rings = ring
        alarm.set(100.01, 3700.0)
        clock.advance(0)
        with clock.flowing():
            assert clock.flows
            assert rung.wait(DEADLINE)
            assert clock.monotonic() >= 100.01
            with pytest.raises(RuntimeError, match="the clock flows: it can be advanced when it stands"):
                clock.advance(1)
            with pytest.raises(RuntimeError, match="the clock flows already"), clock.flowing():
                raise AssertionError("the block is not entered")
        assert not clock.flows
        now = clock.monotonic()
        assert clock.monotonic() == now
        clock.advance(3600)
        assert met == [100.01, 3700.0]


# Who waits now and then


def test_a_poller_waits_until_a_time_of_the_clock(context: Context, clock: VirtualClock) -> None:
    begun = threading.Event()

    def wait() -> tuple[set[Socket], float]:
        with ClockPoller(context, clock, "poller") as poller:
            begun.set()
            return poller.poll(5.0), clock.monotonic()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        assert begun.wait(DEADLINE)
        clock.advance(4)
        assert not waiting.done()
        clock.advance(1)
        assert waiting.result(DEADLINE) == (set(), 5.0)


def test_a_poller_returns_what_can_be_read(context: Context, clock: VirtualClock) -> None:
    with context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other, ClockPoller(context, clock, "p") as poller:
        one.bind("inproc://pair")
        other.connect("inproc://pair")
        poller.register(other)
        assert poller.poll(None, guard=0) == set()
        one.send(b"")
        assert poller.poll(None) == {other}
        poller.unregister(other)
        assert poller.poll(None, guard=0.001) == set()


def test_a_poller_on_the_machines_clock(context: Context) -> None:
    clock = SystemClock()
    due = clock.monotonic() + 0.01
    with ClockPoller(context, clock, "poller") as poller:
        assert poller.poll(due) == set()
    assert clock.monotonic() >= due
