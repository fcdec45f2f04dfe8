"""Heartbeat as the frontend uses it: pings that the kernel echoes, and when it last did.

What to make of a kernel that does not echo is decided elsewhere (liveness.py).

The specification has a REQ socket here. A DEALER that puts the empty frame of a REQ before its ping is the same to the
kernel, and is not barred from asking again when an echo stays out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import zmq

from kernelbridge.bridges.socket_bridge import Frame, send
from kernelbridge.frontend.channel import Channel, Wiring
from kernelbridge.frontend.liveness import Pulse

_PING: Final = [b"", b"ping"]


@attrs.frozen
class Ping:
    """Asks for a ping."""


class Heartbeat(Channel[Ping]):
    """Pings when it connects, every `beat_seconds` after the first echo (None: no more), and when it is asked to.

    `on_silence` is called on the thread, as often, while the kernel does not echo any more or, after the time that this
    takes, has not begun to: it is given whether it ever has.
    """

    channel = "hb"
    kind = zmq.DEALER

    def __init__(self, wiring: Wiring, beat_seconds: float | None, on_silence: Callable[[bool], None]) -> None:
        super().__init__(wiring)
        self._on_silence = on_silence
        # Owned by the thread.
        self._pulse = Pulse(beat_seconds)
        self._waiting = False
        self._last_beat: float | None = None

    @property
    def last_beat(self) -> float | None:
        """When the last echo came, on the clock's monotonic scale; None before the first."""
        return self._last_beat

    def ping(self) -> None:
        """Ping, unless the last ping's echo is still to come. For any thread."""
        self.put(Ping())

    # On the thread

    def open_sockets(self) -> None:
        super().open_sockets()
        # A ping that nobody answers is not worth waiting for.
        self.linger = 0
        self.perform(Ping())
        self._pulse.begin(self.clock.monotonic())

    def perform(self, item: Ping) -> None:
        if not self._waiting:
            self._waiting = True
            send(self.socket, _PING)

    def deadline(self) -> float | None:
        return self._pulse.due()

    def on_deadline(self) -> None:
        said = self._pulse.beat(self.clock.monotonic())
        if said in ("mute", "hung"):
            self._on_silence(said == "hung")
        if said in ("ping", "hung"):
            # One that was hung may come back, and an echo may have been lost.
            self._waiting = True
            send(self.socket, _PING)

    def read(self, frames: list[Frame]) -> None:
        self._waiting = False
        if frames == _PING:
            self._last_beat = self.clock.monotonic()
            self._pulse.echoed()
        else:
            self.wiring.strays.count(self.channel, "not an echo", f"{len(frames)} frames")
