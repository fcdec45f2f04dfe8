"""A channel bridge: a queue whose arrivals ring an inproc PAIR socket, so that a socket loop can wait for them.

A thread that owns ZMQ sockets waits in `zmq.Poller.poll`, and a queue cannot be polled. So whoever puts something in
the queue also sends an empty message, a ring, on one end of a PAIR, and the socket loop polls the other end.

Rings coalesce: a ring is sent only when the reader may be asleep, and a reader takes all that is there before it
sleeps again. No ring is ever lost, because both sides do two things in opposite order:

    putter: put the item, then look whether the reader sleeps
    reader: say that it sleeps, then look whether there is an item

Whichever comes second sees what the other did; at worst both do, and a spare ring is harmless.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from typing import Generic, TypeVar

import zmq

T = TypeVar("T")

_numbers = itertools.count(1)


class ChannelBridge(Generic[T]):
    """A queue that any thread puts into, and one socket loop takes from.

    Takes the `context` of the PAIR, and `maxsize`: with a bound, a putter waits while the queue is full.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], maxsize: int = 0) -> None:
        # Appended to by any putter, taken from by the reader. Both are atomic, and need no lock: the garbage collector
        # may run a __del__ that prints in the middle of a put or a take, and a lock would then be taken twice.
        self._items: deque[T] = deque()
        self._maxsize = maxsize or sys.maxsize
        self._closed = False
        # Guards the number of putters that wait because the queue is full. Taken by its own name and not through the
        # condition, whose `with` is Python code in which an interrupt can leave it locked for ever.
        self._room_lock = threading.Lock()
        self._room = threading.Condition(self._room_lock)
        self._waiting = 0
        self._address = f"inproc://kernelbridge-channel-{next(_numbers)}"
        # Guards the sending end, which any putter may touch, and `_asleep`. The lock is the full fence that a
        # ZMQ socket wants when it moves from one thread to another. Reentrant for the same reason as above.
        self._ringing = threading.RLock()
        self._bell = context.socket(zmq.PAIR)
        self._bell.bind(self._address)
        self._asleep = False
        # Owned by the reader's thread from open() to close().
        self._ear: zmq.Socket[bytes] | None = None
        self._reader: int | None = None
        self._context = context

    # The putters' side: any thread

    def put(self, item: T, ring: bool = True) -> bool:
        """Put `item`, and ring if the reader may be asleep. Waits while a bounded queue is full.

        Returns whether the reader is still there to take it. Who puts several in a row may ring with the last alone, so
        that the reader does not wake to fight for the interpreter with the one who feeds it.
        """
        if len(self._items) >= self._maxsize:
            self._wait_for_room()
        if self._closed:
            return False
        self._items.append(item)
        # And again: an item that is put while the reader closes is found by close(), or refused here, or both.
        if self._closed:
            return False
        if ring:
            self.ring()
        return True

    def _wait_for_room(self) -> None:
        if self._reader == threading.get_ident():
            # What the reader itself puts, by a __del__ or a log, cannot wait for the reader.
            return
        # The reader may not have been rung for what is there already.
        self.ring()
        with self._room_lock:
            self._waiting += 1
            try:
                while len(self._items) >= self._maxsize and not self._closed:
                    self._room.wait()
            finally:
                self._waiting -= 1

    def ring(self) -> None:
        """Wake the reader if it may be asleep."""
        if self._asleep:
            with self._ringing:
                # Send first: an interrupt between the two lines then costs a spare ring and not a lost one.
                if self._asleep and not self._bell.closed:
                    self._bell.send(b"", zmq.NOBLOCK)
                    self._asleep = False

    def remind(self) -> None:
        """Ring for what was put without a ring, unless the reader has it already."""
        if self._items:
            self.ring()

    # The reader's side: one thread

    def open(self) -> zmq.Socket[bytes]:
        """Return the socket to poll, made on the calling thread, which becomes the reader."""
        self._ear = self._context.socket(zmq.PAIR)
        self._ear.connect(self._address)
        self._reader = threading.get_ident()
        return self._ear

    def rest(self) -> bool:
        """Return whether the reader may sleep: False when there is something to take. Rings come from now on."""
        with self._ringing:
            self._asleep = True
        if not self._items:
            return True
        self._asleep = False
        return False

    def answer(self) -> None:
        """Take a ring, if one has come. There is seldom a second, and then the next poll says so at once."""
        if self._ear is None:
            raise RuntimeError("the reader's end is not open")
        try:
            self._ear.recv(zmq.NOBLOCK)
        except zmq.Again:
            return

    def take(self, limit: int = 256) -> list[T]:
        """Return what is in the queue, in the order of the puts; at most `limit`, so that sockets get their turn."""
        items: list[T] = []
        while self._items and len(items) < limit:
            items.append(self._items.popleft())
        self._make_room_known()
        return items

    def close(self) -> list[T]:
        """Close both ends and return what nobody took. Called by the reader, at its end; later puts return False."""
        self._closed = True
        left = self.take(limit=sys.maxsize)
        with self._ringing:
            self._asleep = False
            self._bell.close(0)
        if self._ear is not None:
            self._ear.close(0)
        return left

    def _make_room_known(self) -> None:
        # A putter counts itself, then looks for room; this looks for putters after it has made room.
        if self._waiting:
            with self._room_lock:
                self._room.notify_all()
