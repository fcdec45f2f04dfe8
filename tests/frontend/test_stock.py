"""What a pool starts, and who gets it: decisions alone. Kernels are numbers here, and claims letters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernelbridge.frontend.liveness import STABLE_SECONDS
from kernelbridge.frontend.stock import Stock

LOSS = Exception("boom")


def starts(stock: Stock[int, str]) -> int:
    """Start what is due, and return how many that are."""
    started = 0
    while stock.start():
        started += 1
    return started


def with_kernels(*kernels: int, limit: int = 1) -> Stock[int, str]:
    stock: Stock[int, str] = Stock(len(kernels), len(kernels), limit)
    starts(stock)
    for kernel in kernels:
        stock.started(kernel)
    return stock


def test_so_many_start_at_once_until_so_many_wait() -> None:
    stock: Stock[int, str] = Stock(3, 2, 1)
    assert starts(stock) == 2
    stock.started(1)
    assert starts(stock) == 1
    stock.started(2)
    assert not stock.is_full
    stock.started(3)
    assert (stock.is_full, starts(stock)) == (True, 0)


def test_the_kernel_that_has_waited_longest_is_handed_out_and_another_starts() -> None:
    stock = with_kernels(1, 2)
    assert [stock.claim("a"), starts(stock)] == [1, 1]


def test_claims_get_kernels_in_their_order_and_one_whose_kernel_has_died_is_the_first() -> None:
    stock: Stock[int, str] = Stock(1, 1, 1)
    assert [stock.claim("a"), stock.claim("b"), stock.claim("c"), stock.claim("d", first=True)] == [None] * 4
    stock.withdraw("b")
    stock.withdraw("b")
    got = []
    for kernel in range(4):
        assert starts(stock) == 1
        got.append(stock.started(kernel))
    assert got == ["d", "a", "c", None]


class TestLosses:
    def test_a_start_that_fails_is_made_again_so_often_and_then_those_who_wait_are_told(self) -> None:
        stock: Stock[int, str] = Stock(1, 1, 2)
        stock.claim("a")
        stock.claim("b")
        told = []
        while stock.start():
            told.append(stock.failed(LOSS))
        assert told == [[], [], ["a", "b"]]
        assert stock.failure is LOSS

    def test_then_one_start_at_a_time_is_made_and_only_for_a_claim(self) -> None:
        stock: Stock[int, str] = Stock(4, 4, 0)
        starts(stock)
        for _ in range(4):
            stock.failed(LOSS)
        assert starts(stock) == 0
        stock.claim("a")
        stock.claim("b")
        assert starts(stock) == 1
        assert stock.failed(LOSS) == ["a", "b"]
        assert starts(stock) == 0

    def test_a_start_that_succeeds_begins_again(self) -> None:
        stock: Stock[int, str] = Stock(2, 2, 0)
        starts(stock)
        stock.failed(LOSS)
        stock.failed(LOSS)
        stock.claim("a")
        assert starts(stock) == 1
        assert stock.started(1) == "a"
        assert starts(stock) == 2

    def test_kernels_that_start_and_die_are_losses_in_a_row(self) -> None:
        stock = with_kernels(1, limit=1)
        assert stock.kernels.popleft() == 1
        assert stock.lost(LOSS, 0.5) == []
        assert starts(stock) == 1
        stock.started(2)
        stock.kernels.remove(2)
        stock.lost(LOSS, 0.5)
        assert starts(stock) == 0

    def test_a_kernel_that_was_handed_over_ends_the_row(self) -> None:
        stock: Stock[int, str] = Stock(1, 1, 1)
        stock.lost(LOSS, None)
        stock.handed_over()
        stock.lost(LOSS, None)
        assert starts(stock) == 1

    def test_so_does_one_that_was_ready_for_long_and_is_the_first_of_the_next(self) -> None:
        stock: Stock[int, str] = Stock(1, 1, 1)
        stock.lost(LOSS, None)
        stock.lost(LOSS, STABLE_SECONDS)
        assert starts(stock) == 1
        stock.lost(LOSS, None)
        assert stock.failure is LOSS


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.lists(st.sampled_from(["claim", "again", "withdraw", "started", "failed", "died", "handed over"])),
)
def test_no_claim_waits_in_vain_and_there_are_never_too_many(
    size: int, at_once: int, limit: int, events: list[str]
) -> None:
    """Whatever happens in whatever order."""
    stock: Stock[int, str] = Stock(size, at_once, limit)
    starting = starts(stock)
    waiting: list[str] = []
    for number, event in enumerate(events):
        told: list[str] = []
        if event in ("claim", "again"):
            waiting.append(str(number))
            if stock.claim(str(number), first=event == "again") is not None:
                told = [str(number)]
        elif event == "withdraw" and waiting:
            stock.withdraw(waiting[0])
            told = [waiting[0]]
        elif event == "started" and starting:
            starting -= 1
            claim = stock.started(number)
            told = [] if claim is None else [claim]
        elif event == "failed" and starting:
            starting -= 1
            told = stock.failed(LOSS)
        elif event == "died" and stock.kernels:
            stock.kernels.pop()
            told = stock.lost(LOSS, 0.5)
        elif event == "handed over":
            stock.handed_over()
        waiting = [claim for claim in waiting if claim not in told]
        starting += starts(stock)
        assert sorted(stock.claims) == sorted(waiting)
        assert not (waiting and stock.kernels)
        assert starting or not waiting
        assert starting <= at_once
        assert len(stock.kernels) + starting <= size
