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


def test_unheard_it_is_sent_again_until_it_is_heard(deaf: list[int]) -> None:
    async def work(interrupts: Interrupts) -> Any:
        async def cell() -> None:
            interrupts.interrupt()
            assert interrupts.insist()
            assert deaf == [signal.SIGINT] * 2
            signal.raise_signal(signal.SIGINT)

        heard = await interrupts.run(cell())
        return heard, interrupts.insist()

    heard, again = run(work)
    assert isinstance(heard, KeyboardInterrupt)
    assert again is False


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
