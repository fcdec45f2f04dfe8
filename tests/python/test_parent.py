"""The Python kernel ends with the program that started it, and what it has started ends with it (contract F11)."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import jupyter_client
import pytest

from kernelbridge.kernel.parent import Parent
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    message,
    reply,
    result,
    stdout,
)
from kernelbridge.wire.connection import ConnectionInfo, load_connection_file
from tests.support.exchange import run
from tests.support.kernels import PYTHON_KERNEL, ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the tests wait for processes by pidfd")

LAUNCHER = """
import os, subprocess, sys
env = os.environ | ({"JPY_PARENT_PID": str(os.getpid())} if sys.argv[1] == "named" else {})
kernel = subprocess.Popen(sys.argv[2:], env=env, start_new_session=True)
print(kernel.pid, flush=True)
sys.stdin.read()
"""
"""A program that starts a kernel as jupyter_client does, and lives until it is killed or its stdin ends."""

BRIDGE = """
import sys
from kernelbridge import launch
with launch("kernelbridge") as bridge:
    pid = bridge.execute("", user_expressions={"pid": "__import__('os').getpid()"}).result()
    print(pid.content["user_expressions"]["pid"]["data"]["text/plain"], bridge.connection.ip, flush=True)
    sys.stdin.read()
"""


class Process:
    """A process that need not be a child of this one, from when it runs to when the block ends it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._descriptor)
        self._end = select.poll()
        self._end.register(self._descriptor, select.POLLIN)

    def ends(self, seconds: float = DEADLINE) -> bool:
        """Return whether it ends within so much time."""
        return bool(self._end.poll(seconds * 1000))

    def kill(self) -> None:
        """End it for sure. Doing so again does nothing."""
        if not self.ends(0):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)


@attrs.frozen
class Launched:
    """A kernel, and what has started it."""

    launcher: subprocess.Popen[str]
    kernel: Process
    info: ConnectionInfo
    file: Path

    def lose_launcher(self) -> None:
        self.launcher.kill()
        self.launcher.wait(DEADLINE)


@contextmanager
def launcher(*command: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", *command],
        cwd=ROOT,
        env=os.environ | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def said_by(started: subprocess.Popen[str]) -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


@contextmanager
def launched(folder: Path, *, named: bool = True, command: str = 'exec "$0" "$@"') -> Iterator[Launched]:
    """Launch a kernel by a program of its own, through a shell that runs `command`."""
    file = folder / "connection.json"
    jupyter_client.write_connection_file(str(file), ip=str(folder / "first"), transport="ipc")
    shell = ("sh", "-c", command, *PYTHON_KERNEL, str(file))
    with launcher(LAUNCHER, "named" if named else "unnamed", *shell) as started:
        kernel = Process(int(said_by(started)))
        try:
            yield Launched(started, kernel, load_connection_file(file), file)
        finally:
            kernel.kill()


def pid_of(client: ProtocolClient, code: str) -> Process:
    """Run code that leaves the id of a process in `pid`."""
    answer = run(client, code, user_expressions={"pid": "pid"})
    return Process(int(answer.content["user_expressions"]["pid"]["data"]["text/plain"]))


def expect_end(client: ProtocolClient, kernel: Process) -> None:
    client.expect_end()
    assert kernel.ends()


SAY = "print('begun', flush=True)"
HOOK = "import atexit, pathlib\nhook = atexit.register(pathlib.Path({!r}).write_text, 'ran')"
COMPUTES = {
    "a sleep": f"import time; {SAY}; time.sleep(1000)",
    "an await": f"import asyncio; {SAY}; await asyncio.Event().wait()",
    "a prompt": f"{SAY}; input()",
}


# --- the parent -----------------------------------------------------------------------------------------------------


def test_f11_a_kernel_at_rest_ends_with_its_parent_and_runs_its_exit_hooks(tmp_path: Path) -> None:
    with launched(tmp_path) as started, ProtocolClient(started.info) as client:
        hook = tmp_path / "hook"
        run(client, HOOK.format(str(hook)))
        started.lose_launcher()
        expect_end(client, started.kernel)
        assert hook.read_text() == "ran"
        assert not started.file.exists()


def test_f11_so_does_one_that_computes(tmp_path: Path) -> None:
    with launched(tmp_path) as started, ProtocolClient(started.info) as client:
        hook = tmp_path / "hook"
        run(client, HOOK.format(str(hook)))
        request = client.execute(f"{SAY}\nwhile True: pass")
        client.iopub.expect(busy(), execute_input(), stdout("begun\n"), parent=request)
        started.lose_launcher()
        # What it was doing when it ended is shown to whoever else is connected.
        client.iopub.expect(error("KeyboardInterrupt"), idle(), parent=request)
        client.shell.expect(execute_reply("error", parent=request))
        expect_end(client, started.kernel)
        assert hook.read_text() == "ran"


def test_f11_a_crash_of_the_frontend_leaves_no_file_of_its_kernel(tmp_path: Path) -> None:
    """A frontend that is killed removes nothing: the kernel removes its sockets, their folder, its connection file."""
    runtime = tmp_path / "runtime"
    with launcher(BRIDGE, JUPYTER_RUNTIME_DIR=str(runtime)) as started:
        pid, sockets = said_by(started).split()
        kernel = Process(int(pid))
        try:
            assert Path(sockets).parent.exists()
            assert list(runtime.glob("kernel-*.json"))
            started.kill()
            assert kernel.ends()
            assert not Path(sockets).parent.exists()
            assert list(runtime.iterdir()) == []
        finally:
            kernel.kill()


@pytest.mark.parametrize("lost", ["launcher", "wrapper"])
def test_a_kernel_that_a_shell_has_started_ends_with_the_launcher_and_with_the_shell(tmp_path: Path, lost: str) -> None:
    with launched(tmp_path, command='"$0" "$@"; exit') as started, ProtocolClient(started.info) as client:
        kernel = pid_of(client, "import os; pid = os.getpid()")
        try:
            if lost == "launcher":
                started.lose_launcher()
            else:
                started.kernel.kill()
            expect_end(client, kernel)
        finally:
            kernel.kill()


def test_a_parent_that_is_gone_before_the_kernel_looks_is_missed(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    with launched(tmp_path, command=f'read line < {go}; exec "$0" "$@"') as started:
        started.lose_launcher()
        go.write_text("go\n")
        assert started.kernel.ends()
        assert not started.file.exists()


def test_a_kernel_that_nobody_has_named_himself_to_goes_on(tmp_path: Path) -> None:
    """One that was started by hand, by nohup or by systemd, and an independent one of jupyter_client."""
    with launched(tmp_path, named=False) as started, ProtocolClient(started.info) as client:
        run(client, "import os; before = os.getppid()")
        started.lose_launcher()
        run(client, "os.getppid() != before", result("True"))
        request = client.send("shutdown_request", restart=False)
        client.control.expect(reply("shutdown", parent=request))
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
        expect_end(client, started.kernel)
        assert started.file.exists()


@pytest.mark.parametrize("independent", [True, False])
def test_a_kernel_that_a_cell_starts_ends_with_that_kernel_unless_it_is_independent(
    tmp_path: Path, independent: bool
) -> None:
    """It has inherited the environment, which names what has launched the kernel that the cell runs in."""
    file = tmp_path / "second.json"
    jupyter_client.write_connection_file(str(file), ip=str(tmp_path / "second"), transport="ipc")
    with launched(tmp_path) as started, ProtocolClient(started.info) as client:
        # What jupyter_client adds for a kernel that is not independent.
        named = {} if independent else {"JPY_PARENT_PID": str(started.kernel.pid)}
        command = [*PYTHON_KERNEL, str(file)]
        start = f"subprocess.Popen({command}, env=os.environ | {named}, start_new_session=True)"
        second = pid_of(client, f"import os, subprocess; second = {start}; pid = second.pid")
        try:
            with ProtocolClient(load_connection_file(file)) as its_client:
                run(its_client, "1", result("1"))
                started.lose_launcher()
                expect_end(client, started.kernel)
                if independent:
                    run(its_client, "2", result("2"))
                else:
                    expect_end(its_client, second)
        finally:
            second.kill()


@pytest.mark.parametrize(("session", "gone"), [("not seen from inside", False), ("init's", False), ("its own", True)])
def test_init_is_no_stranger_where_it_is_what_the_launcher_has_started(
    monkeypatch: pytest.MonkeyPatch, session: str, gone: bool
) -> None:
    """Process 1 of a container or a sandbox starts the kernel; on a system it adopts one whose launcher has ended."""
    sessions = {"not seen from inside": 0, "init's": 1, "its own": os.getpid()}
    monkeypatch.setattr(os, "getppid", lambda: 1)
    monkeypatch.setattr(os, "getsid", lambda pid: sessions[session])
    with Parent(launcher=2) as parent:
        assert parent.gone is gone


WITHOUT_PIDFD = "import os, runpy; del os.pidfd_open; runpy.run_module('kernelbridge.python', run_name='__main__')"


def test_where_the_system_cannot_tell_the_kernel_looks(tmp_path: Path) -> None:
    """An old Linux, or a container that forbids the call. Once a second: in real time, with a real parent."""
    command = f'shift 2; exec {sys.executable} -c "{WITHOUT_PIDFD}" "$@"'
    with launched(tmp_path, command=command) as started, ProtocolClient(started.info) as client:
        started.lose_launcher()
        expect_end(client, started.kernel)


# --- SIGTERM --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("computes", COMPUTES)
def test_sigterm_ends_what_runs_and_the_process_with_its_exit_hooks(tmp_path: Path, computes: str) -> None:
    with launched(tmp_path) as started, ProtocolClient(started.info) as client:
        hook = tmp_path / "hook"
        run(client, HOOK.format(str(hook)))
        request = client.execute(COMPUTES[computes], allow_stdin=True)
        client.iopub.expect(busy(), execute_input(), stdout("begun\n"), parent=request)
        if computes == "a prompt":
            client.stdin.expect(input_request(parent=request))
        os.kill(started.kernel.pid, signal.SIGTERM)
        client.iopub.expect(error("KeyboardInterrupt"), idle(), parent=request)
        client.shell.expect(execute_reply("error", parent=request))
        expect_end(client, started.kernel)
        assert hook.read_text() == "ran"


def test_sigterm_ends_a_kernel_at_rest(tmp_path: Path) -> None:
    with launched(tmp_path) as started, ProtocolClient(started.info) as client:
        os.kill(started.kernel.pid, signal.SIGTERM)
        expect_end(client, started.kernel)
        # Its parent, which goes on, removes what it has made.
        assert started.file.exists()


def test_a_cell_may_say_itself_what_sigterm_does(tmp_path: Path) -> None:
    with launched(tmp_path) as started, ProtocolClient(started.info) as client:
        run(client, "import os, signal; before = signal.signal(signal.SIGTERM, lambda *_: print('mine'))")
        run(client, "os.kill(os.getpid(), signal.SIGTERM); 1 + 1", stdout("mine\n"), result("2"))
        run(client, "3", result("3"))


# --- what a kernel has started --------------------------------------------------------------------------------------

SLEEPS = "import subprocess; child = subprocess.Popen([{}], start_new_session={}); pid = child.pid"
STUBBORN = "'sh', '-c', 'trap \"\" TERM; while :; do sleep 1000; done'"


@pytest.mark.parametrize("ends_by", ["shutdown", "exit"])
def test_children_in_the_kernels_process_group_end_with_it(tmp_path: Path, ends_by: str) -> None:
    """Those that ignore SIGTERM too. One that has left the group, as a daemon does, goes on."""
    with launched(tmp_path) as started, ProtocolClient(started.info) as client:
        children = [pid_of(client, SLEEPS.format(code, False)) for code in ("'sleep', '1000'", STUBBORN)]
        daemon = pid_of(client, SLEEPS.format("'sleep', '1000'", True))
        try:
            if ends_by == "exit":
                run(client, "exit()")
            else:
                request = client.send("shutdown_request", restart=True)
                client.control.expect(reply("shutdown", restart=True, parent=request))
                client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
            expect_end(client, started.kernel)
            assert all(child.ends() for child in children)
            assert not daemon.ends(0)
        finally:
            for one in (*children, daemon):
                one.kill()


def test_others_in_a_job_that_the_kernel_leads_go_on(tmp_path: Path) -> None:
    """A shell makes a kernel that was started by hand the leader of a group: ``kernel | tee log``."""
    file = tmp_path / "connection.json"
    jupyter_client.write_connection_file(str(file), ip=str(tmp_path / "kernel"), transport="ipc")
    with subprocess.Popen([*PYTHON_KERNEL, str(file)], cwd=ROOT, process_group=0) as kernel:
        other = subprocess.Popen(["sleep", "1000"], process_group=kernel.pid)
        try:
            with ProtocolClient(load_connection_file(file)) as client:
                run(client, "exit()")
                expect_end(client, Process(kernel.pid))
            assert other.poll() is None
        finally:
            kernel.kill()
            other.kill()
            other.wait()


@pytest.mark.slow
def test_exit_hooks_run_also_where_a_thread_does_not_end(tmp_path: Path) -> None:
    with launched(tmp_path) as started, ProtocolClient(started.info) as client:
        hook = tmp_path / "hook"
        run(client, HOOK.format(str(hook)))
        run(client, "import threading\nthreading.Thread(target=threading.Event().wait).start()\nexit()")
        expect_end(client, started.kernel)
        assert hook.read_text() == "ran"
