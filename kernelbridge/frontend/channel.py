"""What the frontend's channels have in common: a socket that connects, messages in, frames out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

import attrs
import zmq

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket, SocketBridge, send
from kernelbridge.wire.connection import Channel as ChannelName
from kernelbridge.wire.connection import ConnectionInfo, random_curve_keys
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import Limits, decode, sign_again
from kernelbridge.wire.log import message_log
from kernelbridge.wire.messages import Message
from kernelbridge.wire.signing import ReplayGuard, Signer
from kernelbridge.wire.strays import Strays

LINGER_MS = 500
"""How long what was sent may take to leave after the channel has been closed. In real time: ZMQ sees to it."""

_RECONNECT_MS = 5
_LONGEST_RECONNECT_MS = 100


@attrs.frozen
class Wiring:
    """What every channel of one bridge is given."""

    context: Context
    clock: Clock
    connection: ConnectionInfo
    identity: bytes
    """Of Shell and Stdin alike: the kernel addresses its input requests to the sender of the execute_request."""
    signer: Signer
    limits: Limits
    strays: Strays
    on_crash: OnCrash
    starting: bool
    """Whether the kernel is on its way: if it has not bound its addresses yet, it soon will."""
    signs_again: bool = False
    """Whether what is sent was signed, before the kernel's key was known, with another one."""


@attrs.frozen
class Drain:
    """Asks a channel to read all that has arrived and then to call `then`, which is called whatever happens."""

    then: Callable[[], None]


T = TypeVar("T")


def reach(socket: Socket, connection: ConnectionInfo) -> None:
    """Set what a socket needs to connect to a kernel: IPv6, and for CURVE a pair of keys of its own."""
    if ":" in connection.ip:
        socket.set(zmq.IPV6, 1)
    if connection.curve_publickey is not None:
        own_public, own_secret = random_curve_keys()
        socket.set(zmq.CURVE_SERVERKEY, connection.curve_publickey)
        socket.set(zmq.CURVE_PUBLICKEY, own_public)
        socket.set(zmq.CURVE_SECRETKEY, own_secret)


class Channel(SocketBridge[T | Drain]):
    """A thread over one socket that is connected to one of the kernel's addresses.

    A subclass names the `channel` and the `kind` of socket, and says what becomes of what arrives and of what is put.
    """

    channel: ChannelName
    kind: int

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(f"frontend-{self.channel}", wiring.context, wiring.clock, wiring.on_crash)
        self.wiring = wiring
        self.linger = LINGER_MS
        """Milliseconds. Set to 0 on the thread when nobody is there any more to whom anything could be sent."""
        self._signer = wiring.signer
        self._limits = wiring.limits
        self._guard = ReplayGuard()
        # What passes on Heartbeat are no messages.
        self._log = None if self.channel == "hb" else message_log("bridge", wiring.signer)
        self._socket: Socket | None = None

    def drained(self, then: Callable[[], None]) -> None:
        """Have `then` called on the thread when all that has arrived is read, or here when the thread has ended."""
        if not self.put(Drain(then)):
            then()

    # On the thread

    @abstractmethod
    def read(self, frames: list[Frame]) -> None:
        """Take the frames of a message that has arrived."""

    def after_reads(self) -> None:
        """Take notice that what could be read in a row has been `read`."""

    def perform(self, item: T) -> None:
        """Do what an item other than `Drain` asks for."""
        raise NotImplementedError(f"{self.name} cannot {item!r}")

    def prepare(self, socket: Socket) -> None:
        """Set options of the socket before it connects."""

    @property
    def socket(self) -> Socket:
        if self._socket is None:
            raise RuntimeError(f"the {self.channel} channel has no socket yet")
        return self._socket

    def open_sockets(self) -> None:
        connection = self.wiring.connection
        socket = self.context.socket(self.kind)
        # Nothing is dropped, in either direction: what waits is bounded by what was asked for.
        socket.set(zmq.SNDHWM, 0)
        socket.set(zmq.RCVHWM, 0)
        # The kernel binds, and may not have done so yet. Every wait is a grain of a start, which is short; only where
        # no start is known to go on they become longer and longer.
        socket.set(zmq.RECONNECT_IVL, _RECONNECT_MS)
        if not self.wiring.starting:
            socket.set(zmq.RECONNECT_IVL_MAX, _LONGEST_RECONNECT_MS)
        socket.set(zmq.LINGER, LINGER_MS)
        reach(socket, connection)
        self.prepare(socket)
        self._socket = socket
        # Adopted first: whatever fails from here on, the socket is closed.
        self.adopt(socket, self.read if self._log is None else self._read_logged, self.after_reads)
        socket.connect(connection.endpoint(self.channel))

    def _read_logged(self, frames: list[Frame]) -> None:
        if self._log is not None:
            self._log(self.channel, "<-", frames)
        self.read(frames)

    def close_sockets(self) -> None:
        if self._socket is not None:
            self._socket.close(self.linger)

    def deliver(self, item: T | Drain) -> None:
        if isinstance(item, Drain):
            self.drain(self.socket)
            item.then()
        else:
            self.perform(item)

    def discard(self, item: T | Drain) -> None:
        if isinstance(item, Drain):
            item.then()


class RequestChannel(Channel[T | list[Frame]]):
    """A DEALER: what is put as frames is sent, in the order of the puts."""

    kind = zmq.DEALER

    @abstractmethod
    def received(self, message: Message) -> None:
        """Take a message that has arrived."""

    def handle(self, item: T) -> None:
        """Do what an item that is no frames asks for."""
        raise NotImplementedError(f"{self.name} cannot {item!r}")

    def prepare(self, socket: Socket) -> None:
        socket.set(zmq.IDENTITY, self.wiring.identity)

    def perform(self, item: T | list[Frame]) -> None:
        if isinstance(item, list):
            self.send(item)
        else:
            self.handle(item)

    def send(self, frames: list[Frame]) -> None:
        """Send a message, without waiting."""
        if self.wiring.signs_again:
            frames = sign_again(frames, self._signer)
        if self._log is not None:
            self._log(self.channel, "->", frames)
        send(self.socket, frames)

    def read(self, frames: list[Frame]) -> None:
        try:
            message = decode(frames, self._signer, self._guard, self._limits)
        except WireError as error:
            self.wiring.strays.refuse(self.channel, error)
        else:
            self.received(message)
