"""One ordered stream, many readers (contract F1).

A message is handed to all readers under the bridge's lock, so that every reader sees the same order, and in batches, so
that what was read from the socket in a row costs one queue operation and one wake-up for each reader. A reader's queue
has no bound: a slow reader delays nobody, and holds what it has yet to read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Self

import janus

from kernelbridge.wire.messages import Message


class Subscription:
    """A reader of the stream, in a thread or in an event loop: iterate it, or take one message at a time.

    Both faces take from the same queue; one reader at a time, and always the same event loop. Ends when it is closed,
    by its owner or by the end of what it reads.
    """

    def __init__(self, past: Sequence[Message] = ()) -> None:
        self._batches: janus.Queue[Sequence[Message]] = janus.Queue()
        # Owned by whoever reads.
        self._current: deque[Message] = deque(past)

    # The reader

    def get(self, timeout: float | None = None) -> Message:
        """Return the next message, waiting at most `timeout` seconds of real time for it.

        Raises `TimeoutError` when none came, and `EOFError` when none will.
        """
        if not self._current:
            try:
                self._current.extend(self._batches.sync_q.get(timeout=timeout))
            except janus.SyncQueueEmpty:
                raise TimeoutError(f"no message within {timeout} s") from None
            except janus.SyncQueueShutDown:
                raise EOFError("the subscription has ended") from None
        return self._current.popleft()

    async def aget(self) -> Message:
        """Return the next message. Raises `EOFError` when none will come."""
        if not self._current:
            try:
                self._current.extend(await self._batches.async_q.get())
            except janus.AsyncQueueShutDown:
                raise EOFError("the subscription has ended") from None
        return self._current.popleft()

    def __iter__(self) -> Iterator[Message]:
        while True:
            try:
                yield self.get()
            except EOFError:
                return

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            try:
                yield await self.aget()
            except EOFError:
                return

    def close(self) -> None:
        """End the subscription. What it was handed before can still be read. Any thread may close it, and twice."""
        self._batches.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # The stream

    def hand(self, batch: Sequence[Message]) -> bool:
        """Take messages, which are not to be changed any more. Returns False when nobody will read them."""
        try:
            self._batches.sync_q.put_nowait(batch)
        except (janus.SyncQueueShutDown, RuntimeError):
            # RuntimeError: the event loop of its reader has just been closed, and the reader with it.
            return False
        return True


class Subscribers:
    """All readers of the stream. Has no lock of its own: its owner calls it under the one that orders the stream."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._ended = False

    def add(self) -> Subscription:
        """Return a new subscription, which sees what is handed out from now on; nothing, when the stream has ended."""
        subscription = Subscription()
        if self._ended:
            subscription.close()
        else:
            self._subscriptions.append(subscription)
        return subscription

    def hand(self, batch: Sequence[Message]) -> None:
        """Hand messages to every subscription that has not been closed."""
        gone = [subscription for subscription in self._subscriptions if not subscription.hand(batch)]
        for subscription in gone:
            self._subscriptions.remove(subscription)

    def end(self) -> None:
        """End every subscription behind what it was handed."""
        self._ended = True
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions.clear()
