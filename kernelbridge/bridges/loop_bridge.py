"""A loop bridge: a queue that any thread puts into and one coroutine takes from.

It is the channel bridge's counterpart for an event loop, with the same rule: rings coalesce, and each side does two
things in opposite order (see `channel_bridge`). The ring is one callback on the loop. Janus's async side needs a task
and a lock for each item that finds its reader waiting, which is three turns of the loop more; on the way of every
request that is a tenth of a short one's time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class LoopBridge(Generic[T]):
    """A queue into an event loop."""

    def __init__(self) -> None:
        # Appended to by any thread, taken from by the reader: both are atomic.
        self._items: deque[T] = deque()
        # Written by both sides; see the order of the lines in put() and take().
        self._asleep = False
        # Owned by the reader; the first is read by putters once `_asleep` is true.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alarm: asyncio.Future[None] | None = None

    def put(self, item: T) -> bool:
        """Put `item`, and wake the reader if it may be asleep. Returns False when the reader's loop has ended."""
        self._items.append(item)
        if self._asleep and self._loop is not None:
            self._asleep = False
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                return False
        return True

    def empty(self) -> bool:
        """Return whether there is nothing to take."""
        return not self._items

    async def take(self) -> T:
        """Return the next item. Called by one coroutine at a time."""
        while not self._items:
            self._loop = asyncio.get_running_loop()
            self._alarm = self._loop.create_future()
            self._asleep = True
            if self._items:
                self._asleep = False
                break
            await self._alarm
        return self._items.popleft()

    def _wake(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)
