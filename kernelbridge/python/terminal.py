"""Where the kernel was started: what it has to say of itself, and of its own end, goes there, and into no cell."""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import Any, TextIO


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
