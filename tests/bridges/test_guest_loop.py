"""The event loop that is a guest: the toolkit's loop goes on, and asyncio has its turns in between."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from kernelbridge.bridges.guest_loop import LONGEST_SECONDS, GuestLoop
from kernelbridge.testing import DEADLINE


class Toolkit:
    """A GUI toolkit of functions, each of which is the callback of one event."""

    def __init__(self, descriptor: int, turn: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._turn = turn
        self.watches = False
        self.seconds: float | None = None
        self.events: deque[Callable[[], object]] = deque()

    def watch(self, seconds: float | None) -> None:
        self.watches, self.seconds = True, seconds

    def rest(self) -> None:
        self.watches = False

    def run(self, until: Callable[[], object]) -> None:
        """Run the toolkit's loop: an event, then whatever asyncio may do without a wait, and so on; then wait."""
        while not until():
            if self.events:
                self.events.popleft()()
            if self.watches:
                wait = 0 if self.events else DEADLINE if self.seconds is None else self.seconds
                readable, _, _ = select.select([self._descriptor], [], [], wait)
                if readable or wait == self.seconds:
                    self._turn()


made: list[Toolkit] = []


def invite(descriptor: int, turn: Callable[[], None]) -> Toolkit:
    made.append(Toolkit(descriptor, turn))
    return made[-1]


@pytest.fixture
def loop() -> Iterator[GuestLoop]:
    loop = GuestLoop(invite)
    loop.visit()
    yield loop
    loop.leave()
    loop.close()


@pytest.fixture
def toolkit(loop: GuestLoop) -> Toolkit:
    return made.pop()


def test_each_has_its_turn_while_both_are_busy(loop: GuestLoop, toolkit: Toolkit) -> None:
    order: list[str] = []

    async def work() -> None:
        for _ in range(2):
            order.append("asyncio")
            await asyncio.sleep(0)

    task = loop.create_task(work())
    toolkit.events.extend([lambda: order.append("event")] * 3)
    toolkit.run(task.done)
    assert order == ["event", "asyncio", "event", "asyncio", "event"]


def test_what_a_callback_gives_asyncio_to_do_is_done_when_it_has_returned(loop: GuestLoop, toolkit: Toolkit) -> None:
    done: asyncio.Future[str] = loop.create_future()
    # asyncio has nothing to do, and waits for its descriptor alone.
    toolkit.run(lambda: toolkit.seconds is None)
    toolkit.events.append(lambda: loop.call_soon(done.set_result, "done"))
    toolkit.run(done.done)
    assert done.result() == "done"


def test_timers_are_waited_for_also_those_that_a_callback_sets(loop: GuestLoop, toolkit: Toolkit) -> None:
    toolkit.run(lambda: toolkit.seconds is None)
    done: asyncio.Future[str] = loop.create_future()
    toolkit.events.append(lambda: loop.call_later(0.001, done.set_result, "done"))
    toolkit.run(done.done)
    slept = loop.create_task(asyncio.sleep(0.001))
    toolkit.run(slept.done)
    loop.call_later(10**9, print)
    toolkit.run(lambda: toolkit.seconds not in (0, None))
    assert toolkit.seconds == LONGEST_SECONDS


def test_another_thread_reaches_asyncio_while_the_toolkit_waits(loop: GuestLoop, toolkit: Toolkit) -> None:
    task = loop.create_task(asyncio.to_thread(lambda: "done"))
    toolkit.run(task.done)
    assert task.result() == "done"
    loop.run_until_complete(loop.shutdown_default_executor())


def test_what_another_thread_gives_in_the_middle_of_a_turn_gets_the_next(loop: GuestLoop, toolkit: Toolkit) -> None:
    """Its wake-up is read in the turn that began before it, with the one that the turn is for."""
    toolkit.run(lambda: toolkit.seconds is None)
    done: asyncio.Future[str] = loop.create_future()
    loop.call_soon_threadsafe(loop.call_soon_threadsafe, done.set_result, "done")
    toolkit.run(done.done)
    assert done.result() == "done"


def test_the_toolkits_loop_inside_of_a_turn_has_no_turns(loop: GuestLoop, toolkit: Toolkit) -> None:
    """A dialog in a cell: asyncio waits for its end, and the toolkit's events go on."""
    order: list[str] = []

    async def dialog() -> None:
        beside = asyncio.create_task(asyncio.sleep(0))
        toolkit.events.extend([lambda: order.append("event"), lambda: order.append("closed")])
        toolkit.run(lambda: "closed" in order)
        assert not beside.done()
        await beside

    task = loop.create_task(dialog())
    toolkit.run(task.done)
    task.result()
    assert order == ["event", "closed"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_from_a_callback_is_told_of_and_the_toolkits_loop_goes_on(
    loop: GuestLoop, toolkit: Toolkit, kind: type[BaseException]
) -> None:
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    def leave() -> None:
        raise kind

    loop.call_soon(leave)
    done: asyncio.Future[str] = loop.create_future()
    loop.call_soon(done.set_result, "done")
    toolkit.run(done.done)
    assert [type(one) for one in told] == [kind]


def test_a_loop_that_has_left_is_one_as_any_other(loop: GuestLoop, toolkit: Toolkit) -> None:
    loop.leave()
    assert loop.run_until_complete(asyncio.sleep(0.001, "done")) == "done"
    assert not toolkit.watches


def test_a_host_that_refuses_leaves_nothing() -> None:
    def refuse(descriptor: int, turn: Callable[[], None]) -> Toolkit:
        raise RuntimeError("no application")

    with pytest.raises(RuntimeError, match="no application"):
        GuestLoop(refuse)
