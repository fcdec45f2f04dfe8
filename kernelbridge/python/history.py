"""The history's saving thread, paced, so that it does not get in the way of the very cell that it saves.

IPython wakes that thread with each cell, and it takes the interpreter from the cell for its transaction. Here it writes
what has come within a moment as one: a fifth of a short cell's time is saved, and at most that moment is lost by a
kernel that is killed.
"""

from __future__ import annotations

import threading
from typing import Any

PAUSE_SECONDS = 0.05
"""In real time, whatever the kernel's clock is: the thread is IPython's, and no frontend sees what it does."""


class PacedFlag(threading.Event):
    """The flag that tells the thread to write. Whoever waits for it goes on a moment after it was set."""

    def __init__(self) -> None:
        super().__init__()
        self._hurry = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        told = super().wait(timeout)
        self._hurry.wait(PAUSE_SECONDS)
        return told

    def hurry(self) -> None:
        """Let the thread write at once from now on, because the kernel ends."""
        self._hurry.set()
        self.set()


def pace(history_manager: Any) -> PacedFlag | None:
    """Pace the saving thread of IPython's history manager, if it has one."""
    thread = history_manager.save_thread
    if thread is None:
        return None
    before, flag = thread.save_flag, PacedFlag()
    thread.save_flag = flag
    # The thread waits for the flag that it had; this sends it on to the new one.
    before.set()
    return flag
