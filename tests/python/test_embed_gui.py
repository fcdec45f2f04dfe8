"""A kernel inside a program of Qt: cells run on the main thread, and its windows live on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import IO, Literal

import pytest

from kernelbridge import EmbeddedKernel, embed
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    reply,
    result,
    stdout,
)
from tests.support.exchange import run
from tests.support.kernels import ROOT
from tests.support.leftovers import nothing_left


def why_not() -> str:
    """Return why there is no Qt here to test with, if so."""
    if importlib.util.find_spec("PySide6") is None:
        return "PySide6 is not installed"
    if sys.version_info < (3, 12) and version("PySide6_Essentials") == "6.12.0":
        return "this version of PySide6 ends a Python before 3.12 (see setup.cfg)"
    return ""


needs_qt = pytest.mark.skipif(bool(why_not()), reason=why_not())

BEGIN = """
import sys, threading
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QWidget
from kernelbridge import EmbeddedKernel, embed
app = QApplication([])
window = QWidget()
window.show()
ticks = []
timer = QTimer()
timer.timeout.connect(lambda: ticks.append(len(ticks)))
timer.start(1)
"""

BEFORE_THE_LOOP = """
with EmbeddedKernel(globals(), gui="qt") as kernel:
    print(kernel.file, flush=True)
    status = app.exec()
print(status, window.windowTitle(), "In" in globals(), threading.enumerate() == [threading.main_thread()])
"""

IN_THE_LOOP = """
kernel = EmbeddedKernel(globals(), gui="qt")
def begin():
    kernel.__enter__()
    print(kernel.file, flush=True)
QTimer.singleShot(0, begin)
status = app.exec()
kernel.__exit__()
print(status, window.windowTitle(), "In" in globals(), threading.enumerate() == [threading.main_thread()])
"""


IN_A_SCRIPT = """
embed(gui="qt")
print(total)
"""


@contextmanager
def program(source: str, says: Literal["stdout", "stderr"] = "stdout") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a program of Qt's until it says where its kernel is, and give it with the path of the connection file."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN + source],
        cwd=ROOT,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            stream: IO[str] = getattr(started, says)
            yield started, stream.readline().split()[-1]
        finally:
            started.kill()


@needs_qt
@pytest.mark.parametrize("source", [BEFORE_THE_LOOP, IN_THE_LOOP], ids=["before the loop", "in the loop"])
def test_cells_run_on_the_main_thread_between_the_events_of_the_window(source: str) -> None:
    """Whether the program's loop is about to run, or runs already."""
    with program(source) as (started, file):
        with ProtocolClient(file) as client:
            run(client, "threading.current_thread() is threading.main_thread()", result("True"))
            run(client, "window.setWindowTitle('of a cell'); print(window.isVisible())", stdout("True\n"))
            # Between cells, with nobody asking: two timers of the window's come one after the other.
            begun = "begun = len(ticks); import asyncio; seen = asyncio.Event()\n"
            run(client, f"{begun}timer.timeout.connect(lambda: seen.set() if len(ticks) > begun + 2 else None);")
            # While one awaits, for what a callback of the window's does.
            run(client, "await seen.wait()", result("True"))
            # The window's loop is what %gui asks for, and no other can run.
            run(client, "%gui qt\nget_ipython().active_eventloop", result("'qt'"))
            run(client, "%gui\nget_ipython().active_eventloop")
            run(client, "app.exit(3)")
            client.expect_end()
        assert started.communicate(timeout=DEADLINE) == ("3 of a cell False True\n", "")


@needs_qt
def test_the_window_outlives_the_kernel() -> None:
    with program(BEFORE_THE_LOOP + "print(len(ticks) > 0)") as (started, file):
        with ProtocolClient(file) as client:
            quits = "timer.timeout.connect(lambda: app.exit(4) if kernel.file is None else None)"
            run(client, f"window.setWindowTitle('after'); {quits}; exit()")
            client.expect_end()
        assert started.communicate(timeout=DEADLINE)[0] == "4 after False True\nTrue\n"


@needs_qt
def test_an_interrupt_ends_a_cell() -> None:
    """Also one that awaits, while Qt's own loop waits in C++ and Python hears of no signal."""
    with program(BEFORE_THE_LOOP) as (started, file):
        with ProtocolClient(file) as client:
            for waits in ("while True: pass", "import asyncio; await asyncio.Event().wait()"):
                request = client.execute(f"print('begun', flush=True)\n{waits}")
                client.iopub.expect(busy(), execute_input(), stdout("begun\n"), parent=request)
                asked = client.send("interrupt_request")
                client.control.expect(reply("interrupt", parent=asked))
                client.iopub.of(asked).expect(busy(), idle())
                client.iopub.expect(error("KeyboardInterrupt"), idle(), parent=request)
                client.shell.expect(execute_reply("error", parent=request))
            run(client, "app.quit()")
            client.expect_end()
        assert started.communicate(timeout=DEADLINE)[0] == "0  False True\n"


@needs_qt
def test_leaving_interrupts_a_cell_that_waits() -> None:
    with program(BEFORE_THE_LOOP) as (started, file):
        with ProtocolClient(file) as client:
            code = "timer.timeout.connect(app.quit); import asyncio; await asyncio.Event().wait()"
            request = client.execute(code)
            client.iopub.expect(busy(), execute_input(), error("KeyboardInterrupt"), idle(), parent=request)
            client.shell.expect(execute_reply("error", parent=request))
            client.expect_end()
        assert started.communicate(timeout=DEADLINE)[0] == "0  False True\n"


@needs_qt
def test_embed_stops_a_script_and_not_its_windows() -> None:
    with program(IN_A_SCRIPT, "stderr") as (started, file):
        with ProtocolClient(file) as client:
            run(client, "import asyncio; seen = asyncio.Event(); timer.timeout.connect(seen.set); await seen.wait();")
            run(client, "threading.current_thread() is threading.main_thread()", result("True"))
            run(client, "total = 3; exit()")
            client.expect_end()
        assert started.communicate(timeout=DEADLINE)[0] == "3\n"


def test_what_is_no_loop_for_cells_is_said_and_leaves_nothing() -> None:
    with nothing_left():
        with pytest.raises(RuntimeError, match="make the QApplication first"), EmbeddedKernel(gui="qt"):
            pass
        with pytest.raises(RuntimeError, match="loop of 'wx' cannot run a kernel: there is qt"):
            EmbeddedKernel(gui="wx").__enter__()
        with pytest.raises(RuntimeError, match="no event loop for 'wx'"):
            embed(gui="wx", quiet=True)
        with EmbeddedKernel() as kernel, ProtocolClient(kernel.connection) as client:
            run(client, "1", result("1"))
