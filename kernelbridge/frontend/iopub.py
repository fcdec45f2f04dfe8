"""IOPub as the frontend reads it: everything the kernel shows, in the order in which it shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

import zmq

from kernelbridge.bridges.socket_bridge import Frame, Socket
from kernelbridge.frontend.channel import Channel, Wiring
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode
from kernelbridge.wire.messages import Message


class Iopub(Channel[Never]):
    """Hands on what was read, in batches: `on_batch` is called on the thread with the messages of one row of reads.

    `on_first` is called once, before the first batch is handed on: the subscription has reached the kernel (JEP 65).
    """

    channel = "iopub"
    kind = zmq.SUB

    def __init__(self, wiring: Wiring, on_batch: Callable[[list[Message]], None], on_first: Callable[[], None]) -> None:
        super().__init__(wiring)
        self._on_batch = on_batch
        self._on_first: Callable[[], None] | None = on_first
        self._batch: list[Message] = []

    def prepare(self, socket: Socket) -> None:
        socket.set(zmq.SUBSCRIBE, b"")

    def read(self, frames: list[Frame]) -> None:
        try:
            self._batch.append(decode(frames, self._signer, self._guard, self._limits))
        except WireError as error:
            self.wiring.strays.refuse(self.channel, error)

    def after_reads(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            if self._on_first is not None:
                self._on_first()
                self._on_first = None
            self._on_batch(batch)
