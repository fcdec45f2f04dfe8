"""How much may wait for a subscriber (K8): against a model of how ZMQ counts, without a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelbridge.kernel.iopub import Backlog


class Subscriber:
    """ZMQ's account of one subscriber: how many messages wait for it, as far as the sending end has heard.

    The reading end reports what it has read at each multiple of half the mark, and not in between.
    """

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.written: list[int] = []
        self.read = 0
        self.reported = 0
        self.lost = 0

    def send(self, size: int) -> None:
        self.backlog.add(size)
        while len(self.written) - self.reported >= self.backlog.limit:
            if not self.backlog.grow():
                self.lost += 1
                return
        self.written.append(size)

    def take(self, count: int) -> None:
        half = (self.backlog.limit + 1) // 2
        for _ in range(min(count, len(self.written) - self.read)):
            self.read += 1
            if self.read % half == 0:
                self.reported = self.read

    @property
    def waiting(self) -> list[int]:
        return self.written[self.read :]


SIZES = st.lists(
    st.tuples(st.sampled_from([0, 100, 5000, 300_000, 10_000_000]), st.integers(1, 400)), min_size=1, max_size=30
)


@given(runs=SIZES, budget=st.sampled_from([10_000, 1_000_000, 2**30]), behind=st.integers(1, 16))
def test_a_subscriber_that_keeps_up_loses_nothing_whatever_was_sent_before(
    runs: list[tuple[int, int]], budget: int, behind: int
) -> None:
    """Small messages, then large ones, then small again: the mark follows, and never passes below a reader."""
    subscriber = Subscriber(Backlog(budget))
    for size, count in runs:
        for _ in range(count):
            subscriber.send(size)
            subscriber.take(len(subscriber.waiting) - behind)
    assert subscriber.lost == 0


@pytest.mark.parametrize(("size", "budget"), [(100, 2**20), (10_000, 2**24), (2**20, 2**28)])
def test_what_waits_for_one_that_never_reads_is_the_budget(size: int, budget: int) -> None:
    subscriber = Subscriber(Backlog(budget))
    for _ in range(3 * budget // (size + 1024)):
        subscriber.send(size)
    assert subscriber.lost
    assert 0.4 * budget < sum(one + 1024 for one in subscriber.waiting) <= 1.1 * budget


@pytest.mark.parametrize("large", [1, 3, 200])
def test_large_messages_that_were_read_take_no_room_from_small_ones(large: int) -> None:
    """A reader that took them all, and then stalls for a moment, loses nothing: next to nothing waits."""
    subscriber = Subscriber(Backlog())
    for _ in range(large):
        subscriber.send(2**26)
        subscriber.take(1)
    for _ in range(10_000):
        subscriber.send(100)
    assert subscriber.lost == 0


def test_a_few_messages_may_wait_however_large_they_are() -> None:
    subscriber = Subscriber(Backlog(2**20))
    for _ in range(1000):
        subscriber.send(2**24)
    assert len(subscriber.waiting) == 64


def test_two_hundred_thousand_flushed_lines_fit_the_default_budget() -> None:
    subscriber = Subscriber(Backlog())
    for _ in range(200_000):
        subscriber.send(600)
    assert subscriber.lost == 0
