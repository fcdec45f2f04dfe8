"""The process group of a kernel: what a kernel has started, and not detached, ends with its process.

When the exit hooks have run, and not before: a worker of a multiprocessing.Pool that is killed may hold the lock that
the pool's own hook waits for.

Only a group that is the kernel's own. Launchers start each kernel in a session of its own, which nobody else can join.
A kernel that was started by hand is in a job of the shell's session, where others may be, and may even lead it: with
``kernel | tee log`` it does.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

TERMINATE_SECONDS = 0.5
"""How long they may take to end of SIGTERM before they are killed. In real time, as all that other processes do."""

_TRACKER = b"resource_tracker"


def end_group_at_exit() -> None:
    """Have `end_group` called when this process exits. A forked child inherits that, and has no such group."""
    kernel = os.getpid()
    atexit.register(lambda: end_group() if os.getpid() == kernel else None)


def end_group(seconds: float = TERMINATE_SECONDS) -> None:
    """End the other processes in this one's group, if its session is its own: by SIGTERM, after `seconds` by SIGKILL.

    On another thread than the main one, by SIGKILL at once. Where no /proc says who they are, by SIGTERM alone.
    """
    if os.name != "posix" or os.getsid(0) != os.getpid():
        return
    if threading.current_thread() is threading.main_thread():
        _terminate()
    else:
        seconds = 0
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        _kill(seconds)


def _terminate() -> None:
    """Send SIGTERM to all, also to those that are being forked, in one call. It does not reach this process."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        os.killpg(0, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def _kill(seconds: float) -> None:
    with ExitStack() as stack:
        waiting = select.poll()
        left: set[int] = set()
        for pid in _members():
            with suppress(OSError):
                # Killed by this: the number may be another process's by then.
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                waiting.register(descriptor, select.POLLIN)
                left.add(descriptor)
        give_up = time.monotonic() + seconds
        while left and (rest := give_up - time.monotonic()) > 0:
            for descriptor, _ in waiting.poll(rest * 1000):
                waiting.unregister(descriptor)
                left.remove(descriptor)
        for descriptor in left:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def _members() -> Iterator[int]:
    """Find the others. Not among them: what multiprocessing and joblib leave to clean up after this very process.

    Such a tracker ignores SIGTERM, and ends by itself when this process has.
    """
    me = os.getpid()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == str(me):
            continue
        with suppress(OSError):
            if os.getpgid(int(entry.name)) == me and _TRACKER not in (entry / "cmdline").read_bytes():
                yield int(entry.name)
