"""F11: what a frontend that was killed has left is reaped at the next launch, and what others own is left alone."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kernelbridge.frontend import owned_folders
from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.errors import KernelStartError
from kernelbridge.frontend.files import KERNEL_ID_VARIABLE, Files, new_files, reap
from kernelbridge.frontend.owned_folders import UNOWNED_SECONDS
from kernelbridge.frontend.processes import seen, state_of_group
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.connection import GROUP_FILE, IPC_PATH_LIMIT, OWNER_FILE, SOCKETS_LINK

if sys.platform != "win32":
    import fcntl

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

MUTE = "import signal; signal.pause()"
"""A kernel that says nothing, and does not mind when its parent is gone."""

FRONTEND = """
import os, signal, sys
from functools import wraps
from kernelbridge import launch
from kernelbridge.frontend import files, launch as launching, process
from kernelbridge.frontend.link import Link

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def before(owner, name):
    setattr(owner, name, die)

def after(owner, name):
    function = getattr(owner, name)
    @wraps(function)
    def call(*arguments, **options):
        function(*arguments, **options)
        die()
    setattr(owner, name, call)

phase, kernel, transport = sys.argv[1:]
# It must not outlive a test that fails.
signal.alarm(60)
{
    "its folder is made": lambda: before(files, "own"),
    "the folder is owned": lambda: after(files, "own"),
    "the connection file is written": lambda: after(launching, "write_connection_file"),
    "the process is started": lambda: before(files.Files, "started"),
    "the process is written down": lambda: after(files.Files, "started"),
    "the channels are open": lambda: after(Link, "open"),
    "it is ready": lambda: after(Link, "_ready"),
    "its files are removed": lambda: before(files.shutil, "rmtree"),
}[phase]()
bridge = launch(kernel, transport=transport, timeout=None)
if phase == "its files are removed":
    bridge.close()
signal.pause()
"""
"""A frontend that is killed in a phase of a launch."""


def left(kernel_id: str | None = None) -> list[int]:
    """Return the processes of launched kernels, or of one of them, that still run."""
    found = []
    for process in seen():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        marks = [one for one in environment if one.startswith(KERNEL_ID_VARIABLE.encode())]
        if marks and (kernel_id is None or marks[0].endswith(f"={kernel_id}".encode())):
            found.append(process.pid)
    return found


def killed_frontend(phase: str, kernel: str, transport: str = "ipc") -> None:
    command = [sys.executable, "-c", FRONTEND, phase, kernel, transport]
    ended = subprocess.run(command, timeout=DEADLINE, check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    # What it was about to start holds all that it held, until it is another program.
    for owner in Path(os.environ["JUPYTER_RUNTIME_DIR"]).glob(f"*/{OWNER_FILE}"):
        with owner.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def waiting_for_end(pids: list[int]) -> Iterator[None]:
    """Hold that these processes have ended soon after the block."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], DEADLINE)[0], "a kernel goes on"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def crash(files: Files) -> None:
    """Do to the files what the end of their owner's process does."""
    assert files._lock is not None
    owned_folders._held.discard(files._lock)
    os.close(files._lock)


def kernels_left(runtime: Path) -> list[int]:
    ids = [folder.name.partition("-")[2] for folder in runtime.glob("kernelbridge-*")]
    return [pid for kernel_id in ids for pid in left(kernel_id)]


@pytest.mark.parametrize(
    ("phase", "runs"),
    [
        ("the folder is owned", False),
        ("the connection file is written", False),
        ("the process is started", True),
        ("the process is written down", True),
        # The process starts on a thread of its own.
        ("the channels are open", None),
        ("it is ready", True),
        ("its files are removed", False),
    ],
)
def test_a_frontend_that_is_killed_leaves_what_the_next_launch_reaps(
    phase: str, runs: bool | None, kernel_that: Callable[..., str], runtime: Path
) -> None:
    kernel = "kernelbridge" if phase == "it is ready" else kernel_that(MUTE)
    killed_frontend(phase, kernel)
    pids = kernels_left(runtime)
    if kernel != "kernelbridge":
        # The Python kernel ends itself, and removes what it can.
        assert runs is None or bool(pids) is runs
        assert list(runtime.iterdir())
    with waiting_for_end(pids):
        new_files("ipc").remove()
    assert list(runtime.iterdir()) == []


def test_a_frontend_that_is_killed_before_it_owns_its_folder(kernel_that: Callable[..., str], runtime: Path) -> None:
    """The folder is nobody's then. One that is being made at this moment looks the same: it has a minute."""
    killed_frontend("its folder is made", kernel_that(MUTE))
    (folder,) = runtime.iterdir()
    reap(runtime)
    assert folder.exists()
    old = time.time() - UNOWNED_SECONDS
    os.utime(folder, (old, old))
    reap(runtime)
    assert list(runtime.iterdir()) == []


def test_a_launch_reaps(kernel_that: Callable[..., str], runtime: Path) -> None:
    killed_frontend("the process is written down", kernel_that(MUTE), "tcp")
    pids = kernels_left(runtime)
    assert len(pids) == 1
    with waiting_for_end(pids), launch() as bridge:
        assert bridge.connection is not None
        assert len(list(runtime.iterdir())) == 2


def test_what_is_owned_is_left_alone(runtime: Path) -> None:
    with launch() as bridge:
        files = sorted(runtime.iterdir())
        reap(runtime)
        assert sorted(runtime.iterdir()) == files
        assert bridge.execute("1").result(DEADLINE).content["status"] == "ok"


def test_a_forked_child_owns_nothing(runtime: Path) -> None:
    """It inherits the descriptor of the lock, which would keep the kernel of a parent that is killed."""
    files = new_files("ipc")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        # What is done at a fork has been done.
        os.write(write_end, b"x")
        signal.pause()
    try:
        assert os.read(read_end, 1) == b"x"
        crash(files)
        reap(runtime)
        assert list(runtime.iterdir()) == []
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(write_end)
        os.close(read_end)


def test_the_folder_of_sockets_goes_with_the_kernels_folder_wherever_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = folder / ("x" * IPC_PATH_LIMIT)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(deep))
    files = new_files("ipc")
    sockets = (files.folder / SOCKETS_LINK).readlink()
    assert sockets.is_dir()
    (sockets / "s-1").touch()
    crash(files)
    reap(deep)
    assert not sockets.exists()
    assert list(deep.iterdir()) == []


def test_what_is_not_its_own_is_not_removed(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others can write, they can make what looks like a kernel's folder, and name anything in it."""
    kept = tmp_path / "kept"
    kept.mkdir()
    files = new_files("tcp")
    (files.folder / SOCKETS_LINK).symlink_to(kept)
    (runtime / f"kernelbridge-{16 * 'a'}").symlink_to(kept)
    (kept / "owner").touch()
    crash(files)
    with monkeypatch.context() as somebody_else:
        somebody_else.setattr(os, "geteuid", lambda: os.getuid() + 1)
        reap(runtime)
        assert files.folder.exists()
    reap(runtime)
    assert [file.name for file in kept.iterdir()] == ["owner"]
    (link,) = runtime.iterdir()
    link.unlink()


def test_a_group_that_was_lost_with_the_power_is_not_needed(runtime: Path) -> None:
    files = new_files("tcp")
    (files.folder / GROUP_FILE).touch()
    crash(files)
    new_files("tcp").remove()
    assert list(runtime.iterdir()) == []


def test_only_what_carries_the_mark_of_the_kernel_is_killed(runtime: Path) -> None:
    """The process group's number may have become somebody else's."""
    with running("sleep", "1000") as other:
        files = new_files("ipc")
        files.started(other.pid)
        crash(files)
        reap(runtime)
        assert other.poll() is None
    assert list(runtime.iterdir()) == []


def test_other_folders_are_nobodys_business(runtime: Path) -> None:
    runtime.mkdir()
    mine = runtime / "kernelbridge-notes"
    mine.mkdir()
    os.utime(mine, (0, 0))
    reap(runtime)
    assert mine.exists()
    mine.rmdir()


def test_a_process_is_seen_to_run_and_to_be_stopped() -> None:
    with running("sleep", "1000") as process:
        assert state_of_group(process.pid) == "runs"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert state_of_group(process.pid) == "stopped"
    assert state_of_group(process.pid) is None


KILLS_ITSELF = """
import os, runpy, signal, sys
from kernelbridge.kernel import kernel, registration
# Where it is until the kernel captures it, which it may have done when it is asked.
stderr = os.dup(2)
def die(*_, **__):
    os.write(stderr, b"last words")
    os.kill(os.getpid(), signal.SIGKILL)
{patch}
sys.argv[1:1] = []
runpy.run_module("kernelbridge.python", run_name="__main__")
"""


@pytest.mark.parametrize(
    "patch",
    [
        "kernel.load_startup_file = die",
        "kernel.bind_channel = die",
        "kernel.register = die",
        "start = kernel.Kernel._start; kernel.Kernel._start = lambda self: (start(self), die())",
        "kernel.Kernel._kernel_info = property(die)",
    ],
    ids=["it reads its file", "it binds", "it registers", "it has registered", "it is asked who it is"],
)
def test_a_kernel_that_is_killed_in_a_phase_of_its_launch(
    patch: str, kernel_that: Callable[..., str], runtime: Path
) -> None:
    """It says so at once, and nothing is left."""
    name = kernel_that(KILLS_ITSELF.format(patch=patch), kernel_protocol_version="5.6")
    bridge: Any = launch(name, transport="tcp", timeout=None)
    with pytest.raises(KernelStartError, match="was ended by SIGKILL while starting: last words"):
        bridge.wait_ready(DEADLINE)
    bridge.close()
    assert list(runtime.iterdir()) == []
