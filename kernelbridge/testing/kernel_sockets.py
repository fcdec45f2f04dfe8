"""The sockets of a kernel that a test plays: the five channels, bound, and read together."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import attrs
import zmq

from kernelbridge.bridges.socket_bridge import Context, Frame, Socket
from kernelbridge.testing.sockets import REQUEST_CHANNELS, drain
from kernelbridge.wire.connection import CHANNELS, Channel, ConnectionInfo, Transport, random_key, write_connection_file

__all__ = ["KernelSockets", "Place"]

_READ: Final[tuple[Channel, ...]] = ("iopub", "hb", *REQUEST_CHANNELS)
"""What lies ready on several channels at once is read in this order: subscriptions first."""

_KINDS: Final = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "iopub": zmq.XPUB, "hb": zmq.ROUTER}

_PROBE: Final = b"kernelbridge-testing-"


@attrs.define
class Place:
    """Where a kernel listens, and its private folder, which is made when it is needed."""

    connection: ConnectionInfo
    _folder: Path | None = None

    @classmethod
    def new(cls, transport: Transport) -> Place:
        """Return a place of its own: IPC sockets in a new folder, TCP ports that are free, or names for inproc."""
        info = ConnectionInfo(transport=transport, ip="127.0.0.1", key=random_key())
        if transport == "tcp":
            return cls(info)
        place = cls(info)
        name = f"kernelbridge-testing-{secrets.token_hex(8)}" if transport == "inproc" else str(place.folder / "k")
        ports = {channel: number for number, channel in enumerate(CHANNELS, 1)}
        place.connection = attrs.evolve(info, ip=name).with_ports(ports)
        return place

    @property
    def folder(self) -> Path:
        """A folder that only the user can enter, with a path short enough for IPC sockets."""
        if self._folder is None:
            # Made with mode 0700.
            self._folder = Path(tempfile.mkdtemp(prefix="kb-"))
        return self._folder

    @property
    def connection_file(self) -> Path:
        """A connection file (mode 0600), written when it is first asked for."""
        path = self.folder / "connection.json"
        if not path.exists():
            write_connection_file(path, self.connection)
        return path

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None


class KernelSockets:
    """Binds the channels at `connection`; what ports it has then, `connection` says. Used by one thread."""

    def __init__(self, connection: ConnectionInfo, context: Context) -> None:
        self._context = context
        self._sockets: dict[Channel, Socket] = {}
        self._poller, self._watched = zmq.Poller(), zmq.Poller()
        ports: dict[Channel, int] = {}
        try:
            for channel in CHANNELS:
                socket = self._sockets[channel] = context.socket(_KINDS[channel])
                # Nothing is dropped, and no send ever waits.
                socket.sndhwm = socket.rcvhwm = 0
                if channel == "iopub":
                    # Each subscription is told of, also a second one of the same.
                    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
                if channel == "stdin":
                    # A question that reaches nobody is an error, not a silence.
                    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
                if ":" in connection.ip:
                    socket.ipv6 = True
                if connection.ports[channel]:
                    socket.bind(connection.endpoint(channel))
                else:
                    ports[channel] = socket.bind_to_random_port(f"tcp://{connection.ip}")
                self._poller.register(socket, zmq.POLLIN)
        except BaseException:
            self.close()
            raise
        self.connection = connection.with_ports(ports)

    def sleep(self, seconds: float | None) -> None:
        """Read nothing for so long (None: for ever), or until what is watched has something to read."""
        self._watched.poll(None if seconds is None else max(0, round(seconds * 1000)))

    def watch(self, socket: Socket) -> None:
        """Let `read` and `sleep` return when another socket has something to read."""
        self._watched.register(socket, zmq.POLLIN)
        self._poller.register(socket, zmq.POLLIN)

    def read(self, seconds: float | None) -> list[tuple[Channel, list[Frame]]]:
        """Wait at most so long (None: as long as it takes) until something comes, and return all that has."""
        self._poller.poll(None if seconds is None else max(0, round(seconds * 1000)))
        return [(channel, frames) for channel in _READ for frames in drain(self._sockets[channel])]

    def send(self, channel: Channel, frames: list[Frame]) -> bool:
        """Send, and return whether anybody is known to get it, where that can be known (Stdin)."""
        try:
            self._sockets[channel].send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as refusal:
            if refusal.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def read_all(self, seconds: float) -> tuple[list[tuple[Channel, list[Frame]]], bool]:
        """Return what has been sent to the kernel before this call, and whether that was known within `seconds`.

        A message of its own comes on each channel behind everything that has left its sender before.
        """
        found: list[tuple[Channel, list[Frame]]] = []
        end = time.monotonic() + seconds
        probes: dict[bytes, Socket] = {}
        try:
            for channel in REQUEST_CHANNELS:
                identity = _PROBE + secrets.token_hex(8).encode()
                socket = probes[identity] = self._context.socket(zmq.DEALER)
                socket.setsockopt(zmq.IDENTITY, identity)
                socket.linger = 0
                if ":" in self.connection.ip:
                    socket.ipv6 = True
                socket.connect(self.connection.endpoint(channel))
                socket.send(b"")
            missing = set(probes)
            while missing and (left := end - time.monotonic()) > 0:
                for channel, frames in self.read(left):
                    sender = bytes(frames[0])
                    if sender in probes:
                        missing.discard(sender)
                    else:
                        found.append((channel, frames))
        finally:
            for socket in probes.values():
                socket.close(0)
        return found, not missing

    def close(self, linger: float = 0) -> None:
        """Close all. What was sent may take so many seconds more to leave."""
        for socket in self._sockets.values():
            socket.close(round(linger * 1000))
