"""An interrupt that goes unheard is sent again, to the work that it was meant for and to no other."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kernelbridge.kernel.interrupts import Interrupts


def run(work: Callable[[Interrupts], Awaitable[Any]]) -> Any:
    """Run `work` with interrupts on this thread, and return what comes of it."""

    async def main() -> Any:
        interrupts = Interrupts()
        with interrupts.signals():
            interrupts.attach()
            return await work(interrupts)

    return asyncio.run(main())


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Signals that were sent and not delivered, as those are that come just before a system call."""
    sent: list[int] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda ident, number: sent.append(number))
    return sent


def test_a_signal_that_python_has_not_heard_of_is_sent_again_until_it_is_heard(deaf: list[int]) -> None:
    """What C wrote to the ear, and Python's handler did not follow, as where a system call waits."""

    async def work(interrupts: Interrupts) -> Any:
        async def cell() -> None:
            assert interrupts._bell is not None
            interrupts._bell.send(bytes([signal.SIGINT]))
            for again in (1, 2):
                assert interrupts.listen() if again == 1 else True
                assert interrupts.insist()
                assert deaf == [signal.SIGINT] * again
            signal.raise_signal(signal.SIGINT)

        heard = await interrupts.run(cell())
        return heard, interrupts.listen(), interrupts.insist()

    heard, *again = run(work)
    assert isinstance(heard, KeyboardInterrupt)
    assert again == [False, False]


def test_a_signal_that_was_heard_is_not_sent_again(deaf: list[int]) -> None:
    """Also where the work goes on: it has had its interrupt."""

    async def work(interrupts: Interrupts) -> Any:
        async def stubborn() -> tuple[bool, bool]:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            return interrupts.listen(), interrupts.insist()

        return await interrupts.run(stubborn())

    assert run(work) == (False, False)
    assert deaf == []


def test_what_has_ended_meanwhile_is_not_insisted_on(deaf: list[int]) -> None:
    async def work(interrupts: Interrupts) -> Any:
        async def first() -> None:
            assert interrupts._bell is not None
            interrupts._bell.send(bytes([signal.SIGINT]))
            assert interrupts.listen()

        async def second() -> bool:
            return interrupts.insist()

        await interrupts.run(first())
        return await interrupts.run(second())

    assert run(work) is False
    assert deaf == []


def test_what_was_not_meant_is_not_interrupted(deaf: list[int]) -> None:
    """The work has ended before it heard: the signal that comes then finds another, which it does not end."""

    async def work(interrupts: Interrupts) -> Any:
        async def first() -> None:
            interrupts.interrupt()

        async def second() -> str:
            signal.raise_signal(signal.SIGINT)
            return "went on"

        await interrupts.run(first())
        return await interrupts.run(second())

    assert run(work) == "went on"


def test_ctrl_c_is_meant_for_whatever_runs() -> None:
    async def work(interrupts: Interrupts) -> Any:
        async def cell() -> None:
            signal.raise_signal(signal.SIGINT)

        return await interrupts.run(cell())

    assert isinstance(run(work), KeyboardInterrupt)


def test_on_another_thread_what_awaits_is_interrupted() -> None:
    found: list[Any] = []

    async def work(interrupts: Interrupts) -> Any:
        async def cell() -> None:
            interrupts.interrupt()
            await asyncio.Event().wait()

        return await interrupts.run(cell())

    thread = threading.Thread(target=lambda: found.append(run(work)))
    thread.start()
    thread.join(60)
    assert isinstance(found[0], KeyboardInterrupt)
