"""One ordered stream, many readers (contract F1, F3, F5).

A message is handed to all readers under the bridge's lock, so that every reader sees the same order, and in batches, so
that what was read from the socket in a row costs one queue operation and one wake-up for each reader.

A reader's queue is bounded. When it would overflow, its backlog is dropped and it is handed nothing more, until it
reads again: then it gets one `Resync`, with a snapshot made at that moment and under the lock, and behind it all that
is published from then on. So whoever never reads costs nothing, and whoever comes back lacks nothing that can still be
shown. A late reader can begin with the same snapshot.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Self

import attrs
import janus

from kernelbridge.frontend.comms import OpenComm
from kernelbridge.frontend.output_area import Output
from kernelbridge.wire.messages import Header, Message

logger = logging.getLogger("kernelbridge")

CALLS_GRACE: Final = 5.0
"""Seconds, of real time, that the end of a bridge waits for callbacks: a guard against those that never return."""


class Batch(list[Message]):
    """Messages that were read in a row, and their `size` on the wire, in bytes."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.size = 0


@attrs.frozen
class Backlog:
    """How much may wait for a reader: messages, and their bytes on the wire. A single batch is always taken."""

    messages: int = 2**15
    size: int = 2**26


@attrs.frozen
class Filter:
    """Which messages a reader gets: of these types, and with this request as parent. None stands for all."""

    types: frozenset[str] | None = None
    parent_id: str | None = None

    def passes(self, message: Message) -> bool:
        return (self.types is None or message.msg_type in self.types) and (
            self.parent_id is None or message.parent_id == self.parent_id
        )


@attrs.frozen
class RunningCode:
    """An execution that runs: its request, and what it has shown so far, as `Execution.outputs` has it."""

    header: Header
    code: str
    outputs: list[Output]


@attrs.frozen
class Snapshot:
    """What a reader of the stream would know by now: the kernel's status, what runs in each of its shells for this
    bridge, and the comms that are open as far as what has passed here tells."""

    status: str
    running: tuple[RunningCode, ...] = ()
    comms: tuple[OpenComm, ...] = ()


@attrs.define
class Resync(Message):
    """Stands in the stream for all that came before it and was not read. No kernel sends it."""

    snapshot: Snapshot = attrs.field(kw_only=True)

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        return cls(Header("resync", "resync"), {}, snapshot=snapshot)


class Subscription:
    """A reader of the stream, in a thread or in an event loop: iterate it, or take one message at a time.

    Both faces take from the same queue; one reader at a time, and always the same event loop. Ends when it is closed,
    by its owner or by the end of what it reads.

    Takes what it begins with; and from a bridge the bound of its queue, what it wants to read, and what makes it a
    `Resync` and hands it the stream from there on.
    """

    def __init__(
        self,
        past: Sequence[Message] = (),
        *,
        backlog: Backlog | None = None,
        only: Filter | None = None,
        resync: Callable[[Subscription], Resync] | None = None,
    ) -> None:
        # None, and nothing behind it, where the backlog has been dropped.
        self._batches: janus.Queue[tuple[Sequence[Message], int] | None] = janus.Queue()
        self._backlog = backlog
        self.only = only
        self._resync = resync
        # Owned by whoever reads.
        self._current: deque[Message] = deque(past)
        # How many messages and bytes have gone into the queue and come out again. Written by the stream and by the
        # reader; both by the one that holds the bridge's lock when the reader rejoins.
        self._put = [0, 0]
        self._got = [0, 0]
        # Written under the bridge's lock.
        self._overrun = False
        self.closed = False

    # The reader

    def get(self, timeout: float | None = None) -> Message:
        """Return the next message, waiting at most `timeout` seconds of real time for it.

        It is a `Resync` where messages before it were dropped because too many waited. Raises `TimeoutError` when none
        came, and `EOFError` when none will.
        """
        if not self._current:
            try:
                self._open(self._batches.sync_q.get(timeout=timeout))
            except janus.SyncQueueEmpty:
                raise TimeoutError(f"no message within {timeout} s") from None
            except janus.SyncQueueShutDown:
                raise EOFError("the subscription has ended") from None
        return self._current.popleft()

    async def aget(self) -> Message:
        """Return the next message, as `get` does. Raises `EOFError` when none will come."""
        if not self._current:
            try:
                self._open(await self._batches.async_q.get())
            except janus.AsyncQueueShutDown:
                raise EOFError("the subscription has ended") from None
        return self._current.popleft()

    def _open(self, taken: tuple[Sequence[Message], int] | None) -> None:
        if taken is None:
            if self._resync is None:
                raise RuntimeError("a subscription without a bridge has no bound")
            self._current.append(self._resync(self))
            return
        batch, size = taken
        self._got[0] += len(batch)
        self._got[1] += size
        self._current.extend(batch)

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
        self.closed = True
        # The event loop of its reader may be closed at this moment, and the reader with it.
        with contextlib.suppress(RuntimeError):
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

    def hand(self, batch: Sequence[Message], size: int = 0) -> bool:
        """Take messages, which are not to be changed any more. Returns False when nobody will read them."""
        if self._overrun:
            return not self.closed
        if self._backlog is not None and self._is_too_much(len(batch), size, self._backlog):
            self._overrun = True
            self._drop()
            return self._insert(None)
        self._put[0] += len(batch)
        self._put[1] += size
        return self._insert((batch, size))

    def rejoin(self) -> None:
        """Be handed what comes from now on. Called by the reader under the bridge's lock."""
        self._put, self._got = [0, 0], [0, 0]
        self._overrun = False

    def _is_too_much(self, messages: int, size: int, backlog: Backlog) -> bool:
        waiting, waiting_size = self._put[0] - self._got[0], self._put[1] - self._got[1]
        return waiting > 0 and (waiting + messages > backlog.messages or waiting_size + size > backlog.size)

    def _drop(self) -> None:
        with contextlib.suppress(janus.SyncQueueEmpty, janus.SyncQueueShutDown):
            while True:
                self._batches.sync_q.get_nowait()

    def _insert(self, item: tuple[Sequence[Message], int] | None) -> bool:
        try:
            self._batches.sync_q.put_nowait(item)
        except (janus.SyncQueueShutDown, RuntimeError):
            # RuntimeError: the event loop of its reader has just been closed, and the reader with it.
            return False
        return True


class Subscribers:
    """All readers of the stream. Has no lock of its own: its owner calls it under the one that orders the stream.

    Takes that lock, which a reader needs that rejoins.
    """

    def __init__(self, ordering: AbstractContextManager[Any]) -> None:
        self._ordering = ordering
        self.snapshot: Callable[[], Snapshot] = lambda: Snapshot("starting")
        """What makes a snapshot. Written, and called, under the lock: each kernel of a bridge has its own."""
        self._subscriptions: list[Subscription] = []
        self._ended = False
        # Guards the threads of the callbacks; none is there that has not been started.
        self._calling = threading.Lock()
        self._calls: list[threading.Thread] = []

    def add(
        self,
        *,
        backlog: Backlog | None = None,
        only: Filter | None = None,
        begin_with_snapshot: bool = False,
    ) -> Subscription:
        """Return a new subscription, which sees what is handed out from now on; nothing, when the stream has ended."""
        past = [Resync.of(self.snapshot())] if begin_with_snapshot else ()
        subscription = Subscription(past, backlog=backlog, only=only, resync=self._rejoin)
        if self._ended:
            subscription.close()
        else:
            self._subscriptions.append(subscription)
        return subscription

    def call(self, subscription: Subscription, on_message: Callable[[Message], object]) -> None:
        """Have a callback called with all that a subscription reads, on a thread of its own, until its end."""
        arguments = subscription, on_message
        thread = threading.Thread(target=_call, args=arguments, name="kernelbridge-frontend-callback", daemon=True)
        with self._calling:
            self._calls = [*(call for call in self._calls if call.is_alive()), thread]
            thread.start()

    def hand(self, batch: Sequence[Message]) -> None:
        """Hand messages to every subscription that has not been closed."""
        size = batch.size if isinstance(batch, Batch) else 0
        # Readers that want the same share what passes.
        passed: dict[Filter, list[Message]] = {}
        gone = []
        for subscription in self._subscriptions:
            only = subscription.only
            if only is None:
                taken = subscription.hand(batch, size)
            else:
                wanted = passed.get(only)
                if wanted is None:
                    wanted = passed[only] = [message for message in batch if only.passes(message)]
                share = size * len(wanted) // len(batch)
                taken = subscription.hand(wanted, share) if wanted else not subscription.closed
            if not taken:
                gone.append(subscription)
        for subscription in gone:
            self._subscriptions.remove(subscription)

    def end(self) -> None:
        """End every subscription behind what it was handed."""
        self._ended = True
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions.clear()

    def join(self) -> None:
        """Wait for the callbacks, after the end and without the lock; a callback may be what waits."""
        with self._calling:
            calls = self._calls
        for thread in calls:
            if thread is not threading.current_thread():
                thread.join(CALLS_GRACE)

    def _rejoin(self, subscription: Subscription) -> Resync:
        with self._ordering:
            subscription.rejoin()
            return Resync.of(self.snapshot())


def _call(subscription: Subscription, on_message: Callable[[Message], object]) -> None:
    # Closed, too, where a callback ends its thread: nobody reads it any more.
    with subscription:
        for message in subscription:
            try:
                on_message(message)
            except Exception:
                logger.exception("a subscriber's callback failed; it is called again with the next message")
