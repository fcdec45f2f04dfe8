"""A deadline that has passed already when a thread is about to sleep keeps it from sleeping."""

from __future__ import annotations

import threading

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.socket_bridge import Context, SocketBridge

DEADLINE = 30.0


class DueAgain(SocketBridge[None]):
    """Has a deadline that is long past, until it was kept three times."""

    def __init__(self, context: Context) -> None:
        super().__init__("due-again", context, SystemClock())
        self.kept = 0
        self.done = threading.Event()

    def open_sockets(self) -> None:
        """It needs none."""

    def deliver(self, item: None) -> None:
        """It is asked nothing."""

    def deadline(self) -> float | None:
        return None if self.done.is_set() else self.clock.monotonic() - 1.0

    def on_deadline(self) -> None:
        self.kept += 1
        if self.kept == 3:
            self.done.set()


def test_a_deadline_that_is_due_again_at_once_is_kept_at_once(context: Context) -> None:
    bridge = DueAgain(context)
    bridge.start()
    try:
        assert bridge.done.wait(DEADLINE)
    finally:
        bridge.stop()
    assert bridge.kept == 3
