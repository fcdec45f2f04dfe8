"""A socket bridge: the thread that owns outward sockets, and passes what arrives to where it belongs.

It waits in exactly one place, `zmq.Poller.poll`, over its sockets and its channel bridge. What other threads want of
the sockets they put in the channel bridge; what arrives goes to the method that was registered for the socket.

`poll` asks for the events themselves, before every sleep, and the owner does both reads and sends. A thread that waits
for a socket's file descriptor instead sees edges, and its own send may consume the edge of a request that arrived
meanwhile: the request then strands until the next one (ipykernel#1529). Here it cannot.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import zmq
from zmq import backend

from kernelbridge.bridges.channel_bridge import ChannelBridge
from kernelbridge.bridges.clock import Attendance, Clock
from kernelbridge.bridges.service import OnCrash, Service

T = TypeVar("T")

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]
Frame = bytes | memoryview

ZERO_COPY_BYTES = 2**20
"""From this size on, a frame is handed to and taken from ZMQ without a copy. Below it the copy is cheaper: ZMQ tells
of the end of each borrowed frame through a socket and a thread of their own."""

# Plain integers: pyzmq's flags are enums, and joining two costs as much as sending a frame.
_LAST = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)

# What sending and receiving come down to, without options of other kinds of sockets, which cost more than the frame.
_send: Callable[..., object] = backend.Socket.send
_recv: Callable[..., zmq.Frame] = backend.Socket.recv

_READS_IN_A_ROW = 100
"""How many messages are read from one socket before the others, and the channel bridge, get their turn."""

_ROWS_IN_A_DRAIN = 10_000


class _Stop:
    """The item that ends the loop. It stands in the queue's order: what was put before it is still delivered."""


class SocketBridge(Service, Generic[T]):
    """A thread over sockets and a channel bridge of items of type `T`.

    A subclass makes its sockets in `open_sockets` with `adopt`, and says in `deliver` what becomes of an item.
    """

    def __init__(
        self, name: str, context: Context, clock: Clock, on_crash: OnCrash | None = None, maxsize: int = 0
    ) -> None:
        super().__init__(name, on_crash)
        self.context = context
        self.clock = clock
        self._inbox: ChannelBridge[T | _Stop] = ChannelBridge(context, maxsize)
        # All below is owned by the thread.
        self._readers: dict[Socket, tuple[Callable[[list[Frame]], None], Callable[[], None] | None]] = {}
        self._watched: dict[int, Callable[[], None]] = {}
        self._unwritable: dict[Socket, Callable[[], None]] = {}
        self._poller = zmq.Poller()
        self._taken: deque[T | _Stop] = deque()
        self._stopping = False
        # Whether there was anything to do since the clock was last asked, which wants to know.
        self._worked = False
        self._attendance: Attendance

    # For any thread

    def put(self, item: T, ring: bool = True) -> bool:
        """Hand `item` to the thread. Returns False when the thread has ended and will not get it.

        Without `ring` the thread may hear of it only with the next item.
        """
        return self._inbox.put(item, ring)

    def ring(self) -> None:
        """Let the thread hear of what was put without a ring."""
        self._inbox.remind()

    def wake(self) -> None:
        self._inbox.put(_Stop())

    def abandon(self) -> None:
        self._discard(self._inbox.close())

    # For the subclass, on the thread

    @abstractmethod
    def open_sockets(self) -> None:
        """Make the sockets and `adopt` them. What this raises, `start` raises."""

    @abstractmethod
    def deliver(self, item: T) -> None:
        """Do what `item` asks for."""

    def discard(self, item: T) -> None:
        """Let go of an item that was put too late to be delivered, so that nobody waits for it."""

    def deadline(self) -> float | None:
        """Return the time, on the clock's monotonic scale, at which `on_deadline` is due, or None."""
        return None

    def on_deadline(self) -> None:
        """Do what was due."""

    def close_sockets(self) -> None:
        """Close the sockets. What was sent leaves within their linger time."""
        for socket in self._readers:
            socket.close()

    def adopt(
        self, socket: Socket, read: Callable[[list[Frame]], None], after_reads: Callable[[], None] | None = None
    ) -> None:
        """Own `socket` from now on, and call `read` with the frames of each message that arrives on it.

        `after_reads` is called when the messages that were read in a row have been: who passes them on can do so with
        one wake-up for all.
        """
        self._readers[socket] = read, after_reads
        self._poller.register(socket, zmq.POLLIN)

    def watch(self, descriptor: int, readable: Callable[[], None]) -> None:
        """Call `readable`, on the thread, whenever a file descriptor that belongs to another has something to read."""
        self._watched[descriptor] = readable
        self._poller.register(descriptor, zmq.POLLIN)

    def when_writable(self, socket: Socket, then: Callable[[], None]) -> None:
        """Call `then`, on the thread, once, when a message can be sent on an adopted socket."""
        self._unwritable[socket] = then
        self._poller.register(socket, _POLLIN | _POLLOUT)

    def unwatch(self, descriptor: int) -> None:
        """Watch it no more, from the next turn on."""
        self._poller.unregister(descriptor)

    def drain(self, socket: Socket) -> None:
        """Read what has arrived on `socket`, now and on the thread, up to a bound that no flood gets past."""
        for _ in range(_ROWS_IN_A_DRAIN):
            if not _readable(socket) or not self._read(socket):
                return

    # The loop

    def run(self) -> None:
        ear = self._inbox.open()
        self._poller.register(ear, zmq.POLLIN)
        try:
            self.open_sockets()
            with self.clock.attend(self.name, self._inbox.ring) as self._attendance:
                self.ready()
                while not self._stopping:
                    self._turn(ear)
        finally:
            # Also what was taken with the stop but put behind it, or behind an item that nobody survived.
            self._discard([*self._taken, *self._inbox.close()])
            self.close_sockets()

    def _turn(self, ear: Socket) -> None:
        """Wait once, and do what there is to do then."""
        for socket, events in self._poller.poll(self._patience()):
            if socket is ear:
                self._inbox.answer()
                continue
            self._worked = True
            if isinstance(socket, int):
                self._watched[socket]()
                continue
            if events & _POLLOUT:
                self._poller.register(socket, _POLLIN)
                self._unwritable.pop(socket)()
            if events & _POLLIN:
                self._read(socket)
        self._taken.extend(self._inbox.take())
        while self._taken and not self._stopping:
            self._worked = True
            item = self._taken.popleft()
            if isinstance(item, _Stop):
                self._stopping = True
            else:
                self.deliver(item)
        due = self.deadline()
        if due is not None and due <= self.clock.monotonic():
            self._worked = True
            self.on_deadline()

    def _discard(self, items: Iterable[T | _Stop]) -> None:
        for item in items:
            if not isinstance(item, _Stop):
                self.discard(item)

    def _patience(self) -> int | None:
        """Return how long the poll may sleep, in milliseconds, None for as long as it takes."""
        due = self.deadline()
        if not self._inbox.rest():
            return 0
        seconds = self._attendance.patience(due, self._worked)
        self._worked = False
        # Rounded up: waking a fraction too early would mean to poll again, and again, until the time has come.
        return None if seconds is None else math.ceil(seconds * 1000)

    def _read(self, socket: Socket) -> bool:
        """Read a row of messages from a socket that has one. Returns whether there may be more."""
        read, after_reads = self._readers[socket]
        read(receive(socket))
        more = _readable(socket)
        left = _READS_IN_A_ROW - 1
        while more and left:
            # Where there is a second there are mostly many: it costs less to be told once that there is no more.
            try:
                frames = receive(socket)
            except zmq.Again:
                more = False
            else:
                read(frames)
                left -= 1
        if after_reads is not None:
            after_reads()
        return more


def _readable(socket: Socket) -> bool:
    """Return whether a message has arrived. To be told by an exception that none has costs three times as much."""
    return bool(int(socket.get(_EVENTS)) & _POLLIN)


def receive(socket: Socket) -> list[Frame]:
    """Return the frames of the next message, large ones as views of the socket's memory. Raises `zmq.Again` if none."""
    frames: list[Frame] = []
    more = True
    while more:
        frame = _recv(socket, _LAST, False)
        frames.append(frame.bytes if len(frame) < ZERO_COPY_BYTES else frame.buffer)
        more = frame.more
    return frames


def send(socket: Socket, frames: Sequence[Frame]) -> None:
    """Send `frames` as one message, without waiting. Raises `zmq.Again`, or what a ROUTER raises for a lost peer.

    This loop costs a fifth of `send_multipart`, which looks at each part twice.
    """
    last = len(frames) - 1
    for number, frame in enumerate(frames):
        _send(socket, frame, _LAST if number == last else _MORE, len(frame) < ZERO_COPY_BYTES)
