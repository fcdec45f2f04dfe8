"""A recorder: stands between a kernel and its frontends, passes everything on, and writes it down in the order as seen.

    with Recorder("python3") as recorder:
        client = BlockingKernelClient(connection_file=str(recorder.connection_file))
        ...
    recorder.transcript.save("session.jsonl")

It binds five channels of its own, with the kernel's key, and passes on every frame as it came: a signature that is
wrong stays wrong. Each frontend has sockets of its own to the kernel, with the frontend's identity, so that the kernel
sees on Shell, Control, Stdin and Heartbeat what it would see without a recorder; on IOPub it sees one subscriber, to
what any of the frontends has subscribed.

What was sent is written down just before it is passed to the kernel, and what the kernel has sent as soon as it is
read. So whatever stands before a request in a transcript was sent by a kernel that did not know of that request.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Never, Self

import attrs
import zmq

from kernelbridge.bridges.clock import Clock, SystemClock
from kernelbridge.bridges.service import OnCrash, Service
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket, SocketBridge, send
from kernelbridge.frontend.channel import reach
from kernelbridge.kernel.binding import bind_channel
from kernelbridge.testing.client import DEADLINE
from kernelbridge.testing.targets import Target, running
from kernelbridge.testing.transcripts.records import Direction, Record
from kernelbridge.testing.transcripts.transcript import Transcript
from kernelbridge.wire.connection import (
    CHANNELS,
    Channel,
    ConnectionInfo,
    random_curve_keys,
    write_connection_file,
)
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode
from kernelbridge.wire.signing import Signer

__all__ = ["Recorder"]

_LINGER_SECONDS: Final = 0.5
"""How long what was passed on may take to leave when the recorder ends."""

_NAMED: Final[tuple[Channel, ...]] = ("shell", "control", "stdin")
"""The channels on which a frontend has one name: a question on Stdin goes to who sent the execution on Shell."""


class Recorder:
    """Records what passes between a kernel and any frontends, for the time of a `with` block.

    Takes the kernel as a `Target`, where a Kernel serves over inproc its ZMQ `context`, and the `clock`. What is made
    for the block - a launched kernel, the recorder's connection file - is gone with it; the transcript stays. What the
    recorder's thread raises is raised at the end of the block.

    Frontends are connected to the recorder. So by their connections they do not see that the kernel has gone; by a
    heartbeat that is not answered they do.
    """

    def __init__(self, target: Target, *, context: Context | None = None, clock: Clock | None = None) -> None:
        self._target = target
        self._context = context
        self._clock = clock or SystemClock()
        self._stack = ExitStack()
        self._records: list[Record] = []
        self._failure: BaseException | None = None
        self._proxy: _Proxy

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            kernel = stack.enter_context(running(self._target, self._context, lambda: DEADLINE))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kernelbridge-recorder-")))
            self._proxy = _Proxy(kernel.connection, kernel.context, self._clock, self._records, self._crashed)
            stack.callback(self._proxy.stop)
            self._proxy.start()
            self.connection_file = folder / "connection.json"
            write_connection_file(self.connection_file, self.connection)
            if kernel.start is not None:
                kernel.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)
        if error is None and self._failure is not None:
            raise self._failure

    def _crashed(self, service: Service, failure: BaseException) -> None:
        self._failure = failure

    @property
    def connection(self) -> ConnectionInfo:
        """Where frontends find the recorder, in place of the kernel. Also in `connection_file`."""
        return self._proxy.connection

    @property
    def transcript(self) -> Transcript:
        """What has passed so far. Any thread may ask, also behind the end."""
        return Transcript(list(self._records))


@attrs.define
class _Frontend:
    """The sockets to the kernel that belong to one frontend, and what waits until they are connected.

    A frontend that has no name is a different one on each channel.
    """

    sockets: dict[Channel, Socket] = attrs.field(factory=dict)
    connecting: set[Channel] = attrs.field(factory=set)
    waiting: deque[tuple[Channel, list[Frame]]] = attrs.field(factory=deque)


class _Proxy(SocketBridge[Never]):
    """The thread that owns all sockets. `records` gets what passes."""

    def __init__(
        self, kernel: ConnectionInfo, context: Context, clock: Clock, records: list[Record], on_crash: OnCrash
    ) -> None:
        super().__init__("recorder", context, clock, on_crash)
        self.connection = attrs.evolve(kernel, transport="tcp", ip="127.0.0.1").with_ports(dict.fromkeys(CHANNELS, 0))
        if kernel.curve_publickey is not None:
            public, secret = random_curve_keys()
            self.connection = attrs.evolve(self.connection, curve_publickey=public, curve_secretkey=secret)
        self._kernel = kernel
        self._signer = Signer(kernel.key, kernel.signature_scheme)
        self._records = records
        self._began = clock.monotonic()
        # All below is owned by the thread.
        self._fronts: dict[Channel, Socket] = {}
        self._publisher: Socket
        self._frontends: dict[tuple[Channel | None, bytes], _Frontend] = {}

    def deliver(self, item: Never) -> None:
        """Nothing is put: all comes on sockets."""

    def open_sockets(self) -> None:
        # First, so that of what lies ready at once the kernel's output is read before what is sent to it.
        self._publisher = self._connect(zmq.XSUB, "iopub")
        self.adopt(self._publisher, self._published)
        for channel in CHANNELS:
            front = self._fronts[channel] = self._unlimited(zmq.XPUB if channel == "iopub" else zmq.ROUTER)
            if channel == "iopub":
                # Every subscription is passed on, so that each is welcomed (JEP 65).
                front.setsockopt(zmq.XPUB_VERBOSER, 1)
                self.adopt(front, self._subscribed)
            else:
                # A frontend that connects again keeps its name.
                front.setsockopt(zmq.ROUTER_HANDOVER, 1)
                self.adopt(front, partial(self._sent, channel))
            self.connection = bind_channel(front, self.connection, channel, _LINGER_SECONDS, "the recorder")

    def close_sockets(self) -> None:
        for socket in list(self._readers):
            self.drain(socket)
        for frontend in self._frontends.values():
            for socket in frontend.sockets.values():
                socket.disable_monitor()
        super().close_sockets()

    # Frontend to kernel

    def _subscribed(self, frames: list[Frame]) -> None:
        frame = bytes(frames[0])
        note = {1: "subscribes to", 0: "unsubscribes from"}.get(frame[0] if frame else -1, "")
        topic = frame[1:].decode(errors="backslashreplace")
        self._record("->", "iopub", frames, f"{note} {topic!r}" if note else "is no subscription")
        send(self._publisher, frames)

    def _sent(self, channel: Channel, frames: list[Frame]) -> None:
        frontend = self._frontend(channel, bytes(frames[0]))
        frontend.waiting.append((channel, frames))
        self._pass_on(frontend)

    def _pass_on(self, frontend: _Frontend) -> None:
        while frontend.waiting and not frontend.connecting:
            channel, frames = frontend.waiting.popleft()
            self._record("->", channel, frames)
            send(frontend.sockets[channel], frames[1:])

    def _frontend(self, channel: Channel, identity: bytes) -> _Frontend:
        """Return who has sent this; one who was not known has its sockets made, all that its name is good for."""
        # A name that ZMQ itself has given to a socket that has none begins with NUL.
        named = channel in _NAMED and not identity.startswith(b"\0")
        key = (None if named else channel, identity)
        if key not in self._frontends:
            frontend = self._frontends[key] = _Frontend()
            for one in _NAMED if named else (channel,):
                self._join(frontend, one, identity, named)
        return self._frontends[key]

    def _join(self, frontend: _Frontend, channel: Channel, identity: bytes, named: bool) -> None:
        def connected(frames: list[Frame]) -> None:
            frontend.connecting.discard(channel)
            self._pass_on(frontend)

        watch: Callable[[list[Frame]], None] | None = None
        # An inproc connection is there at once, and nobody tells of it. Of the others all have to be there before the
        # first request is passed on: a question on Stdin would find nobody.
        if self._kernel.transport != "inproc":
            frontend.connecting.add(channel)
            watch = connected
        socket = self._connect(zmq.DEALER, channel, identity if named else None, watch)
        frontend.sockets[channel] = socket
        self.adopt(socket, partial(self._replied, channel, identity))

    # Kernel to frontend

    def _published(self, frames: list[Frame]) -> None:
        self._record("<-", "iopub", frames)
        send(self._fronts["iopub"], frames)

    def _replied(self, channel: Channel, identity: bytes, frames: list[Frame]) -> None:
        addressed = [identity, *frames]
        self._record("<-", channel, addressed)
        send(self._fronts[channel], addressed)

    # Sockets and records

    def _unlimited(self, kind: int) -> Socket:
        """Return a socket that loses nothing."""
        socket = self.context.socket(kind)
        socket.linger = round(_LINGER_SECONDS * 1000)
        socket.rcvhwm = socket.sndhwm = 0
        return socket

    def _connect(
        self,
        kind: int,
        channel: Channel,
        identity: bytes | None = None,
        connected: Callable[[list[Frame]], None] | None = None,
    ) -> Socket:
        socket = self._unlimited(kind)
        if identity is not None:
            socket.setsockopt(zmq.IDENTITY, identity)
        reach(socket, self._kernel)
        if connected is not None:
            self.adopt(socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED), connected)
        socket.connect(self._kernel.endpoint(channel))
        return socket

    def _record(self, direction: Direction, channel: Channel, frames: list[Frame], note: str = "") -> None:
        seconds = self.clock.monotonic() - self._began
        if not note and channel != "hb":
            try:
                self._records.append(Record(direction, channel, seconds, decode(frames, self._signer)))
                return
            except WireError as error:
                note = str(error)
        kept = [bytes(frame) for frame in frames]
        self._records.append(Record(direction, channel, seconds, None, kept, note or "heartbeat"))
