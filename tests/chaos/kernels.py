"""The kernels that are started, what they are asked to run, and the ids of their processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from unittest.mock import patch

import attrs
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from kernelbridge.frontend.files import Files
from kernelbridge.testing import DEADLINE
from tests.support.running import find_deno

KERNELS: Final = ("kernelbridge", "python3", "deno")


@attrs.frozen
class Codes:
    """What a kernel is asked to run: something short, and what has no end, with output and without."""

    quick: str
    prints: str
    sleeps: str


_PYTHON: Final = Codes("1 + 1", "while True: print('x' * 50, flush=True)", "import time; time.sleep(10_000)")
_DENO: Final = Codes("1 + 1", "while (true) console.log('x')", "await new Promise((done) => setTimeout(done, 1e7))")
CODES: Final = {"kernelbridge": _PYTHON, "python3": _PYTHON, "deno": _DENO}

START_SECONDS: Final = {"kernelbridge": 0.5, "python3": 1.2, "deno": 0.6}
"""About how long a start takes: the moments at which one is disturbed are spread over this."""


def installed() -> list[str]:
    """Return the names of those kernels that are there."""
    found = ["kernelbridge"]
    with suppress(NoSuchKernel):
        KernelSpecManager().get_kernel_spec("python3")
        found.append("python3")
    if find_deno() is not None:
        found.append("deno")
    return found


class Processes:
    """The kernel processes that this process has started, in their order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # Held, so that a number cannot become another process's. Guarded by the condition.
        self._descriptors: list[int] = []

    @contextmanager
    def watched(self) -> Iterator[Processes]:
        """Learn of each process that is started meanwhile, at once."""
        started = Files.started

        def started_and_seen(files: Files, group: int) -> None:
            with self._changed, suppress(ProcessLookupError):
                self._descriptors.append(os.pidfd_open(group))
                self._changed.notify_all()
            started(files, group)

        try:
            # A patch, because who holds a kernel through a bridge has no use for the number of its process.
            with patch.object(Files, "started", started_and_seen):
                yield self
        finally:
            with self._changed:
                for descriptor in self._descriptors:
                    os.close(descriptor)
                self._descriptors.clear()

    def wait_for_first(self) -> None:
        """Wait until one was started."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._descriptors, DEADLINE), "no kernel was started"

    def signal_newest(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started last, if it runs."""
        with self._changed, suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptors[-1], number)
