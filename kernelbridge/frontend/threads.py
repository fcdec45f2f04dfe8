"""The threads that a link has for its kernel, beside the process's: how they begin and end together (F11)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import zmq

from kernelbridge.bridges.service import Service
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.frontend.channels import Channels
from kernelbridge.frontend.outbox import Outbox
from kernelbridge.frontend.registration import Registration


class Threads:
    """Those of the channels, and of the registration where there is one. Any thread may call it, none of them `stop`.

    Takes the ZMQ context, None for one of its own; the bridge's lock; and the outbox, which has the channels as long as
    they are open.
    """

    def __init__(self, context: Context | None, ordering: threading.Lock, outbox: Outbox) -> None:
        self._owns_context = context is None
        self.context: Context = zmq.Context() if context is None else context
        self._ordering = ordering
        self._outbox = outbox
        # Guarded by `ordering`.
        self._registration: Registration | None = None
        # Held by whoever begins or joins the channels' threads, or ends the context; taken before `ordering`, never
        # after.
        self._changing = threading.Lock()

    def begin(self, make: Callable[[], Channels | None]) -> None:
        """Begin the channels that `make` returns, if it returns any."""
        with self._changing:
            channels = make()
            if channels is None:
                return
            with self._ordering:
                self._outbox.channels = channels
            # Shell last: it is the one that says that the kernel is ready.
            for channel in reversed(channels.all()):
                channel.start()

    def register(self, registration: Registration) -> int:
        """Begin a registration, and return its port."""
        with self._ordering:
            self._registration = registration
        registration.start()
        return registration.port

    def begun(self) -> Channels | None:
        """Return the channels, also those that somebody is about to begin."""
        with self._changing, self._ordering:
            return self._outbox.channels

    def release(self) -> None:
        """Tell the threads to end. Does not wait for them, and so may be called on one of them."""
        for service in self._open():
            service.wake()

    def stop(self) -> None:
        """End the threads. Others can be begun in their place."""
        with self._ordering:
            registration = self._registration
        if registration is not None:
            # Without the lock: its thread may be about to begin the channels.
            registration.stop()
        with self._changing:
            for service in self._open():
                service.stop()
            with self._ordering:
                self._outbox.channels = self._registration = None

    def end(self) -> None:
        """End the threads, and the context with them."""
        self.stop()
        with self._changing:
            if self._owns_context and not self.context.closed:
                # Like term(), but also closes what a channel that could not be started has left.
                self.context.destroy(0)

    def _open(self) -> tuple[Service, ...]:
        with self._ordering:
            open_channels = self._outbox.channels
            channels: tuple[Service, ...] = () if open_channels is None else open_channels.all()
            return channels if self._registration is None else (self._registration, *channels)
