"""A poller that waits until a time of a clock, for a thread that waits for a socket now and then.

A thread that does nothing else is a socket bridge.
"""

from __future__ import annotations

import math
import time
from typing import Never, Self

import zmq

from kernelbridge.bridges.channel_bridge import ChannelBridge
from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.socket_bridge import Context, Socket


class ClockPoller:
    """Polls sockets. Used and closed by the thread that makes it, which the clock knows by `name`."""

    def __init__(self, context: Context, clock: Clock, name: str) -> None:
        self._clock = clock
        self._name = name
        self._rings: ChannelBridge[Never] = ChannelBridge(context)
        self._ear = self._rings.open()
        self._poller = zmq.Poller()
        self.register(self._ear)

    def register(self, socket: Socket) -> None:
        """Poll `socket` from now on, for what can be read."""
        self._poller.register(socket, zmq.POLLIN)

    def unregister(self, socket: Socket) -> None:
        """Poll it no more."""
        self._poller.unregister(socket)

    def poll(self, due: float | None, guard: float = math.inf) -> set[Socket]:
        """Wait until something can be read, or until the clock's monotonic time is `due`, and return what can be.

        `guard` is how many seconds that may take in real time: for who would not wait for ever when the clock stands.
        """
        give_up = time.monotonic() + guard
        with self._clock.attend(self._name, self._rings.ring) as attendance:
            while True:
                # Rings come from now on.
                self._rings.rest()
                patience = attendance.patience(due)
                left = min(math.inf if patience is None else patience, max(0.0, give_up - time.monotonic()))
                milliseconds = None if left == math.inf else math.ceil(left * 1000)
                ready = {socket for socket, _ in self._poller.poll(milliseconds)}
                if self._ear in ready:
                    self._rings.answer()
                    ready.remove(self._ear)
                if ready or left == 0:
                    return ready

    def close(self) -> None:
        """Let go of all. The sockets are their owners'."""
        self._rings.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
