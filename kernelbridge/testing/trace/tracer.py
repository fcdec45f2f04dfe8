"""The tracer: what passes between a running kernel and its frontends, as it comes.

Of any kernel it sees what is published on IOPub. A kernel of kernelbridge's shows all its channels, in one order: it
is asked on Control (see `kernelbridge.kernel.trace`). Until it has answered IOPub is all there is to see, and the two
views are joined by the numbers of IOPub's messages (contract K9): the first of them that the kernel hands over itself
is where the one view ends and the other begins, without a gap and without a repeat.

What the tracer itself asks of the kernel, and what that causes, is not shown.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

import attrs
import zmq

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.folders import OwnFolder
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket, receive
from kernelbridge.frontend.channel import reach
from kernelbridge.frontend.find import KernelNotFoundError
from kernelbridge.kernel.trace import TRACE_FEATURE, TRACE_REQUEST, copy_bytes
from kernelbridge.testing.transcripts.records import Direction, Record
from kernelbridge.wire.connection import Channel, ConnectionInfo
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode, encode
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.packing import unpack
from kernelbridge.wire.signing import Signer

__all__ = ["Note", "Tracer"]

_LOST: Final = zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED

_ROW_LENGTH: Final = 1000
"""How many messages are read from one socket before the others get their turn."""


@attrs.frozen
class Note:
    """Something to know about the trace, on one line. `kind` tells what it is about.

    ``gap``: messages that the numbers say there are, and nobody saw. ``dropped``: messages that the kernel could not
    show, because too much was unread.
    """

    kind: Literal["view", "gap", "dropped", "gone"]
    text: str


class Tracer:
    """Traces the kernel at `info` for the time of a `with` block. Used by one thread.

    It can be iterated over once, and ends when the kernel has gone. Messages have to be read as they come: a kernel
    drops what it would have to keep for long. Raises `KernelNotFoundError` when none listens.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._signer = Signer(info.key, info.signature_scheme)
        self._session = Session(SystemClock().now)
        self._began = time.time()
        self._context: Context = zmq.Context()
        self._poller = zmq.Poller()
        self._stack = ExitStack()
        self._iopub: Socket
        self._iopub_monitor: Socket
        self._control: Socket
        self._copies: Socket | None = None
        self._copies_monitor: Socket | None = None
        # Whether the kernel was asked for all channels: IOPub waits, until it is known where the two views meet.
        self._asked = False
        self._meets_at: int | None = None
        self._joined = False
        self._behind: deque[Record] = deque()
        self._held: list[Record | Note] = []
        # The last number that was shown.
        self._last: int | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._context.term)
            self._iopub = self._connected(zmq.SUB, "iopub", stack)
            self._iopub_monitor = self._monitored(self._iopub, stack)
            self._control = self._connected(zmq.DEALER, "control", stack)
            self._iopub.connect(self._info.endpoint("iopub"))
            self._control.connect(self._info.endpoint("control"))
            self._ask("kernel_info_request")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Record | Note]:
        gone = False
        while True:
            ready = {socket for socket, _ in self._poller.poll(0 if gone else None)}
            if gone and not ready:
                yield from self._left()
                yield Note("gone", "the kernel has gone")
                return
            # Looked at first: what the kernel sent before it went is there to be read then.
            gone = self._has_gone(ready) or gone
            yield from self._control_has()
            yield from self._iopub_has()
            yield from self._copies_have()

    # Sockets

    def _connected(self, kind: int, channel: Channel, stack: ExitStack) -> Socket:
        socket = self._socket(kind, stack)
        reach(socket, self._info)
        if channel == "iopub":
            socket.subscribe(b"")
        return socket

    def _socket(self, kind: int, stack: ExitStack) -> Socket:
        socket = self._context.socket(kind)
        stack.callback(socket.close, 0)
        socket.linger = 0
        # Nothing is lost here; what waits is bounded by the kernel.
        socket.rcvhwm = socket.sndhwm = 0
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _monitored(self, socket: Socket, stack: ExitStack) -> Socket:
        monitor = socket.get_monitor_socket(_LOST)
        stack.callback(monitor.close, 0)
        stack.callback(socket.disable_monitor)
        self._poller.register(monitor, zmq.POLLIN)
        return monitor

    @staticmethod
    def _read(socket: Socket) -> list[list[Frame]]:
        rows: list[list[Frame]] = []
        try:
            while len(rows) < _ROW_LENGTH:
                rows.append(receive(socket))
        except zmq.Again:
            pass
        return rows

    def _has_gone(self, ready: set[Socket]) -> bool:
        """Return whether that has been closed on which messages come."""
        if self._copies_monitor in ready:
            self._copies_monitor.recv_multipart()
            if self._joined:
                return True
        if self._iopub_monitor not in ready:
            return False
        # Once is enough: the socket goes on trying to connect. (It must not be told to try once, with a RECONNECT_IVL
        # of -1: it would forget what has come and was not read.)
        self._poller.unregister(self._iopub_monitor)
        # A number of 16 bits first ("zmq_socket_monitor" in ZeroMQ's reference).
        event = int.from_bytes(self._iopub_monitor.recv_multipart()[0][:2], sys.byteorder)
        if event == zmq.EVENT_CLOSED:
            raise KernelNotFoundError(f"no kernel listens at {self._info.endpoint('iopub')}")
        return not self._joined

    def _ask(self, msg_type: str, **content: str) -> None:
        message = Message(self._session.header(msg_type), dict(content))
        self._control.send_multipart(encode(message, self._signer))

    # What the kernel says on Control

    def _control_has(self) -> Iterator[Record | Note]:
        for frames in self._read(self._control):
            try:
                message = decode(frames, self._signer)
            except WireError as error:
                yield Note("view", f"IOPub alone: what the kernel answers on Control cannot be read: {error}")
                continue
            if message.msg_type == "kernel_info_reply":
                yield from self._is_known(message.content)
            elif message.content.get("status") == "ok":
                yield Note("view", "all channels, as the kernel's threads receive and send")
            else:
                self._asked = False
                yield Note("view", f"IOPub alone: the kernel says: {message.content.get('evalue')}")
                yield from self._left()

    def _is_known(self, info: Mapping[str, Any]) -> Iterator[Note]:
        features = info.get("supported_features")
        if not isinstance(features, list) or TRACE_FEATURE not in features:
            name = info.get("implementation") or "this kernel"
            yield Note("view", f"IOPub alone: {name} does not show what passes on its other channels")
            return
        folder = OwnFolder("kernelbridge-trace-")
        folder.make()
        self._stack.callback(folder.remove)
        endpoint = f"ipc://{folder.path}/t"
        copies = self._socket(zmq.DEALER, self._stack)
        monitor = self._monitored(copies, self._stack)
        try:
            copies.bind(endpoint)
        except zmq.ZMQError as failure:
            yield Note("view", f"IOPub alone: {endpoint} cannot be bound: {failure.strerror}")
            return
        self._copies, self._copies_monitor = copies, monitor
        self._asked = True
        self._ask(TRACE_REQUEST, endpoint=endpoint)

    # What is seen of messages

    def _iopub_has(self) -> Iterator[Record | Note]:
        if self._joined:
            return
        for frames in self._read(self._iopub):
            seen = self._seen("<-", "iopub", time.time() - self._began, frames)
            if self._asked:
                self._behind.append(seen)
            else:
                yield from self._shown(seen)
        yield from self._join()

    def _copies_have(self) -> Iterator[Record | Note]:
        if self._copies is None:
            return
        read = 0
        for frames in self._read(self._copies):
            about = cast(dict[str, Any], unpack(bytes(frames[0])))
            copied: list[Record | Note] = []
            if about["dropped"]:
                text = f"{about['dropped']} messages are not shown: more was unread than the kernel keeps"
                copied.append(Note("dropped", text))
            if about["channel"]:
                seconds = datetime.fromisoformat(about["date"]).timestamp() - self._began
                seen = self._seen(about["direction"], about["channel"], seconds, frames[1:])
                copied.append(seen)
                read += copy_bytes(frames[1:])
                if self._meets_at is None:
                    self._meets_at = _number(seen)
            if self._joined:
                for item in copied:
                    yield from self._shown(item)
            else:
                self._held += copied
        # When they have been taken, so that who shows them slowly lets the kernel drop what it cannot keep.
        if read:
            # To nobody, when the kernel has gone.
            with contextlib.suppress(zmq.Again):
                self._copies.send(b"%d" % read, zmq.NOBLOCK)
        yield from self._join()

    def _join(self) -> Iterator[Record | Note]:
        """Go over to what the kernel hands over, when IOPub has come to the first number of that."""
        if self._meets_at is None or self._joined:
            return
        while self._behind:
            seen = self._behind.popleft()
            number = _number(seen)
            if number is not None and number >= self._meets_at:
                self._joined = True
                self._poller.unregister(self._iopub)
                self._iopub.unsubscribe(b"")
                yield from self._left()
                return
            yield from self._shown(seen)

    def _left(self) -> Iterator[Record | Note]:
        """Return what waits for the two views to be joined."""
        if not self._joined:
            for seen in self._behind:
                yield from self._shown(seen)
        self._behind.clear()
        for item in self._held:
            number = _number(item)
            if number is None or self._last is None or number > self._last:
                yield from self._shown(item)
        self._held.clear()

    def _seen(self, direction: Direction, channel: Channel, seconds: float, frames: Sequence[Frame]) -> Record:
        try:
            message = decode(frames, self._signer)
        except WireError as error:
            return Record(direction, channel, seconds, None, [bytes(frame) for frame in frames], str(error))
        return Record(direction, channel, seconds, message)

    def _shown(self, item: Record | Note) -> Iterator[Record | Note]:
        number = _number(item)
        if number is not None:
            if self._last is not None and number != self._last + 1:
                yield Note("gap", _gap(self._last, number))
            self._last = number
        if isinstance(item, Note) or not self._is_own(item):
            yield item

    def _is_own(self, seen: Record) -> bool:
        message = seen.message
        if message is None:
            return False
        parent = message.parent
        own = self._session.session_id
        return message.header.session == own or (parent is not None and parent.session == own)


def _number(item: Record | Note) -> int | None:
    if isinstance(item, Note) or item.message is None or item.channel != "iopub":
        return None
    return item.message.seq


def _gap(last: int, number: int) -> str:
    if number == last:
        return f"number {number} comes again"
    if number < last:
        return f"number {number} comes behind number {last}"
    missing = number - last - 1
    if missing == 1:
        return f"1 message is missing: number {last + 1}"
    return f"{missing} messages are missing: numbers {last + 1} to {number - 1}"
