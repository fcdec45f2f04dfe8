"""The beginning and the end of the Python kernel's process."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    message,
    reply,
    stdout,
)
from kernelbridge.wire.connection import ConnectionInfo, random_key, write_connection_file
from tests.python.conftest import Process, Shared
from tests.support.exchange import run
from tests.support.kernels import PYTHON_KERNEL, ROOT, process


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Process]:
    """A kernel that the test may end."""
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _):
        yield started, info


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_a_shutdown_ends_the_process_with_status_0(own: Process, channel: Literal["shell", "control"]) -> None:
    started, info = own
    with ProtocolClient(info) as client:
        request = client.send("shutdown_request", restart=False, channel=channel)
        replies = client.shell if channel == "shell" else client.control
        replies.expect(reply("shutdown", status="ok", restart=False, parent=request))
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
    assert started.wait(DEADLINE) == 0


def test_a_shutdown_ends_a_cell_that_runs(own: Process) -> None:
    started, info = own
    with ProtocolClient(info) as client:
        request = client.execute("import time; print('begun', flush=True); time.sleep(1000)")
        client.iopub.expect(busy(), execute_input(), stdout("begun\n"), parent=request)
        shutdown = client.send("shutdown_request", restart=False)
        client.control.expect(reply("shutdown", parent=shutdown))
        client.expect_end()
        client.iopub.of(shutdown).expect(busy(), message("shutdown_reply"), idle())
        client.iopub.of(request).expect(error("KeyboardInterrupt"), idle())
        client.shell.expect(execute_reply("error", ename="KeyboardInterrupt", parent=request))
    assert started.wait(DEADLINE) == 0


def test_exit_in_a_cell_ends_the_kernel_after_the_reply(own: Process) -> None:
    started, info = own
    with ProtocolClient(info) as client:
        ask_exit = {"source": "ask_exit", "keepkernel": False}
        run(client, "print('bye'); exit()", stdout("bye\n"), replied=execute_reply(payload=[ask_exit]))
        client.expect_end()
    assert started.wait(DEADLINE) == 0


def test_what_is_printed_at_the_very_end_is_shown(own: Process) -> None:
    started, info = own
    with ProtocolClient(info) as client:
        text = "".join(f"{n}\n" for n in range(2000))
        run(client, "for n in range(2000): print(n)\nexit()", stdout(text))
        client.expect_end()
    assert started.wait(DEADLINE) == 0


UNCLOSED = """
import sys, types
class Says:
    def __del__(self):
        with open({deleted!r}, "w") as file:
            file.write("deleted")
says = Says()
says.itself = says
kept = sys.modules["kept"] = types.ModuleType("kept")
kept.file = open({written!r}, "w")
kept.file.write("written")
kept.file.itself = kept.file
"""


def test_what_cells_leave_is_deleted_and_written_at_the_end(own: Process, tmp_path: Path) -> None:
    """In circles, too, which only the garbage collector finds."""
    started, info = own
    deleted, written = tmp_path / "deleted", tmp_path / "written"
    with ProtocolClient(info) as client:
        run(client, UNCLOSED.format(deleted=str(deleted), written=str(written)) + "exit()")
        client.expect_end()
    assert started.wait(DEADLINE) == 0
    assert deleted.read_text() == "deleted"
    assert written.read_text() == "written"


def test_a_thread_that_does_not_end_keeps_no_process_alive(own: Process) -> None:
    """The last resort: a process that was asked to end is gone before a frontend would kill it."""
    started, info = own
    with ProtocolClient(info) as client:
        run(client, "import threading\nthreading.Thread(target=threading.Event().wait).start()")
        request = client.send("shutdown_request", restart=False)
        client.control.expect(reply("shutdown"))
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
    assert started.wait(DEADLINE) == 0


STUBBORN = """
import time
said = False
while True:
    try:
        if not said:
            said = True
            print('begun', flush=True)
        time.sleep(1000)
    except KeyboardInterrupt:
        pass
"""


def test_nor_does_a_cell_that_does_not_end(own: Process) -> None:
    started, info = own
    with ProtocolClient(info) as client:
        request = client.execute(STUBBORN)
        client.iopub.expect(busy(), execute_input(), stdout("begun\n"), parent=request)
        shutdown = client.send("shutdown_request", restart=False)
        client.control.expect(reply("shutdown"))
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=shutdown)
    assert started.wait(DEADLINE) == 0


HOOKS = """
import atexit, pathlib, threading
hook = atexit.register(threading.Event().wait)
said = pathlib.Path({!r}).open("a")
hook = atexit.register(lambda: (said.write("ran"), said.flush()))
exit()
"""


@pytest.mark.slow
def test_nor_does_an_exit_hook_and_those_that_have_run_do_not_run_again(own: Process, tmp_path: Path) -> None:
    started, info = own
    said = tmp_path / "said"
    with ProtocolClient(info) as client:
        run(client, HOOKS.format(str(said)))
        client.expect_end()
    assert started.wait(DEADLINE) == 0
    assert said.read_text() == "ran"


BAD_FILES = {
    "missing": (None, "does not exist"),
    "no JSON": ("{", "JSON"),
    "a list": ("[]", "object"),
    "no ports": ('{"ip":"127.0.0.1","transport":"tcp","key":"","signature_scheme":"hmac-sha256"}', "shell_port"),
    "a port out of range": (
        '{"ip":"127.0.0.1","transport":"tcp","key":"","signature_scheme":"hmac-sha256","shell_port":70000,'
        '"iopub_port":1,"stdin_port":2,"control_port":3,"hb_port":4}',
        "65535",
    ),
    "an unknown transport": (
        '{"ip":"127.0.0.1","transport":"pigeon","key":"","shell_port":1,"iopub_port":1,"stdin_port":2,'
        '"control_port":3,"hb_port":4}',
        "transport",
    ),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_bad_connection_file_is_one_line_and_exit_status_2(tmp_path: Path, fault: str) -> None:
    text, expected = BAD_FILES[fault]
    file = tmp_path / "connection.json"
    if text is not None:
        file.write_text(text)
    done = subprocess.run(
        [*PYTHON_KERNEL, str(file)], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert str(file) in done.stderr
    assert expected in done.stderr


def test_no_connection_file_at_all_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kernelbridge.python"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2
    assert "-f" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_place_that_is_taken_is_one_line_and_exit_status_2(shared: Shared, tmp_path: Path, transport: str) -> None:
    """A socket's file as well, which libzmq would take from the kernel that has it."""
    file = tmp_path / "connection.json"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        tcp = ConnectionInfo(ip="127.0.0.1", key=random_key(), hb_port=taken.getsockname()[1])
        info = tcp if transport == "tcp" else shared.process()[1]
        write_connection_file(file, info, allow_port_zero=True)
        done = subprocess.run(
            [*PYTHON_KERNEL, str(file)], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "_port cannot be bound" in done.stderr
