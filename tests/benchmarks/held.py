"""A process that holds a kernel by as many frontends as it is told to, and does nothing: what it uses is theirs.

It prints its resident memory, in bytes, with the first of them and with all, and ends when its stdin does. Start:
`python -m tests.benchmarks.held kernelbridge|ipykernel CONNECTION_FILE COUNT`.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from jupyter_client.blocking.client import BlockingKernelClient

from kernelbridge.frontend.bridge import connect

from . import usage
from .client import READY_S, Failed
from .process import ROOT


class Holder(NamedTuple):
    """A process that holds kernels, and its resident memory in bytes with the first frontend and with all."""

    pid: int
    with_first: int
    with_all: int


@contextmanager
def holding(frontend: str, connection_file: Path, count: int) -> Iterator[Holder]:
    """Hold a kernel in a process of its own, until the end of the block.

    Raises:
        Failed: it could not.
    """
    arguments = [sys.executable, "-m", "tests.benchmarks.held", frontend, str(connection_file), str(count)]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise Failed("the process that holds frontends has no pipes")
        said = process.stdout.readline().split()
        if len(said) != 2:
            raise Failed("the process that holds frontends has ended")
        yield Holder(process.pid, int(said[0]), int(said[1]))
        process.stdin.close()


@contextmanager
def bridge(connection_file: Path) -> Iterator[None]:
    """kernelbridge's Bridge."""
    with connect(connection_file, timeout=READY_S):
        yield


@contextmanager
def client(connection_file: Path) -> Iterator[None]:
    """jupyter_client's BlockingKernelClient, with its heartbeat."""
    held = BlockingKernelClient(connection_file=str(connection_file))
    held.load_connection_file()
    held.start_channels()
    try:
        held.wait_for_ready(timeout=READY_S)
        yield
    finally:
        held.stop_channels()


FRONTENDS: dict[str, Callable[[Path], AbstractContextManager[None]]] = {"kernelbridge": bridge, "ipykernel": client}


def main(frontend: str, connection_file: Path, count: int) -> None:
    """Hold, say so, wait."""
    hold = FRONTENDS[frontend]
    with ExitStack() as stack:
        stack.enter_context(hold(connection_file))
        with_first = usage.resident(os.getpid())
        for _ in range(count - 1):
            stack.enter_context(hold(connection_file))
        print(with_first, usage.resident(os.getpid()), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
