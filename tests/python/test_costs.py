"""What a kernel uses: nothing for what nobody asks it for, and no more memory the longer a cell prints."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from kernelbridge.testing import ProtocolClient, busy, execute_input, execute_reply, idle, message, result
from tests.benchmarks.usage import peak, processor_seconds
from tests.support.exchange import run
from tests.support.kernels import PYTHON_KERNEL, process

FEATURES = """
import sys, threading
names = [name for name in sys.modules if name.startswith(('debugpy', 'pydevd', '_pydevd', 'kernelbridge'))]
sorted(name for name in names if 'debug' in name or 'subshell' in name)
"""
THREADS = "' '.join(sorted(thread.name.removeprefix('kernelbridge-') for thread in threading.enumerate()))"
"""One for each channel, one that runs the cells, one that reads the descriptors, and IPython's own."""

measured = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of another process what it uses")


def test_nothing_of_the_debugger_and_of_subshells_is_there_until_somebody_asks_for_it(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (_, info, _), ProtocolClient(info) as client:
        run(client, FEATURES, result("[]"))
        names = "IPythonHistorySavingThread MainThread control descriptors heartbeat iopub shell stdin"
        run(client, THREADS, result(repr(names)))
        run(client, "sys.gettrace(), threading.gettrace(), sys.getprofile()", result("(None, None, None)"))


IDLE_SECONDS = 60.0
SHARE_OF_A_CORE = 0.001


@measured
@pytest.mark.slow
def test_a_kernel_that_nobody_asks_for_anything_uses_less_than_a_thousandth_of_a_core(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _), ProtocolClient(info) as client:
        run(client, "print(1)", message("stream"))
        before = processor_seconds(started.pid)
        # What is measured is what happens in that time.
        threading.Event().wait(IDLE_SECONDS)
        assert processor_seconds(started.pid) - before < SHARE_OF_A_CORE * IDLE_SECONDS


FEW, MANY = 100_000, 1_000_000
LINE = "x" * 99
BUFFERED_BYTES = 2**24
"""A sixth of what the lines of the long cell take, and so no place to keep them: what is buffered of a flood, in both
cells, is bounded by time, by the lines printed in 80 ms, and so is not the same."""


@measured
@pytest.mark.slow
def test_ten_times_the_prints_take_no_more_memory(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _), ProtocolClient(info) as client:
        _print(client, FEW)
        few = peak(started.pid)
        _print(client, MANY)
        assert peak(started.pid) - few < BUFFERED_BYTES


def _print(client: ProtocolClient, prints: int) -> None:
    """Print lines, with a client that reads along."""
    code = f"for _ in range({prints}): print({LINE!r})"
    request = client.execute(code)
    client.iopub.expect(busy(), execute_input(code), parent=request)
    lines = 0
    while lines < prints:
        shown = client.iopub.expect(message("stream"), parent=request)[0].content["text"]
        assert set(shown.split("\n")) <= {LINE, ""}
        lines += shown.count("\n")
    assert lines == prints
    client.iopub.expect(idle(), parent=request)
    client.shell.expect(execute_reply(), parent=request)
