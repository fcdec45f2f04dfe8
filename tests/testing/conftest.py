"""A test of the kit leaves nothing: no thread, no descriptor. And a peer that is no kernel, for what no kernel does."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
import zmq

from kernelbridge.bridges.socket_bridge import Context, Socket
from kernelbridge.wire.connection import CHANNELS, Channel, ConnectionInfo, random_key
from kernelbridge.wire.signing import Signer
from tests.support.leftovers import nothing_left


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with nothing_left():
        yield


@attrs.frozen
class Peer:
    """Bound sockets with nobody behind them: the test itself says what comes from them."""

    connection: ConnectionInfo
    context: Context
    sockets: dict[Channel, Socket]

    @property
    def signer(self) -> Signer:
        return Signer(self.connection.key)


@pytest.fixture
def peer() -> Iterator[Peer]:
    context: Context = zmq.Context()
    ports = {channel: number for number, channel in enumerate(CHANNELS, 1)}
    info = ConnectionInfo(transport="inproc", ip="peer", key=random_key()).with_ports(ports)
    sockets: dict[Channel, Socket] = {}
    for channel in ("iopub", "shell", "control", "stdin"):
        sockets[channel] = context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER)
        sockets[channel].bind(info.endpoint(channel))
    yield Peer(info, context, sockets)
    for socket in sockets.values():
        socket.close(0)
    context.term()
