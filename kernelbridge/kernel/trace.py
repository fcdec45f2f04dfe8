"""What a tracer is shown: a copy of each message that the channels' threads receive and send, in one order.

A tracer asks on Control, with a ``kernelbridge_trace_request`` whose content names an IPC ``endpoint`` that it has
bound. From the reply on, each channel's thread hands over what it receives before it reads it, and what it sends before
it is sent, so that an effect never stands before its cause. A thread of its own sends the copies:

    {"date": ..., "channel": ..., "direction": ..., "dropped": ...}  and the frames as they are on the channel

The tracer answers with the bytes that it has read. What it has not read is bounded: what comes while there is no room
is dropped, and the next copy says how many that were. One without frames says nothing else. The trace ends when the
tracer closes its socket. While nobody traces, all this costs a channel one look at an empty tuple.
"""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import attrs
import zmq

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket, SocketBridge, send
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.errors import ContentError, short_repr
from kernelbridge.wire.packing import pack

TRACE_FEATURE: Final = "kernelbridge trace"
"""What a kernel says among the `supported_features` of its kernel_info_reply when it can be traced so."""

TRACE_REQUEST: Final = "kernelbridge_trace_request"

Direction = Literal["->", "<-"]
"""To the kernel, or from it."""

_UNREAD_BYTES: Final = 2**26
"""How much may wait for one tracer before copies are dropped."""

_COPY_BYTES: Final = 1024
"""What a copy costs in memory beside its frames."""

_LINGER_SECONDS: Final = 0.5
"""How long copies may still leave when the kernel ends."""

_CONNECT_MILLISECONDS: Final = 1000

_EVENTS: Final = zmq.EVENT_CONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED


@attrs.frozen
class _Copy:
    date: str
    channel: str
    direction: str
    dropped: int
    frames: Sequence[Frame]


class Tracing:
    """Who traces this kernel."""

    def __init__(self, context: Context, clock: Clock, unread_bytes: int = _UNREAD_BYTES) -> None:
        self._context = context
        self._clock = clock
        self._unread_bytes = unread_bytes
        self.taps: tuple[Callable[[Channel, Direction, Sequence[Frame]], None], ...] = ()
        """What a channel's thread calls with each message. Replaced whole, so that any thread may look."""
        # Guards the two that change: `taps`, and the threads that were begun and not seen to have ended.
        self._lock = threading.Lock()
        self._tracers: list[_Tracer] = []

    def begin(self, content: Mapping[str, Any]) -> None:
        """Trace for whoever asked with this content. Raises `ContentError` when it names nothing to connect to."""
        endpoint = content.get("endpoint")
        if not isinstance(endpoint, str) or not endpoint.startswith("ipc://"):
            problem = f"must be the address of an IPC socket, not {short_repr(endpoint)}"
            raise ContentError(TRACE_REQUEST, "endpoint", problem)
        tracer = _Tracer(self._context, self._clock, endpoint, self._unread_bytes, self._ended)
        with self._lock:
            gone = [other for other in self._tracers if not other.alive]
            self._tracers = [*(other for other in self._tracers if other not in gone), tracer]
            # Before the start: it may end at once, and then takes itself out.
            self.taps = *self.taps, tracer.tap
        for other in gone:
            other.stop()
        try:
            tracer.start()
        except zmq.ZMQError as failure:
            raise ContentError(TRACE_REQUEST, "endpoint", f"cannot be used: {failure.strerror}") from None

    def stop(self) -> None:
        """End the traces, when all that was traced has been handed to the tracers' sockets."""
        with self._lock:
            tracers, self._tracers = self._tracers, []
        for tracer in tracers:
            tracer.stop()

    def _ended(self, tracer: _Tracer) -> None:
        with self._lock:
            self.taps = tuple(tap for tap in self.taps if tap != tracer.tap)


class _Tracer(SocketBridge[_Copy]):
    """The thread that sends the copies to one tracer. Calls `ended` when it sends no more."""

    def __init__(
        self,
        context: Context,
        clock: Clock,
        endpoint: str,
        unread_bytes: int,
        ended: Callable[[_Tracer], None],
    ) -> None:
        super().__init__("trace", context, clock)
        self._endpoint = endpoint
        self._ended = ended
        # Guards the two below, and the order of the copies.
        self._counting = threading.Lock()
        self._room = unread_bytes
        self._dropped = 0
        # Owned by the thread.
        self._socket: Socket

    def tap(self, channel: Channel, direction: Direction, frames: Sequence[Frame]) -> None:
        """Hand over a copy. Never waits."""
        size = copy_bytes(frames)
        with self._counting:
            if size > self._room:
                self._dropped += 1
                return
            self._room -= size
            self._hand_over(channel, direction, frames)

    def _hand_over(self, channel: str, direction: str, frames: Sequence[Frame]) -> None:
        dropped, self._dropped = self._dropped, 0
        self.put(_Copy(self.clock.now(), channel, direction, dropped, frames))

    def open_sockets(self) -> None:
        self._socket = self.context.socket(zmq.DEALER)
        self._socket.linger = round(_LINGER_SECONDS * 1000)
        # What may wait is bounded in bytes, by `_room`.
        self._socket.sndhwm = 0
        # A tracer that has gone does not come back: the next one binds a socket of its own.
        self._socket.reconnect_ivl = -1
        monitor = self._socket.get_monitor_socket(_EVENTS)
        self.adopt(self._socket, self._has_read)
        self.adopt(monitor, self._has_gone)
        self._socket.connect(self._endpoint)
        # On IPC a connection is there or refused at once, and whoever asked is told which. One that is neither belongs
        # to a program that accepts none.
        if not monitor.poll(_CONNECT_MILLISECONDS) or _event(monitor) != zmq.EVENT_CONNECTED:
            raise zmq.ZMQError(errno.ECONNREFUSED)

    def deliver(self, item: _Copy) -> None:
        about = {
            "date": item.date,
            "channel": item.channel,
            "direction": item.direction,
            "dropped": item.dropped,
        }
        try:
            send(self._socket, [pack(about), *item.frames])
        except zmq.Again:
            # Nobody is connected any more, which the monitor is about to say.
            self.wake()

    def _has_read(self, frames: list[Frame]) -> None:
        with self._counting:
            self._room += int(bytes(frames[0]))
            if self._dropped:
                self._hand_over("", "", ())

    def _has_gone(self, frames: list[Frame]) -> None:
        self.wake()

    def close_sockets(self) -> None:
        self._ended(self)
        self._socket.disable_monitor()
        super().close_sockets()


def _event(monitor: Socket) -> int:
    # A number of 16 bits first ("zmq_socket_monitor" in ZeroMQ's reference).
    return int.from_bytes(monitor.recv_multipart()[0][:2], sys.byteorder)


def copy_bytes(frames: Sequence[Frame]) -> int:
    """Return what a copy of these frames counts as, at both ends."""
    return _COPY_BYTES + sum(map(len, frames))
