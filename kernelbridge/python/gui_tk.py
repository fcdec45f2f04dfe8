"""Tk's event loop as the guest of asyncio's."""

from __future__ import annotations

import math
import sys
import tkinter
from _tkinter import DONT_WAIT

from IPython.core.error import UsageError

EVENTS_IN_A_TURN = 100
"""How many events Tk may handle while asyncio has something to do."""


class TkGuest:
    """Handles the events of all Tk windows of the calling thread, whoever makes them. Takes the `descriptor` to watch.

    Raises `UsageError` when there is no display.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            tkinter.Tk().destroy()
        except tkinter.TclError as failure:
            raise UsageError(f"Tk has no display to show windows on: {failure}") from None
        self._descriptor = descriptor
        # An interpreter without a window: all of a thread's interpreters share one queue of events. One with a window
        # would become tkinter's default root, and take the widgets that a cell makes without naming theirs.
        self._tcl = tkinter.Tcl()
        self._woken = False

    def wait(self, seconds: float | None) -> None:
        self._woken = False
        if seconds == 0:
            for _ in range(EVENTS_IN_A_TURN):
                # What Tk does when it is idle, such as to show a window, it does when there are no other events.
                if not self._tcl.tk.dooneevent(DONT_WAIT) or self._woken:
                    break
        else:
            self._wait(None if seconds is None else math.ceil(seconds * 1000))
        # Runs nothing, as there are never that many windows, but raises the SystemExit that a callback has left.
        self._tcl.mainloop(sys.maxsize >> 32)

    def _wait(self, milliseconds: int | None) -> None:
        timer = None if milliseconds is None else self._tcl.tk.createtimerhandler(milliseconds, self.wake)
        self._tcl.tk.createfilehandler(self._descriptor, tkinter.READABLE, self._readable)
        try:
            # Not mainloop(), whose end is a flag that is global to the process: with a mainloop of the user's inside of
            # a callback, the inner one would take the end that is meant for this one.
            while not self._woken:
                self._tcl.tk.dooneevent(0)
        finally:
            self._tcl.tk.deletefilehandler(self._descriptor)
            if timer is not None:
                timer.deletetimerhandler()

    def wake(self) -> None:
        self._woken = True

    def close(self) -> None:
        """Nothing is watched outside of `wait`."""

    def _readable(self, file: object, mask: int) -> None:
        # It stays readable until asyncio has its turn: a loop of the user's inside of a callback would spin.
        self._tcl.tk.deletefilehandler(self._descriptor)
        self.wake()
