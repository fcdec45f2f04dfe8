"""The program that started this kernel's process. The kernel ends with it (contract F11).

Who launches a kernel that is to end with it says so by a JPY_PARENT_PID in its environment, which names the launching
process (jupyter_client's launcher, unless the kernel is to be independent). A kernel that was started by hand, by nohup
or by systemd has none, and goes on when its parent ends.

That number alone proves nothing: it is inherited by what a kernel starts, it is forwarded to other machines, and pids
are used again. So it is believed where it is the parent of this process, or further up: a kernelspec may start its
kernel through a shell or another wrapper, which may outlive the launcher, or be killed in its place. Both are watched
then, and the end of either is the kernel's.

It stays in the environment, where programs look for it to know a notebook. So what a cell starts inherits it, and an
independent kernel would end with this one. Therefore each kernel says beside it which one it has heeded, and a kernel
that it has started does not heed that one again.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

logger = logging.getLogger("kernelbridge")

LOOK_SECONDS = 1.0
"""How often is looked whether the parent is still there, where the system cannot tell when it ends."""

HEEDED = "KERNELBRIDGE_HEEDED_PARENT_PID"
"""Says in the environment which JPY_PARENT_PID was meant for a kernel that runs already."""

_INIT = 1


class Parent:
    """The processes whose end is the kernel's: none, when nobody has named himself."""

    def __init__(self, launcher: int | None) -> None:
        self.descriptors: list[int] = []
        """Each is readable as soon as its process has ended."""
        self.gone = False
        """Whether it had ended already."""
        self.look_seconds: float | None = None
        """How often to ask `has_left`, where there is no descriptor to wait for."""
        self._pid = os.getppid()
        self._open = ExitStack()
        # 0 is a parent that this process cannot see: it is the first of a container.
        if launcher is None or self._pid == 0:
            return
        self._watch(self._pid)
        if not self.descriptors:
            self.look_seconds = LOOK_SECONDS
        if launcher != self._pid:
            self._watch_launcher(launcher)
        # It may have ended, and its number been given away, before it was watched.
        self.gone = self.gone or self.has_left()

    @classmethod
    def named(cls) -> Self:
        """Return the one that the environment names. On Windows none: there JPY_PARENT_PID is a handle, and no pid."""
        launcher = os.environ.get("JPY_PARENT_PID", "")
        if os.name != "posix" or not launcher.isdecimal() or int(launcher) <= _INIT:
            return cls(None)
        # A parent is never inherited. A kernel may have replaced itself in its own process.
        inherited = os.environ.get(HEEDED) == launcher and int(launcher) != os.getppid()
        os.environ[HEEDED] = launcher
        return cls(None if inherited else int(launcher))

    def has_left(self) -> bool:
        """Return whether the parent has ended: this process has another one then."""
        return os.getppid() != self._pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _watch(self, pid: int) -> None:
        try:
            if sys.platform == "linux" and hasattr(os, "pidfd_open"):
                descriptor = os.pidfd_open(pid)
                self._open.callback(os.close, descriptor)
                self.descriptors.append(descriptor)
            elif sys.platform != "linux" and hasattr(select, "kqueue"):
                queue = select.kqueue()
                self._open.callback(queue.close)
                end = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
                queue.control([end], 0)
                self.descriptors.append(queue.fileno())
        except ProcessLookupError:
            self.gone = True
        except OSError as refusal:
            # An old Linux has no such call, and a container may forbid it.
            logger.debug("process %d cannot be watched: %s", pid, refusal)

    def _watch_launcher(self, launcher: int) -> None:
        if self._pid == _INIT:
            # The system's init starts no kernels under another's name: it has adopted this process. A container's or a
            # sandbox's may be what the launcher has started: then this process is in init's session, or in one that is
            # not seen from inside. A launcher gives each kernel a session of its own.
            self.gone = os.getsid(0) not in (0, _INIT)
        elif launcher in _ancestors(self._pid):
            self._watch(launcher)
            # Looked at again, because it may have ended, and its number been given away.
            self.gone = self.gone or launcher not in _ancestors(self._pid)


def _ancestors(pid: int) -> set[int]:
    """Return the parent of a process, that one's parent, and so on: none where there is no /proc to tell."""
    found: set[int] = set()
    while pid > _INIT and pid not in found:
        try:
            # pid (name) state ppid ...: and a name may contain anything.
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            break
        pid = int(stat.rpartition(b")")[2].split()[1])
        found.add(pid)
    return found
