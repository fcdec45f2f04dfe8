"""Where the kernel was started: what it has to say of itself, and of its own end, goes there, and into no cell."""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import Any, TextIO


def open_standard_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that were closed when the process was started, on the null device.

    Else a socket gets such a number, and what a child process or C code writes to its stdout goes into that.
    """
    if os.name != "posix":
        return
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        # Python has looked when it started: somebody may have taken the number since.
        if getattr(sys, f"__{name}__") is None and not _is_open(descriptor):
            # It gets the lowest number that is free, which is this one: those below are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            stream = open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def open_terminal() -> TextIO | None:
    """Return a stream to where stderr goes now, whatever descriptor 2 is made to be later; None where there is none.

    A fatal error's traceback goes there, too: it is written when the process has no time left to show it in a cell.
    That holds also for who calls ``faulthandler.enable()`` in a cell, as many do by a habit.
    """
    if sys.__stderr__ is None:
        return None
    descriptor, encoding = os.dup(sys.__stderr__.fileno()), sys.__stderr__.encoding
    terminal = os.fdopen(descriptor, "w", buffering=1, encoding=encoding, errors="backslashreplace")
    enable = faulthandler.enable

    def enable_there(file: Any = None, all_threads: bool = True) -> None:
        enable(terminal if file in (None, sys.stderr, sys.__stderr__) else file, all_threads)

    faulthandler.enable = enable_there
    faulthandler.enable()
    return terminal
