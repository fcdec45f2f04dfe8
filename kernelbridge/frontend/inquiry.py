"""Asks kernels that run, many at once and within a time, whether they listen, live and work.

For who only wants to know: a bridge would be five threads for each. Sockets are made, used and closed by the caller's
thread, which waits in one poll.
"""

from __future__ import annotations

import errno
import socket as sockets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import attrs
import zmq

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.socket_bridge import Context, Socket
from kernelbridge.frontend.channel import reach
from kernelbridge.wire.connection import Channel, ConnectionInfo
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode, encode
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.signing import Signer

_PING: Final = [b"", b"ping"]
_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)


@attrs.define
class Answer:
    """What a kernel has answered in time."""

    listens: bool = False
    echoes: bool = False
    """Whether its heartbeat does."""
    shell: dict[str, Any] | None = None
    """The content of its kernel_info_reply on Shell, where a kernel that works does not answer."""
    control: dict[str, Any] | None = None
    """The same on Control."""

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.echoes and self.shell is not None

    @property
    def info(self) -> dict[str, Any]:
        """The content of a kernel_info_reply; empty if none has come."""
        return self.shell or self.control or {}


def inquire(kernels: Sequence[ConnectionInfo], seconds: float) -> list[Answer]:
    """Ask all kernels at once, and return what each has answered within the time."""
    end = time.monotonic() + seconds
    answers = [Answer(listens) for listens in listening(kernels, seconds)]
    with _poller() as (context, poller, stack):
        asked: dict[Socket, tuple[Answer, Channel, Signer]] = {}
        for info, answer in zip(kernels, answers, strict=True):
            channels: tuple[Channel, ...] = ("hb", "shell", "control") if answer.listens else ()
            for channel in channels:
                socket = _connected(context, info, channel, stack)
                poller.register(socket, zmq.POLLIN)
                asked[socket] = answer, channel, Signer(info.key, info.signature_scheme)
                if channel == "hb":
                    socket.send_multipart(_PING)
                else:
                    _send(socket, info, "kernel_info_request", {})
        while not all(answer.complete for answer, _, _ in asked.values()):
            ready = poller.poll(_milliseconds(end))
            if not ready:
                break
            for socket, _ in ready:
                _take(socket.recv_multipart(), *asked[socket])
    return answers


def _take(frames: list[bytes], answer: Answer, channel: Channel, signer: Signer) -> None:
    if channel == "hb":
        answer.echoes = frames == _PING or answer.echoes
        return
    try:
        message = decode(frames, signer)
    except WireError:
        # Whoever listens there has not got the kernel's key: it has not answered.
        return
    if message.msg_type == "kernel_info_reply":
        if channel == "shell":
            answer.shell = message.content
        else:
            answer.control = message.content


def ask_once(
    info: ConnectionInfo, msg_type: str, content: dict[str, Any], seconds: float, *, until_gone: bool = False
) -> tuple[dict[str, Any] | None, bool]:
    """Ask a kernel on Control. Return the content of its reply, None if none came in time, and whether it has gone.

    Waits for the reply, or with `until_gone` for the end of the connection, which is that of the kernel.
    """
    end = time.monotonic() + seconds
    signer = Signer(info.key, info.signature_scheme)
    replied: dict[str, Any] | None = None
    gone = False
    with _poller() as (context, poller, stack):
        socket = _connected(context, info, "control", stack, connect=False)
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        stack.callback(monitor.close, 0)
        stack.callback(socket.disable_monitor)
        for one in (socket, monitor):
            poller.register(one, zmq.POLLIN)
        socket.connect(info.endpoint("control"))
        request = _send(socket, info, msg_type, content)
        while not gone and (replied is None or until_gone):
            ready = dict(poller.poll(_milliseconds(end)))
            if not ready:
                break
            if socket in ready:
                try:
                    message = decode(socket.recv_multipart(), signer)
                except WireError:
                    continue
                if message.parent_id == request.msg_id:
                    replied = message.content
            gone = monitor in ready and socket not in ready
    return replied, gone


def listening(kernels: Sequence[ConnectionInfo], seconds: float) -> list[bool]:
    """Say of each kernel whether anybody listens at its heartbeat's address. On this machine that is known at once."""
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        poller = zmq.Poller()
        trying: dict[int, int] = {}
        listens = [False] * len(kernels)
        for number, info in enumerate(kernels):
            problem, socket = _try(info, stack)
            listens[number] = problem == 0
            if socket is not None and problem in _UNDER_WAY:
                trying[socket.fileno()] = number
                poller.register(socket.fileno(), zmq.POLLOUT | zmq.POLLERR)
        while trying:
            ready = poller.poll(_milliseconds(end))
            if not ready:
                break
            for descriptor, _ in ready:
                number = trying.pop(descriptor)
                poller.unregister(descriptor)
                listens[number] = _error_of(descriptor) == 0
    return listens


def _try(info: ConnectionInfo, stack: ExitStack) -> tuple[int, sockets.socket | None]:
    """Begin to connect, and return the number of the error (0: connected), and the socket."""
    address: Any
    if info.transport == "ipc":
        if sys.platform == "win32":
            return errno.EAFNOSUPPORT, None
        family, address = sockets.AF_UNIX, info.endpoint("hb").removeprefix("ipc://")
    elif info.transport == "tcp":
        try:
            found = sockets.getaddrinfo(_host(info), info.hb_port, type=sockets.SOCK_STREAM)
        except OSError:
            return errno.EADDRNOTAVAIL, None
        family, address = found[0][0], found[0][4]
    else:
        # In the memory of its own process.
        return errno.EADDRNOTAVAIL, None
    socket = stack.enter_context(sockets.socket(family, sockets.SOCK_STREAM))
    socket.setblocking(False)
    return socket.connect_ex(address), socket


def _host(info: ConnectionInfo) -> str:
    return "127.0.0.1" if info.ip in ("*", "0.0.0.0") else info.ip.strip("[]")  # noqa: S104 - kernels listen there.


def _error_of(descriptor: int) -> int:
    socket = sockets.socket(fileno=descriptor)
    try:
        return socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_ERROR)
    finally:
        socket.detach()


@contextmanager
def _poller() -> Iterator[tuple[Context, zmq.Poller, ExitStack]]:
    """Give a context, a poller, and what closes the sockets before the context ends."""
    context: Context = zmq.Context()
    try:
        with ExitStack() as stack:
            yield context, zmq.Poller(), stack
    finally:
        context.destroy(0)


def _connected(
    context: Context, info: ConnectionInfo, channel: Channel, stack: ExitStack, *, connect: bool = True
) -> Socket:
    socket = context.socket(zmq.DEALER)
    stack.callback(socket.close, 0)
    reach(socket, info)
    if connect:
        socket.connect(info.endpoint(channel))
    return socket


def _send(socket: Socket, info: ConnectionInfo, msg_type: str, content: dict[str, Any]) -> Message:
    message = Message(Session(SystemClock().now).header(msg_type), content)
    socket.send_multipart(encode(message, Signer(info.key, info.signature_scheme)))
    return message


def _milliseconds(end: float) -> int:
    return max(0, round((end - time.monotonic()) * 1000))
