"""Folders that belong to a process for as long as it lives, and can be told from those that a crash has left (F11).

The lock on the file `owner` in such a folder alone says whether its owner lives: it is gone with its process, however
that has ended, while a process's number may have become somebody else's.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from kernelbridge.wire.connection import OWNER_FILE

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger("kernelbridge")

UNOWNED_SECONDS: Final = 60.0
"""The age from which a folder without owner is taken for one whose owner crashed before it had said so."""

# The locks of this process. A child that it forks inherits them, and is no owner.
_held: set[int] = set()


def _let_go_in_child() -> None:
    for lock in _held:
        os.close(lock)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go_in_child)


def own(folder: Path) -> int | None:
    """Lock a folder for this process, until it ends or lets go: `disown`.

    Returns None where there are no such locks: then nobody can take it over. Raises `OSError`.
    """
    if sys.platform == "win32":
        return None
    # Gets its name when it is locked, so that nobody finds it without its lock.
    lock, nameless = tempfile.mkstemp(dir=folder)
    _held.add(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as refusal:
        logger.debug("%s cannot be locked: %s", folder, refusal)
    Path(nameless).rename(folder / OWNER_FILE)
    return lock


def disown(lock: int | None) -> None:
    """Let go of a folder: it can be taken over, if it is still there. A forked child has let go already."""
    if lock in _held:
        _held.discard(lock)
        os.close(lock)


def take_over(folder: Path) -> int | None:
    """Return the lock on a folder of this user that nobody owns any more, as a descriptor to be closed."""
    if sys.platform == "win32":
        return None
    lock: int | None
    try:
        made = folder.lstat()
        # Where others can write, what looks like one of these folders may be made to have anything removed.
        if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.geteuid():
            return None
        lock = os.open(folder / OWNER_FILE, os.O_RDWR)
    except FileNotFoundError:
        lock = _lock_of_unowned(folder)
    except OSError as refusal:
        logger.debug("%s cannot be looked at: %s", folder, refusal)
        return None
    if lock is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
    return lock


def _lock_of_unowned(folder: Path) -> int | None:
    """Return a descriptor of a folder without owner, if it is older than any folder that is about to get one."""
    try:
        if time.time() - folder.stat().st_mtime < UNOWNED_SECONDS:
            return None
        return os.open(folder, os.O_RDONLY)
    except OSError:
        # It has been removed meanwhile.
        return None
