"""Proof that nothing is left behind: threads, descriptors, child processes, files."""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import zmq
from jupyter_core.utils import ensure_event_loop


def _start_what_stays() -> None:
    """Let others make what lives as long as the process: pyzmq its thread, which frees what was sent without a copy,
    and jupyter_client's blocking client its event loop."""
    ensure_event_loop()
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://zero-copy")
        other.connect("inproc://zero-copy")
        one.send(bytes(2**20), copy=False)
        other.recv()


_start_what_stays()


def descriptors() -> Counter[str]:
    """Return what the open descriptors of this process are, and how many of each kind. Empty where nobody can tell."""
    if sys.platform != "linux":
        return Counter()
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            # The descriptor of the listing itself.
            continue
        # Sockets and pipes are named by an inode, which says nothing.
        found[target.partition(":[")[0]] += 1
    return found


def threads() -> set[threading.Thread]:
    """Return the threads that live."""
    return {thread for thread in threading.enumerate() if thread.is_alive()}


@contextmanager
def nothing_left() -> Iterator[None]:
    """Hold that the block leaves no thread and no descriptor that was not there before."""
    gc.collect()
    # What is there then is set aside: to look through all that the tests have imported took a third of their time.
    gc.freeze()
    threads_before, descriptors_before = threads(), descriptors()
    yield
    gc.collect()
    if threads() - threads_before or descriptors() - descriptors_before:
        # A block inside of this one has set aside what was this one's.
        gc.unfreeze()
        gc.collect()
    left = threads() - threads_before
    assert not left, f"threads are left: {left}"
    opened = descriptors() - descriptors_before
    assert not opened, f"descriptors are left: {dict(opened)}"


def child_processes() -> list[str]:
    """Return the child processes of this process that still run."""
    return [str(child) for child in psutil.Process().children(recursive=True)]
