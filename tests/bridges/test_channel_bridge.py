"""The channel bridge: no ring is lost, rings coalesce, a bound gives back-pressure, and nobody waits for the dead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelbridge.bridges.channel_bridge import ChannelBridge
from kernelbridge.bridges.socket_bridge import Context

DEADLINE = 60.0
MILLISECONDS = int(DEADLINE * 1000)
Bridge = ChannelBridge[tuple[int, int]]


def gather(bridge: Bridge, count: int) -> list[tuple[int, int]]:
    """Be the reader, as a socket loop is one, until `count` items have come."""
    ear = bridge.open()
    poller = zmq.Poller()
    poller.register(ear, zmq.POLLIN)
    found: list[tuple[int, int]] = []
    while len(found) < count:
        if bridge.rest() and not poller.poll(MILLISECONDS):
            raise AssertionError(f"a ring was lost: {len(found)} of {count} items came, the queue has {bridge.take()}")
        bridge.answer()
        found += bridge.take(limit=7)
    return found


@contextmanager
def bridge_of(context: Context, maxsize: int = 0) -> Iterator[Bridge]:
    bridge: Bridge = ChannelBridge(context, maxsize)
    try:
        yield bridge
    finally:
        bridge.close()


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=6), maxsize=st.integers(0, 3))
def test_no_ring_is_lost_and_each_putters_order_is_kept(counts: list[int], maxsize: int) -> None:
    """Many putters, a reader that sleeps whenever it may, and a queue that is full most of the time."""
    context: Context = zmq.Context()
    with bridge_of(context, maxsize) as bridge, ThreadPoolExecutor(len(counts)) as putters:
        for putter, count in enumerate(counts):
            putters.submit(lambda putter, count: [bridge.put((putter, n)) for n in range(count)], putter, count)
        found = gather(bridge, sum(counts))
    context.term()
    for putter, count in enumerate(counts):
        assert [number for who, number in found if who == putter] == list(range(count))


def test_a_reader_in_lockstep_with_its_putters_hears_each_item(context: Context) -> None:
    """Each item is put when the reader has taken the one before: the reader falls asleep 2,000 times, and wakes."""
    rounds = 2000
    taken = threading.Semaphore(1)

    def put() -> None:
        for number in range(rounds):
            assert taken.acquire(timeout=DEADLINE)
            bridge.put((0, number))

    with bridge_of(context) as bridge, ThreadPoolExecutor(1) as putters:
        done = putters.submit(put)
        ear = bridge.open()
        for number in range(rounds):
            while not (items := bridge.take()):
                if bridge.rest():
                    assert ear.poll(MILLISECONDS), "a ring was lost"
                bridge.answer()
            assert items == [(0, number)]
            taken.release()
        done.result(DEADLINE)


def test_rings_coalesce(context: Context) -> None:
    """A thousand puts to a sleeping reader ring once, and a thousand puts to one that is awake ring not at all."""
    with bridge_of(context) as bridge:
        ear = bridge.open()
        for number in range(1000):
            bridge.put((0, number))
        assert not ear.poll(0)
        assert not bridge.rest()
        assert len(bridge.take(limit=2000)) == 1000
        assert bridge.rest()
        for number in range(1000):
            bridge.put((0, number))
        assert ear.poll(MILLISECONDS)
        ear.recv()
        assert not ear.poll(0)


def test_the_reader_may_not_sleep_over_what_is_there(context: Context) -> None:
    with bridge_of(context) as bridge:
        bridge.open()
        bridge.put((0, 0))
        assert bridge.rest() is False
        bridge.take()
        assert bridge.rest() is True


def test_a_put_without_a_ring_is_taken_with_the_next(context: Context) -> None:
    with bridge_of(context) as bridge:
        ear = bridge.open()
        assert bridge.rest()
        bridge.put((0, 0), ring=False)
        assert not ear.poll(0)
        bridge.put((0, 1))
        assert ear.poll(MILLISECONDS)
        bridge.answer()
        assert bridge.take() == [(0, 0), (0, 1)]


def test_a_reader_is_reminded_of_what_it_has_not_taken(context: Context) -> None:
    """It sleeps on where there is nothing for it: waking for nothing takes the interpreter from who has work."""
    with bridge_of(context) as bridge:
        ear = bridge.open()
        assert bridge.rest()
        bridge.remind()
        assert not ear.poll(0)
        bridge.put((0, 0), ring=False)
        bridge.remind()
        assert ear.poll(MILLISECONDS)


def test_a_put_that_waits_for_room_wakes_a_reader_that_was_not_rung(context: Context) -> None:
    """Else both would wait for ever: the putter for room, the reader for a ring."""
    with bridge_of(context, maxsize=1) as bridge, ThreadPoolExecutor(1) as putters:
        ear = bridge.open()
        assert bridge.rest()
        bridge.put((0, 0), ring=False)
        blocked = putters.submit(bridge.put, (0, 1), ring=False)
        try:
            assert ear.poll(MILLISECONDS), "the putter waits for a reader that sleeps"
        finally:
            found = bridge.take()
            assert blocked.result(DEADLINE)
        assert [*found, *bridge.take()] == [(0, 0), (0, 1)]


def test_a_full_queue_holds_its_putter_back(context: Context) -> None:
    with bridge_of(context, maxsize=2) as bridge, ThreadPoolExecutor(1) as putters:
        bridge.open()
        progress: list[int] = []
        in_third = threading.Event()

        def put() -> None:
            for number in range(3):
                if number == 2:
                    in_third.set()
                bridge.put((0, number))
                progress.append(number)

        done = putters.submit(put)
        assert in_third.wait(DEADLINE)
        # The third put cannot have returned: nobody has taken anything.
        assert progress == [0, 1]
        assert bridge.take(limit=1) == [(0, 0)]
        done.result(DEADLINE)
        assert bridge.take() == [(0, 1), (0, 2)]


def test_put_after_close_returns_false_and_what_nobody_took_is_handed_back(context: Context) -> None:
    bridge: Bridge = ChannelBridge(context)
    bridge.open()
    assert bridge.put((0, 0)) is True
    assert bridge.close() == [(0, 0)]
    assert bridge.put((0, 1)) is False
    assert bridge.close() == []


def test_a_bridge_that_was_never_opened_closes(context: Context) -> None:
    bridge: Bridge = ChannelBridge(context)
    bridge.put((0, 0))
    assert bridge.close() == [(0, 0)]


def test_close_lets_go_of_a_putter_that_waits_for_room(context: Context) -> None:
    bridge: Bridge = ChannelBridge(context, maxsize=1)
    bridge.open()
    assert bridge.put((0, 0))
    with ThreadPoolExecutor(1) as putters:
        waiting = putters.submit(bridge.put, (0, 1))
        left = bridge.close()
        # Whoever is told that it will be taken was in time, and it is handed back.
        assert (0, 1) in left or not waiting.result(DEADLINE)
