"""What the commands share: exit statuses, mistakes of the user, and an end by a signal."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn, TypeVar

import click

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

T = TypeVar("T")


class BadInput(click.ClickException):
    """A mistake of the user: shown in one line."""

    exit_code = BAD_INPUT


def one_of(**given: object) -> str | None:
    """Return which of some options that exclude each other was given, by the name of its keyword, if any was.

    Raises UsageError when several were. An upper-case keyword is that of an argument.
    """
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        said = [name if name.isupper() else f"--{name.replace('_', '-')}" for name in names]
        raise click.UsageError(f"{' and '.join(said)} exclude each other.")
    return names[0] if names else None


def not_empty(_context: click.Context, _parameter: click.Parameter, value: T) -> T:
    """Refuse an empty text, as a shell makes it of a variable that is not set: it stands for no default."""
    if value == "":
        raise click.BadParameter("is empty.")
    return value


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
