"""GUI toolkits beside the cells: what `%gui` and `%matplotlib` ask of the shell.

The toolkit's loop runs on the main thread whenever asyncio has nothing to do there: between cells, and while a cell
awaits (see `bridges.host_loop`). A cell that computes, or waits in a system call, keeps the window waiting.

What a GUI callback shows belongs to the cell that runs, or else to the last one that ran, as with a plain thread: the
toolkits remember no context. It runs like any other code beside the cells: an interrupt is for cells alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from IPython.core.error import UsageError

from kernelbridge.bridges.guest_loop import GuestLoop
from kernelbridge.bridges.host_loop import Guest, HostLoop

NO_LOOP = ("inline", "nbagg", "notebook", "ipympl", "widget", "webagg")
"""What a frontend draws, and older versions of IPython and matplotlib ask for by name. It needs no loop here."""


def switch(gui: str | None, active: str | None) -> str | None:
    """Have the loop of `gui` run, or none, where that of `active` runs now. Returns the one that runs from now on.

    Raises `UsageError`, whose one line says what is missing.
    """
    if gui == "asyncio":
        print("asyncio always runs in this kernel: there is nothing to enable")  # noqa: T201 - it is the cell that asked.
        return active
    if gui in NO_LOOP:
        gui = None
    if gui == active:
        return active
    makers = {"tk": _tk, "qt": _qt, "qt5": _qt, "qt6": _qt}
    if gui is not None and gui not in makers:
        raise UsageError(f"no event loop for {gui!r} in this kernel: there are asyncio, {', '.join(makers)}")
    loop = asyncio.get_running_loop()
    if isinstance(loop, GuestLoop) and (gui is None or gui.startswith("qt")):
        # The program's own, which runs whatever a cell asks for.
        return gui
    if not isinstance(loop, HostLoop):
        raise UsageError("this kernel runs on the event loop of another program, which no GUI can join")
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("the event loop of a GUI runs in the main thread: ask for it there, not in a subshell")
    if gui is None:
        loop.dismiss()
        return None
    if active is not None:
        raise UsageError(f"the event loop of {active} runs: end it with %gui before you ask for {gui}")
    loop.invite(makers[gui](gui))
    return gui


# Each looks for what the toolkit needs, and returns what makes the guest.


def _tk(gui: str) -> Callable[[int], Guest]:
    try:
        from kernelbridge.python.gui_tk import TkGuest
    except ImportError as missing:
        raise UsageError(f"this Python has no Tk: {missing}") from None
    return TkGuest


def _qt(gui: str) -> Callable[[int], Guest]:
    from kernelbridge.python.gui_qt import QtGuest, find_binding

    binding = find_binding(gui)
    return lambda descriptor: QtGuest(binding, descriptor)
