"""Where a step takes place, and that nothing is left of it (contract F11)."""

from __future__ import annotations

import logging
import os
import select
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from kernelbridge.frontend.processes import kill_marked, seen
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.connection import KERNEL_FOLDER_PREFIX
from tests.support.leftovers import child_processes, nothing_left
from tests.support.running import install_deno

MARK: Final = "KERNELBRIDGE_CHAOS"
"""The environment variable by which all processes of a step are known."""


class Room:
    """Folders for all that the steps of one process write. The paths are short enough for IPC sockets."""

    def __init__(self, folder: Path) -> None:
        self.runtime = folder / "r"
        self.temporary = folder / "t"
        self._folder = folder

    def enter(self) -> None:
        """Make this process, and those that it starts, write here."""
        self.temporary.mkdir()
        install_deno(self._folder / "jupyter" / "kernels")
        os.environ |= {
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTER_PATH": str(self._folder / "jupyter"),
            "IPYTHONDIR": str(self._folder / "ipython"),
            "XDG_CACHE_HOME": str(self._folder / "cache"),
            "DENO_DIR": str(self._folder / "deno"),
            "TMPDIR": str(self.temporary),
        }
        tempfile.tempdir = None

    def mark(self, step: str) -> dict[str, str]:
        """Return the mark of a step's processes, which no other run uses at the same time."""
        return {MARK: f"{self._folder.name} {step}"}

    @contextmanager
    def emptied(self, step: str) -> Iterator[dict[str, str]]:
        """Give the mark of a step, and hold that the step leaves nothing and no thread fails in it."""
        mark = self.mark(step)
        children_before = set(child_processes())
        with nothing_left(), _nothing_wrong():
            yield mark
        assert not (left := processes(mark)), f"processes are left: {left}"
        assert not (children := set(child_processes()) - children_before), f"child processes are left: {children}"
        # What a kernel that was killed leaves there of its own is none of the library's.
        sockets = self.temporary.glob(f"{KERNEL_FOLDER_PREFIX}*")
        files = [str(file) for file in (*self.runtime.glob("**/*"), *sockets)]
        assert not files, f"files are left: {files}"

    def clear(self, step: str) -> None:
        """End the processes of a step that has gone wrong, so that the next one does not suffer for it."""
        ((name, value),) = self.mark(step).items()
        with waiting_for_end(processes({name: value})):
            kill_marked(f"{name}={value}")


def processes(mark: dict[str, str]) -> list[int]:
    """Return the processes that run and carry a mark."""
    ((name, value),) = mark.items()
    found = []
    for process in seen():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            # Another user's, or it has ended.
            continue
        if f"{name}={value}".encode() in environment.split(b"\0"):
            found.append(process.pid)
    return found


@contextmanager
def waiting_for_end(pids: list[int]) -> Iterator[None]:
    """Hold that these processes have ended soon after the block."""
    with ExitStack() as stack:
        descriptors = []
        for pid in pids:
            try:
                descriptors.append(os.pidfd_open(pid))
            except ProcessLookupError:
                continue
            stack.callback(os.close, descriptors[-1])
        yield
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], DEADLINE)[0], "a process goes on"


@contextmanager
def _nothing_wrong() -> Iterator[None]:
    """Hold that no thread ends with an exception and that the library has no error to report."""
    wrong: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            wrong.append(self.format(record))

    def crashed(arguments: threading.ExceptHookArgs) -> None:
        wrong.append(f"{arguments.thread} has ended with {arguments.exc_value!r}")

    listener, hook = Listener(logging.ERROR), threading.excepthook
    logging.getLogger("kernelbridge").addHandler(listener)
    threading.excepthook = crashed
    try:
        yield
    finally:
        threading.excepthook = hook
        logging.getLogger("kernelbridge").removeHandler(listener)
    assert not wrong, "\n".join(wrong)
