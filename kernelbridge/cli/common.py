"""What the commands share: exit statuses, a mistake of the user, and an end by a signal."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import click

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


class BadInput(click.ClickException):
    """A mistake of the user: shown in one line."""

    exit_code = BAD_INPUT


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Let SIGTERM, and the SIGHUP of a terminal that is closed, end the program as an exception does.

    So what ran is kept and the kernel is ended. A signal that is ignored, as under nohup, stays so.
    """

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = {}
    try:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
