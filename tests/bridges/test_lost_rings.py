"""No ring is lost where the other side comes between the two lines that matter: it is made to come there, each time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import closing
from typing import Any

import pytest
import zmq

from kernelbridge.bridges.channel_bridge import ChannelBridge
from kernelbridge.bridges.loop_bridge import LoopBridge
from kernelbridge.bridges.socket_bridge import Context

DEADLINE = 60.0


def test_what_is_put_while_the_reader_falls_asleep_is_seen(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(ChannelBridge[str](context)) as bridge:
        ear = bridge.open()
        lock = threading.RLock()

        class PutsFirst:
            """The lock under which the reader says that it sleeps: somebody puts just before."""

            def __enter__(self) -> None:
                if not bridge._items:
                    bridge.put("in between")
                lock.acquire()

            def __exit__(self, *_: object) -> None:
                lock.release()

        monkeypatch.setattr(bridge, "_ringing", PutsFirst())
        asleep = bridge.rest()
        assert not asleep or ear.poll(0, zmq.POLLIN)
        assert bridge.take() == ["in between"]


def test_a_reader_that_falls_asleep_while_something_is_put_is_rung(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ChannelBridge[str](context)) as bridge:
        ear = bridge.open()

        class SleepsFirst(deque[str]):
            """The queue: the reader falls asleep just before something comes into it."""

            def append(self, item: str) -> None:
                assert bridge.rest()
                super().append(item)

        monkeypatch.setattr(bridge, "_items", SleepsFirst())
        bridge.put("in between")
        assert ear.poll(0, zmq.POLLIN)
        assert bridge.take() == ["in between"]


def test_what_is_put_while_a_coroutine_falls_asleep_is_taken() -> None:
    async def take() -> str:
        bridge: LoopBridge[str] = LoopBridge()
        loop: Any = asyncio.get_running_loop()
        create_future = loop.create_future

        def put_first() -> Any:
            # The coroutine has found nothing, and is about to wait for this future.
            bridge.put("in between")
            loop.create_future = create_future
            return create_future()

        async with asyncio.timeout(DEADLINE):
            loop.create_future = put_first
            return await bridge.take()

    assert asyncio.run(take()) == "in between"


def test_what_is_put_to_a_coroutine_that_sleeps_wakes_it() -> None:
    async def main() -> list[str]:
        bridge: LoopBridge[str] = LoopBridge()
        taking = asyncio.ensure_future(bridge.take())
        # It has its turn, and sleeps.
        await asyncio.sleep(0)
        putter = threading.Thread(target=lambda: [bridge.put("one"), bridge.put("two")])
        putter.start()
        async with asyncio.timeout(DEADLINE):
            found = [await taking, await bridge.take()]
        putter.join()
        return found

    assert asyncio.run(main()) == ["one", "two"]
