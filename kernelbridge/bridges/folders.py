"""Temporary folders with an owner: it removes them, or where it was killed, the next one that makes such a folder does.

A folder is owned as long as somebody holds a lock on it, which ends with the process that does, however that ends. A
process id in its name would prove nothing: such numbers are used again. systemd's cleaner of temporary files spares
what is locked so, too. On Windows a folder cannot be locked, and what a crash leaves stays.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class OwnFolder:
    """A folder among the temporary files, which is not made yet. `kind`: how the names of its like begin.

    Its name is one that nobody can have taken before, in a place where everybody may write. Used by one thread.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.path = Path(tempfile.gettempdir(), f"{kind}{secrets.token_hex(8)}")
        # Locked, while it is open.
        self._lock: int | None = None

    def make(self) -> None:
        """Make the folder, for this user alone, unless it is there; and remove those whose owners are gone.

        Raises OSError where it cannot be made.
        """
        # More than once, where somebody has taken it for left behind before it was locked.
        while not self._is_owned():
            self._let_go()
            _remove_left_behind(self.path.parent, self._kind)
            self.path.mkdir(mode=0o700)
            self._own()

    def remove(self) -> None:
        """Remove it with all that is in it. It need not be there."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._let_go()

    def _own(self) -> None:
        if sys.platform != "win32":
            with suppress(FileNotFoundError):
                self._lock = _opened(self.path)
                fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _is_owned(self) -> bool:
        if sys.platform == "win32":
            return self.path.exists()
        try:
            return self._lock is not None and os.path.samestat(os.fstat(self._lock), self.path.lstat())
        except FileNotFoundError:
            return False

    def _let_go(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _remove_left_behind(place: Path, kind: str) -> None:
    if sys.platform == "win32":
        return
    for path in place.glob(f"{kind}*"):
        # Another user's, no folder, owned, or removed by somebody else.
        with suppress(OSError):
            lock = _opened(path)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(lock)


if sys.platform != "win32":

    def _opened(folder: Path) -> int:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
