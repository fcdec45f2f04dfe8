"""Who listens at a kernel's addresses, and how many are connected there. Linux alone tells it (/proc).

The owner of the listening socket is the kernel's process for certain, wherever its connection file has come from: a
kernel that is embedded in a program has no command line that names one.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import attrs

from kernelbridge.wire.connection import ConnectionInfo

_PROC: Final = Path("/proc")
_NET: Final = _PROC / "self" / "net"

# States of a socket in the kernel's tables: proc(5), and net/tcp_states.h and linux/net.h in Linux's sources.
_TCP_CONNECTED, _TCP_LISTENS = "01", "0A"
_UNIX_CONNECTED, _UNIX_LISTENS = "03", 0x10000


@attrs.frozen
class Listener:
    """The process that listens at an address, if it may be looked at, and how many are connected there."""

    pid: int | None
    connections: int


class _Socket(NamedTuple):
    address: str
    listens: bool
    inode: str


def iopub_listeners(kernels: Iterable[ConnectionInfo]) -> list[Listener | None]:
    """Return who listens at each kernel's IOPub; None where nobody does, or nobody can tell.

    There, for each frontend reads it once. To its own Shell ipykernel connects itself, too, for its debugger.
    """
    wanted = [_iopub_address(info) for info in kernels]
    if sys.platform != "linux":
        return [None] * len(wanted)
    listening: dict[str, str] = {}
    connected: dict[str, int] = {}
    for socket in (*_tcp_sockets("tcp"), *_tcp_sockets("tcp6"), *_unix_sockets()):
        if socket.address in wanted:
            if socket.listens:
                listening[socket.address] = socket.inode
            else:
                connected[socket.address] = connected.get(socket.address, 0) + 1
    owners = _owners(set(listening.values()))
    return [
        Listener(owners.get(listening[address]), connected.get(address, 0)) if address in listening else None
        for address in wanted
    ]


def _iopub_address(info: ConnectionInfo) -> str:
    """Return the address of IOPub as `_Socket` has it."""
    if info.transport == "ipc":
        return info.endpoint("iopub").removeprefix("ipc://")
    host = {"localhost": "127.0.0.1", "*": "0.0.0.0"}.get(info.ip, info.ip)  # noqa: S104 - what others listen at.
    return f"{host.strip('[]')} {info.iopub_port}"


def _tcp_sockets(table: str) -> Iterator[_Socket]:
    for fields in _rows(table):
        address, _, port = fields[1].partition(":")
        if fields[3] in (_TCP_CONNECTED, _TCP_LISTENS):
            # Words of 32 bits, each as the processor has it.
            words = (int(address[start : start + 8], 16) for start in range(0, len(address), 8))
            packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
            host = ipaddress.ip_address(packed)
            yield _Socket(f"{host} {int(port, 16)}", fields[3] == _TCP_LISTENS, fields[9])


def _unix_sockets() -> Iterator[_Socket]:
    for fields in _rows("unix", most=7):
        if len(fields) == 8:
            listens = bool(int(fields[3], 16) & _UNIX_LISTENS)
            if listens or fields[5] == _UNIX_CONNECTED:
                yield _Socket(fields[7], listens, fields[6])


def _rows(table: str, most: int = -1) -> Iterator[list[str]]:
    """Return the rows of a table, split at most so often: a path may hold blanks."""
    try:
        lines = (_NET / table).read_text(errors="surrogateescape").splitlines()
    except OSError:
        # This system has no such sockets.
        return
    for line in lines[1:]:
        yield line.split(maxsplit=most)


def _owners(inodes: set[str]) -> dict[str, int]:
    """Return which process has each socket. Of several, as after a fork, it is the first one."""
    owners: dict[str, int] = {}
    if not inodes:
        return owners
    names = {f"socket:[{inode}]": inode for inode in inodes}
    for folder in sorted((one for one in _PROC.iterdir() if one.name.isdecimal()), key=lambda one: int(one.name)):
        try:
            for descriptor in (folder / "fd").iterdir():
                inode = names.get(str(descriptor.readlink()))
                if inode is not None:
                    owners.setdefault(inode, int(folder.name))
        except OSError:
            # It has ended, or closed something, or is another user's.
            continue
    return owners
