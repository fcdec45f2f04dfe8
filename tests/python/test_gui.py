"""GUI toolkits beside the cells: windows live between and during cells, and the kernel answers all the while."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import attrs
import pytest
from IPython.core.error import UsageError

from kernelbridge.bridges.host_loop import HostLoop
from kernelbridge.python.gui import switch
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    message,
    regex,
    reply,
    result,
    stderr,
    stdout,
)
from tests.python.conftest import Process, Shared
from tests.python.test_interrupts import begun, expect_interrupted
from tests.support.display import virtual_display
from tests.support.exchange import ask, run
from tests.support.kernels import PYTHON_KERNEL, process


@attrs.frozen
class Toolkit:
    """How the tests use a toolkit: code that calls `act` is what differs. `later` is called when a pipe is readable."""

    gui: str
    needs: str
    window: str
    timer: str
    readable: str
    visible: str
    close: str


TOOLKITS = [
    Toolkit(
        gui="tk",
        needs="_tkinter",
        window="import tkinter; window = tkinter.Tk()",
        timer="window.after(1, act)",
        readable="window.tk.createfilehandler(pipe, tkinter.READABLE,\n"
        "  lambda *_: (window.tk.deletefilehandler(pipe), later()))",
        visible="window.winfo_viewable() == 1",
        close="window.destroy()",
    ),
    Toolkit(
        gui="qt",
        needs="PySide6",
        window="from PySide6.QtCore import QSocketNotifier, QTimer; from PySide6.QtWidgets import QWidget\n"
        "window = QWidget(); window.show()",
        timer="QTimer.singleShot(1, act)",
        readable="notifier = QSocketNotifier(pipe, QSocketNotifier.Type.Read)\n"
        "notifier.activated.connect(lambda *_: (notifier.setEnabled(False), later()))",
        visible="window.isVisible()",
        close="window.close()",
    ),
]
IDS = [toolkit.gui for toolkit in TOOLKITS]


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    with virtual_display() as number:
        yield number


@pytest.fixture(scope="session")
def kernels() -> Iterator[dict[str, Shared]]:
    """A kernel for each toolkit, as Qt's application stays once it is made, and one for none."""
    shared = {name: Shared() for name in (*IDS, "none")}
    yield shared
    for kernel in shared.values():
        kernel.end()


@pytest.fixture(params=TOOLKITS, ids=IDS)
def toolkit(request: pytest.FixtureRequest) -> Toolkit:
    toolkit: Toolkit = request.param
    if importlib.util.find_spec(toolkit.needs) is None:
        pytest.skip(f"{toolkit.needs} is not installed")
    if toolkit.gui == "qt" and sys.version_info < (3, 12) and version("PySide6_Essentials") == "6.12.0":
        pytest.skip("this version of PySide6 ends a Python before 3.12 (see setup.cfg)")
    return toolkit


@pytest.fixture
def started(kernels: dict[str, Shared], toolkit: Toolkit) -> subprocess.Popen[bytes]:
    return kernels[toolkit.gui].process()[0]


@pytest.fixture
def client(kernels: dict[str, Shared], toolkit: Toolkit, display: str) -> Iterator[ProtocolClient]:
    """A client of a kernel that has a display, a window and the toolkit's event loop."""
    with kernels[toolkit.gui].client() as connected:
        run(connected, f"import os; os.environ['DISPLAY'] = {display!r}\n%gui {toolkit.gui}\n{toolkit.window}")
        yield connected
        run(connected, f"{toolkit.close};\n%gui")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe, which the GUI's loop in the kernel watches."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def behind(gate: Path, toolkit: Toolkit, act: str) -> str:
    """Return code that has the GUI start a timer when something is written to the gate, and call `act` then."""
    return (
        f"{act}\ndef later():\n  {toolkit.timer}\n"
        f"pipe = os.open({str(gate)!r}, os.O_RDONLY | os.O_NONBLOCK)\n{toolkit.readable};"
    )


def expect_window(client: ProtocolClient, toolkit: Toolkit) -> None:
    """Expect that the window is shown, or will be as soon as the GUI has had its turns."""
    run(
        client, f"import asyncio\nwhile not ({toolkit.visible}): await asyncio.sleep(0)\n'visible'", result("'visible'")
    )


def test_k4_a_timer_fires_between_cells_for_the_cell_that_ran_last(
    client: ProtocolClient, toolkit: Toolkit, gate: Path
) -> None:
    """While nobody asks the kernel anything."""
    run(client, behind(gate, toolkit, "def act():\n  print('fired'); display('shown')"))
    last = client.execute("pass")
    client.iopub.expect(busy(), execute_input(), idle(), parent=last)
    gate.write_text("go")
    client.iopub.expect(stdout("fired\n"), message("display_data"), parent=last)
    client.shell.expect(execute_reply(parent=last))


def test_a_timer_fires_while_a_cell_awaits_and_control_answers(
    client: ProtocolClient, toolkit: Toolkit, gate: Path
) -> None:
    run(
        client,
        behind(gate, toolkit, "import asyncio; fired = asyncio.Event()\ndef act():\n  print('fired'); fired.set()"),
    )
    cell = begun(client, "print('begun', flush=True); await fired.wait(); print('done')")
    ask(client, "kernel_info", channel="control")
    gate.write_text("go")
    client.iopub.expect(stdout("fired\ndone\n"), idle(), parent=cell)
    client.shell.expect(execute_reply(parent=cell))


def test_the_window_is_there_between_cells_and_requests_are_answered(client: ProtocolClient, toolkit: Toolkit) -> None:
    ask(client, "kernel_info")
    completed = ask(client, "complete", {"code": "window.clo"[: len("window.")], "cursor_pos": 7})
    assert completed.content["matches"]
    expect_window(client, toolkit)


def test_a_callback_may_use_asyncio(client: ProtocolClient, toolkit: Toolkit, gate: Path) -> None:
    """What it starts runs at once, for the cell that awaits or beside all cells."""
    work = "async def work():\n  await asyncio.sleep(0.001); print('worked')"
    act = f"import asyncio\n{work}\ndef act():\n  global task; task = asyncio.create_task(work())"
    cell = client.execute(behind(gate, toolkit, act))
    client.iopub.expect(busy(), execute_input(), idle(), parent=cell)
    client.shell.expect(execute_reply(parent=cell))
    gate.write_text("go")
    client.iopub.expect(stdout("worked\n"), parent=cell)


def test_a_callback_that_fails_is_told_of_and_the_window_lives(
    client: ProtocolClient, toolkit: Toolkit, gate: Path
) -> None:
    act = "import asyncio; fired = asyncio.Event()\ndef act():\n  fired.set(); raise ValueError('of the callback')"
    run(client, behind(gate, toolkit, act))
    cell = begun(client, "print('begun', flush=True); await fired.wait();")
    gate.write_text("go")
    told = error("ValueError", "of the callback")
    if toolkit.gui == "tk":
        # tkinter prints what Qt's bindings give to sys.excepthook, which is IPython's.
        told = stderr(regex("(?s)Traceback.*ValueError: of the callback"))
    client.iopub.expect(told, idle(), parent=cell)
    client.shell.expect(execute_reply(parent=cell))
    expect_window(client, toolkit)


@pytest.mark.parametrize("by", ["SIGINT", "interrupt_request"])
def test_an_interrupt_ends_a_cell_that_awaits_beside_a_window(
    client: ProtocolClient, started: subprocess.Popen[bytes], toolkit: Toolkit, by: str
) -> None:
    cell = begun(client, "import asyncio; print('begun', flush=True); await asyncio.Event().wait()")
    if by == "SIGINT":
        started.send_signal(signal.SIGINT)
    else:
        asked = client.send("interrupt_request")
        client.control.expect(reply("interrupt", parent=asked))
        client.iopub.of(asked).expect(busy(), idle())
    expect_interrupted(client, cell)
    expect_window(client, toolkit)


def test_without_the_loop_the_window_waits(client: ProtocolClient, toolkit: Toolkit) -> None:
    run(client, "%gui")
    code = f"import asyncio; fired = asyncio.Event()\nact = lambda: fired.set()\n{toolkit.timer};"
    run(client, f"{code}\nawait asyncio.sleep(0.01); fired.is_set()", result("False"))
    run(client, f"%gui {toolkit.gui}\nawait fired.wait()", result("True"))


def test_one_loop_runs_at_a_time(client: ProtocolClient, toolkit: Toolkit) -> None:
    other = "qt" if toolkit.gui == "tk" else "tk"
    run(
        client, f"%gui {other}", stderr(regex(f"the event loop of {toolkit.gui} runs: end it with %gui before you ask"))
    )
    run(client, "get_ipython().active_eventloop", result(repr(toolkit.gui)))
    # Again, and what always runs: nothing to do.
    run(client, f"%gui {toolkit.gui}")
    run(client, "%gui asyncio", stdout(regex("asyncio always runs")))
    run(client, "get_ipython().active_eventloop", result(repr(toolkit.gui)))


@pytest.mark.parametrize("toolkit", [TOOLKITS[1]], ids=["qt"], indirect=True)
def test_qt_goes_on_after_its_application_was_told_to_exit(client: ProtocolClient, toolkit: Toolkit) -> None:
    run(client, "from PySide6.QtWidgets import QApplication; QApplication.exit(3)")
    fires = f"import asyncio; fired = asyncio.Event(); act = fired.set\n{toolkit.timer}; await fired.wait()"
    run(client, fires, result("True"))
    expect_window(client, toolkit)


def test_matplotlib_draws_in_a_window(client: ProtocolClient, toolkit: Toolkit) -> None:
    """Interactive mode: what a cell changes is drawn by the GUI's loop, without a word from the user."""
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    run(client, f"%matplotlib {toolkit.gui}\nimport matplotlib.pyplot as plt, asyncio")
    run(client, "plt.get_backend()", result(regex(f"(?i)'{toolkit.gui}agg'")))
    code = """
figure, axes = plt.subplots()
drawn = asyncio.Event()
figure.canvas.mpl_connect("draw_event", lambda _: drawn.set())
await drawn.wait()
plt.show(block=False); drawn.clear(); axes.plot([1, 3, 2]);
"""
    run(client, code)
    run(client, "await drawn.wait()", result("True"))
    run(client, "plt.close(figure)")
    run(client, "%matplotlib inline\nget_ipython().active_eventloop")


def enabled(gui: str, loop: Callable[[], asyncio.AbstractEventLoop]) -> str | None:
    """Return what `%gui` makes of a loop of the calling thread."""

    async def enable() -> str | None:
        return switch(gui, None)

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(enable())


def test_a_thread_beside_the_main_thread_has_no_gui() -> None:
    """That of a subshell."""
    with ThreadPoolExecutor(1) as thread, pytest.raises(UsageError, match="in the main thread"):
        thread.submit(enabled, "tk", HostLoop).result(DEADLINE)


def test_the_loop_of_another_program_has_no_gui() -> None:
    with pytest.raises(UsageError, match="event loop of another program"):
        enabled("tk", asyncio.new_event_loop)


@pytest.fixture
def own(tmp_path: Path, display: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """A kernel that the test may end, with a display."""
    monkeypatch.setenv("DISPLAY", display)
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _):
        yield started, info


def test_a_shutdown_ends_a_kernel_with_a_window(own: Process, toolkit: Toolkit) -> None:
    started, info = own
    with ProtocolClient(info) as client:
        loaded = (
            "import sys; [n for n in sys.modules if n.startswith(('kernelbridge.python.gui', 'tkinter', 'PySide6'))]"
        )
        run(client, loaded, result("[]"))
        run(client, f"%gui {toolkit.gui}\n{toolkit.window}")
        shutdown = client.send("shutdown_request", restart=False)
        client.control.expect(reply("shutdown", parent=shutdown))
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=shutdown)
    assert started.wait(DEADLINE) == 0


@pytest.fixture
def headless(kernels: dict[str, Shared]) -> Iterator[ProtocolClient]:
    """A client of a kernel without a display."""
    with kernels["none"].client() as client:
        run(
            client, "import os\nfor name in ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM'): os.environ.pop(name, '')"
        )
        yield client


def test_a_toolkit_without_a_display_is_told_in_one_line(headless: ProtocolClient, toolkit: Toolkit) -> None:
    run(headless, f"%gui {toolkit.gui}", stderr(regex(r"^.*has no display to show windows on: [^\n]+\n$")))
    run(headless, "get_ipython().active_eventloop")


def test_a_toolkit_that_is_not_there_is_told_in_one_line(headless: ProtocolClient) -> None:
    run(headless, "%gui wx", stderr(regex(r"^.*no event loop for 'wx' in this kernel: [^\n]+\n$")))
    hide = "import sys; sys.modules['{0}'] = None; sys.modules.pop('kernelbridge.python.gui_tk', 0);"
    run(headless, hide.format("tkinter"))
    run(headless, "%gui tk", stderr(regex(r"^.*this Python has no Tk: [^\n]+\n$")))
    run(headless, "del sys.modules['tkinter']")
