"""IOPub as the frontend reads it: everything the kernel shows, in the order in which it shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Never

import zmq

from kernelbridge.bridges.socket_bridge import Frame, Socket
from kernelbridge.frontend.channel import Channel, Wiring
from kernelbridge.frontend.subscribers import Batch
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode
from kernelbridge.wire.messages import Buffer, Message

# Shared by all messages that have none, and never changed, since one message has many readers. Every container that an
# execution keeps is looked at by the garbage collector again and again: with lists of their own, 50,000 messages took a
# fifth longer. The topic is dropped for the same reason; the header says the same.
_NO_IDENTITIES: Final[list[bytes]] = []
_NO_BUFFERS: Final[list[Buffer]] = []


class Iopub(Channel[Never]):
    """Hands on what was read, in batches: `on_batch` is called on the thread with the messages of one row of reads."""

    channel = "iopub"
    kind = zmq.SUB

    def __init__(self, wiring: Wiring, on_batch: Callable[[list[Message]], None]) -> None:
        super().__init__(wiring)
        self._on_batch = on_batch
        self._batch = Batch()

    def prepare(self, socket: Socket) -> None:
        socket.set(zmq.SUBSCRIBE, b"")

    def read(self, frames: list[Frame]) -> None:
        try:
            message = decode(frames, self._signer, self._guard, self._limits)
        except WireError as error:
            self.wiring.strays.refuse(self.channel, error)
            return
        message.identities = _NO_IDENTITIES
        if not message.buffers:
            message.buffers = _NO_BUFFERS
        self._batch.append(message)
        self._batch.size += sum(map(len, frames))

    def after_reads(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, Batch()
            self._on_batch(batch)
