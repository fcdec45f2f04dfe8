"""The sockets of a protocol client: one for each channel, read together, so that what comes has one order."""

from __future__ import annotations

import time
from typing import Self

import attrs
import zmq
from zmq.utils.monitor import parse_monitor_message

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.clock_poller import ClockPoller
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket
from kernelbridge.frontend.channel import reach
from kernelbridge.wire.connection import Channel, ConnectionInfo

__all__ = ["READ_CHANNELS", "REQUEST_CHANNELS", "Sockets", "Until", "drain"]

READ_CHANNELS: tuple[Channel, ...] = ("iopub", "shell", "control", "stdin")
"""The channels on which messages come. What lies ready on several at once is read in this order."""

REQUEST_CHANNELS: tuple[Channel, ...] = ("control", "shell", "stdin")
"""The channels on which frontends send messages."""


@attrs.frozen
class Until:
    """The end of a wait: so many seconds on the client's clock or in real time, whichever have passed first.

    So a test can let the time of a wait pass, and what never comes ends one also where the clock stands.
    """

    clock: Clock
    due: float
    real_due: float

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Self:
        """Return the end of a wait that begins now."""
        return cls(clock, clock.monotonic() + seconds, time.monotonic() + seconds)

    def within(self, seconds: float) -> Self:
        """Return the end of a wait that ends with this one, and after so many seconds at the latest."""
        soon = self.after(seconds, self.clock)
        return attrs.evolve(soon, due=min(self.due, soon.due), real_due=min(self.real_due, soon.real_due))

    def passed(self) -> bool:
        return self.clock.monotonic() >= self.due or time.monotonic() >= self.real_due


def drain(socket: Socket) -> list[list[Frame]]:
    """Return all that has come on a socket."""
    found: list[list[Frame]] = []
    try:
        while True:
            found.append(list(socket.recv_multipart(zmq.NOBLOCK)))
    except zmq.Again:
        return found


class Sockets:
    """Connects to the kernel at `info`. `ended` is a socket on which something comes when the kernel has ended, and
    `receive_limit` how many messages may wait on IOPub (0: any number).

    Used by one thread. Whether a kernel in another process has gone is seen by its closing of the connection, which
    comes behind all that it has sent.
    """

    def __init__(
        self,
        info: ConnectionInfo,
        context: Context,
        identity: bytes,
        ended: Socket | None,
        clock: Clock,
        receive_limit: int = 0,
    ) -> None:
        self._ended = ended
        self._gone: set[Channel] = set()
        # A connection inside of the process is there at once, and nothing tells of it.
        self._connected: set[Channel] = set(READ_CHANNELS) if info.transport == "inproc" else set()
        self._sockets: dict[Channel, Socket] = {}
        self._monitors: dict[Channel, Socket] = {}
        self._poller = ClockPoller(context, clock, "protocol client")
        for channel in READ_CHANNELS:
            socket = self._sockets[channel] = context.socket(zmq.SUB if channel == "iopub" else zmq.DEALER)
            socket.linger = 0
            # A strict client loses nothing, however long a test takes to read.
            socket.rcvhwm = socket.sndhwm = 0
            socket.setsockopt(zmq.IDENTITY, identity)
            reach(socket, info)
            if channel == "iopub":
                socket.rcvhwm = receive_limit
            self._monitors[channel] = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            socket.connect(info.endpoint(channel))
            self._poller.register(socket)
            self._poller.register(self._monitors[channel])
        if ended is not None:
            self._poller.register(ended)

    def send(self, channel: Channel, frames: list[Frame]) -> bool:
        """Send, and return whether there is anybody to send to: a kernel in this process may have gone."""
        try:
            self._sockets[channel].send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def subscribe(self, topic: bytes) -> None:
        self._sockets["iopub"].subscribe(topic)

    def unsubscribe(self, topic: bytes) -> None:
        """End a subscription. What of it is under way already is not read any more."""
        self._sockets["iopub"].unsubscribe(topic)

    def unconnected(self) -> list[Channel]:
        """Return the channels on which the kernel has not been reached yet."""
        return [channel for channel in READ_CHANNELS if channel not in self._connected]

    def gone(self, channel: Channel) -> bool:
        """Return whether the kernel has gone, and nothing more can come on this channel once it has been read."""
        return channel in self._gone

    def read(self, until: Until | None = None) -> list[tuple[Channel, list[Frame]]]:
        """Wait until something comes or the kernel goes, not at all by default, and return what has come."""
        if until is None:
            ready = self._poller.poll(None, guard=0)
        else:
            ready = self._poller.poll(until.due, guard=until.real_due - time.monotonic())
        # Before the reading, so that what the kernel sent before it went is read with it.
        if self._ended is not None and self._ended in ready:
            self._poller.unregister(self._ended)
            self._gone.update(READ_CHANNELS)
        for channel, monitor in self._monitors.items():
            if monitor in ready:
                event = parse_monitor_message(monitor.recv_multipart())["event"]
                (self._gone if event == zmq.EVENT_DISCONNECTED else self._connected).add(channel)
        return [(channel, frames) for channel in READ_CHANNELS for frames in drain(self._sockets[channel])]

    def close(self) -> None:
        for channel, socket in self._sockets.items():
            socket.disable_monitor()
            self._monitors[channel].close(0)
            socket.close(0)
        self._poller.close()
