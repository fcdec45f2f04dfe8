"""The event loop that can have a guest: each gets its turn when the other has nothing to do."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import pytest

from kernelbridge.bridges.host_loop import HostLoop
from kernelbridge.testing import DEADLINE


class Toolkit:
    """A GUI toolkit of functions, each of which is the callback of one event."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._woken = False
        self.events: deque[Callable[[], object]] = deque()
        self.closed = False

    def wait(self, seconds: float | None) -> None:
        self._woken = False
        while self.events and not self._woken:
            self.events.popleft()()
        if not self._woken:
            select.select([self._descriptor], [], [], DEADLINE if seconds is None else seconds)

    def wake(self) -> None:
        self._woken = True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def loop() -> Iterator[HostLoop]:
    loop = HostLoop()
    yield loop
    loop.close()


@pytest.fixture
def toolkit(loop: HostLoop) -> Toolkit:
    made: list[Toolkit] = []

    def make(descriptor: int) -> Toolkit:
        made.append(Toolkit(descriptor))
        return made[0]

    loop.invite(make)
    return made[0]


def test_what_a_callback_gives_asyncio_to_do_is_done_at_once(loop: HostLoop, toolkit: Toolkit) -> None:
    order: list[str] = []

    def last() -> None:
        order.append("next event")
        loop.call_soon(loop.stop)

    toolkit.events.extend([lambda: loop.call_soon(order.append, "asyncio"), last])
    loop.run_forever()
    assert order == ["asyncio", "next event"]


def test_a_timer_that_a_callback_sets_is_waited_for(loop: HostLoop, toolkit: Toolkit) -> None:
    """asyncio had no timer when the guest's turn began, and would have waited for ever."""
    done: asyncio.Future[str] = loop.create_future()
    toolkit.events.append(lambda: loop.call_later(0.001, done.set_result, "done"))
    assert loop.run_until_complete(done) == "done"


def test_another_thread_reaches_asyncio_while_the_guest_waits(loop: HostLoop, toolkit: Toolkit) -> None:
    async def work() -> str:
        return await asyncio.to_thread(lambda: "done")

    assert loop.run_until_complete(work()) == "done"


def test_the_guest_has_its_turn_while_asyncio_is_busy(loop: HostLoop, toolkit: Toolkit) -> None:
    seen: list[str] = []
    toolkit.events.append(lambda: seen.append("event"))

    async def busy() -> None:
        while not seen:
            await asyncio.sleep(0)

    loop.run_until_complete(busy())
    assert seen == ["event"]


def test_what_a_callback_sets_in_its_context_ends_with_its_turn(loop: HostLoop, toolkit: Toolkit) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: asyncio.Future[str] = loop.create_future()
    toolkit.events.append(lambda: variable.set("set"))

    async def work() -> str:
        await asyncio.sleep(0)
        toolkit.events.append(lambda: seen.set_result(variable.get()))
        return await seen

    assert loop.run_until_complete(work()) == "unset"


def test_a_guest_that_fails_is_dismissed_and_told_of(loop: HostLoop, toolkit: Toolkit) -> None:
    told: list[str] = []
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    toolkit.events.append(lambda: 1 / 0)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert told == ["The GUI's event loop has failed"]
    assert toolkit.closed


def test_a_loop_has_one_guest_at_a_time_and_is_as_before_without(loop: HostLoop, toolkit: Toolkit) -> None:
    with pytest.raises(RuntimeError, match="guest already"):
        loop.invite(Toolkit)
    loop.dismiss()
    assert toolkit.closed
    toolkit.events.append(lambda: pytest.fail("it is no guest any more"))
    loop.run_until_complete(asyncio.sleep(0))
    loop.invite(Toolkit)


def test_a_guest_that_cannot_come_leaves_the_loop_as_it_was(loop: HostLoop) -> None:
    def refuse(descriptor: int) -> Toolkit:
        raise ValueError("no display")

    with pytest.raises(ValueError, match="no display"):
        loop.invite(refuse)
    loop.run_until_complete(asyncio.sleep(0))
    loop.invite(Toolkit)
