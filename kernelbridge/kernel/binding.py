"""Binding a channel's socket, on the thread that owns it, and removing what files that takes."""

from __future__ import annotations

import errno
import os
import socket as sockets
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import zmq

from kernelbridge.bridges.socket_bridge import Socket
from kernelbridge.wire.connection import (
    CHANNELS,
    CONNECTION_FILE_PREFIX,
    KERNEL_FOLDER_FILES,
    KERNEL_FOLDER_PREFIX,
    Channel,
    ConnectionInfo,
)
from kernelbridge.wire.errors import ConnectionFileError


def bind_channel(
    socket: Socket, info: ConnectionInfo, channel: Channel, linger_seconds: float, file: str
) -> ConnectionInfo:
    """Bind `socket` for `channel`, and return `info` with the port that it has.

    A port of 0 becomes a free one: for tcp the system's choice; for ipc and inproc, where a port is only a part of a
    name, the channel's place. Raises `ConnectionFileError`, which names `file`, when the endpoint cannot be bound.
    """
    socket.linger = int(linger_seconds * 1000)
    if info.curve_secretkey is not None and info.curve_publickey is not None:
        socket.curve_secretkey = info.curve_secretkey
        socket.curve_publickey = info.curve_publickey
        socket.curve_server = True
    if ":" in info.ip:
        socket.ipv6 = True
    if info.ports[channel] == 0 and info.transport != "tcp":
        info = info.with_ports({channel: CHANNELS.index(channel) + 1})
    endpoint = info.endpoint(channel)
    try:
        if _is_listened_to(info, channel):
            raise zmq.ZMQError(errno.EADDRINUSE)
        socket.bind(endpoint)
    except zmq.ZMQError as failure:
        problem = f"cannot be bound: {endpoint}: {failure.strerror}"
        raise ConnectionFileError(file, f"{channel}_port", problem) from None
    if info.ports[channel] == 0:
        bound = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        info = info.with_ports({channel: int(bound.rpartition(":")[2])})
    return info


def remove_files(info: ConnectionInfo, channels: Iterable[Channel]) -> None:
    """Remove the files of `channels` that were bound and are closed, where they have files. libzmq leaves them."""
    for channel in channels:
        if (file := _socket_file(info, channel)) is not None:
            file.unlink(missing_ok=True)


def _socket_file(info: ConnectionInfo, channel: Channel) -> Path | None:
    # A name that begins with @ is in Linux's abstract namespace.
    if info.transport != "ipc" or info.ip.startswith("@"):
        return None
    return Path(info.endpoint(channel).removeprefix("ipc://"))


def _is_listened_to(info: ConnectionInfo, channel: Channel) -> bool:
    """Return whether this is the socket file of a kernel that runs: libzmq would remove it, and cut that kernel off."""
    file = _socket_file(info, channel)
    if file is None or sys.platform == "win32":
        return False
    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.setblocking(False)
        # Who has no room for one more connection listens, too.
        return probe.connect_ex(os.fspath(file)) in (0, errno.EAGAIN)


def remove_left_behind(file: str, info: ConnectionInfo) -> None:
    """Remove what the launcher of a kernel would remove, if it were still there."""
    with suppress(OSError):
        Path(file).unlink()
    folders = {Path(info.ip).parent} if info.transport == "ipc" else set()
    if Path(file).name.startswith(CONNECTION_FILE_PREFIX):
        kernel_id = Path(file).stem.removeprefix(CONNECTION_FILE_PREFIX)
        folders.add(Path(file).parent / f"{KERNEL_FOLDER_PREFIX}{kernel_id}")
    for folder in folders:
        if folder.name.startswith(KERNEL_FOLDER_PREFIX):
            for name in KERNEL_FOLDER_FILES:
                with suppress(OSError):
                    (folder / name).unlink()
            # If it is empty: what else lies there is not the launcher's.
            with suppress(OSError):
                folder.rmdir()
