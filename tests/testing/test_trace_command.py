"""`kernelbridge trace`: finding the kernel, and how the command ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from kernelbridge.cli import main
from kernelbridge.frontend.find import KernelNotFoundError, connection_file_of_process, find_connection_file
from kernelbridge.testing import DEADLINE, ProtocolClient, busy, idle, message, reply
from kernelbridge.testing.transcripts import Transcript
from kernelbridge.wire.connection import write_connection_file
from tests.support.kernels import PYTHON_KERNEL, ROOT, process, tcp

COMMAND = (sys.executable, "-m", "kernelbridge", "trace")
INFO = tcp().with_ports({"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5})


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jupyter's runtime folder, with the connection files of two kernels."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    for place, name in enumerate(("kernel-old.json", "kernel-new.json", "other.json")):
        write_connection_file(tmp_path / name, INFO)
        os.utime(tmp_path / name, (1000 + place, 1000 + place))
    return tmp_path


# Finding


def test_by_path_by_name_by_a_part_of_the_name_or_the_last_one(runtime: Path) -> None:
    assert find_connection_file(str(runtime / "other.json")) == runtime / "other.json"
    assert find_connection_file("kernel-old.json") == runtime / "kernel-old.json"
    assert find_connection_file("old") == runtime / "kernel-old.json"
    assert find_connection_file() == runtime / "kernel-new.json"


def test_a_part_of_a_name_is_none_of_any_other_file(
    runtime: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    for name in ("gold.ipynb", "kernel-later.json"):
        Path(name).touch()
    assert find_connection_file("old") == runtime / "kernel-old.json"
    assert find_connection_file() == runtime / "kernel-new.json"
    assert find_connection_file("gold.ipynb") == elsewhere / "gold.ipynb"


def test_a_file_that_is_not_there(runtime: Path) -> None:
    with pytest.raises(KernelNotFoundError, match=f"none of such a name in {runtime}"):
        find_connection_file("kernel-7.json")
    for file in runtime.iterdir():
        file.unlink()
    with pytest.raises(KernelNotFoundError, match="no kernel runs"):
        find_connection_file()


@contextmanager
def sleeper(*arguments: str, code: str = "pass", cwd: Path | None = None) -> Iterator[int]:
    """Run a process with these arguments, until the end of the block. When it is given, it says so."""
    program = f"{code}; print('ready', flush=True); import sys; sys.stdin.read()"
    command = [sys.executable, "-c", program, *arguments]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd)
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        yield started.pid
    finally:
        started.communicate(timeout=DEADLINE)


CHILD = (
    "import subprocess, sys; "
    "kids = [subprocess.Popen([sys.executable, '-c', 'print(flush=True); import sys; sys.stdin.read()', '-f', path], "
    "stdin=subprocess.PIPE, stdout=subprocess.PIPE) for path in sys.argv[1].split(',')]; "
    # A process has no arguments for a moment, before it is another program.
    "[kid.stdout.readline() for kid in kids]"
)


def test_a_process_is_known_by_its_arguments(runtime: Path) -> None:
    path = runtime / "other.json"
    with sleeper("-f", str(path)) as pid:
        assert connection_file_of_process(pid) == path
    with sleeper(f"--connection-file={path}") as pid:
        assert connection_file_of_process(pid) == path
    with sleeper("-f", "other.json", cwd=runtime) as pid:
        assert connection_file_of_process(pid) == path


def test_a_frontend_stands_for_its_kernel(runtime: Path) -> None:
    one, other = runtime / "kernel-old.json", runtime / "kernel-new.json"
    with sleeper(f"{one},", code=CHILD.replace("split(',')", "split(',')[:1]")) as pid:
        assert connection_file_of_process(pid) == one
    with sleeper(f"{one},{other}", code=CHILD) as pid, pytest.raises(KernelNotFoundError) as refused:
        connection_file_of_process(pid)
    assert "has several kernels, name one of them: " in str(refused.value)
    assert str(one) in str(refused.value) and str(other) in str(refused.value)


def test_a_process_that_is_no_kernel(runtime: Path) -> None:
    with (
        sleeper("x.json", str(runtime / "missing.json")) as pid,
        pytest.raises(KernelNotFoundError, match=f"no argument of the process {pid} is a connection file"),
    ):
        connection_file_of_process(pid)
    with pytest.raises(KernelNotFoundError, match=f"there is no process {pid}"):
        connection_file_of_process(pid)


# The command


@contextmanager
def traced(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command until the end of the block."""
    command = [*COMMAND, *map(str, arguments)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=DEADLINE)


def said_until(command: subprocess.Popen[bytes], text: bytes) -> None:
    """Read stderr up to a line that holds the text."""
    assert command.stderr is not None
    for line in command.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} was not said")


def test_ctrl_c_ends_it_well(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (started, info, path):
        with ProtocolClient(info):
            pass
        with traced("--pid", str(started.pid), "--json", "--type", "kernel_info_reply") as command:
            said_until(command, b"all channels")
            with ProtocolClient(info):
                pass
            assert command.stdout is not None and command.stderr is not None
            # The line that opens a transcript, and the first copy, which may come after the client has gone.
            first = command.stdout.readline() + command.stdout.readline()
            command.send_signal(signal.SIGINT)
            out, err = first + command.stdout.read(), command.stderr.read()
            assert command.wait(DEADLINE) == 0
    assert err.splitlines()[-1].startswith(b"Interrupted. ")
    assert b"kernel_info_reply" in err.splitlines()[-1]
    (tmp_path / "t.jsonl").write_bytes(out)
    records = Transcript.load(tmp_path / "t.jsonl").records
    assert records
    assert {record.message and record.message.msg_type for record in records} == {"kernel_info_reply"}
    assert path.exists()


def test_it_ends_with_the_kernel(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (_started, info, path):
        with ProtocolClient(info):
            pass
        with traced(path, "--channel", "control", "--json") as command:
            said_until(command, b"all channels")
            with ProtocolClient(info) as client:
                end = client.send("shutdown_request", restart=False)
                client.control.expect(reply("shutdown", parent=end))
                client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=end)
            _out, err = command.communicate(timeout=DEADLINE)
    assert command.returncode == 0
    assert b"The kernel has gone. " in err


def test_what_cannot_be_traced_is_told_in_a_line(runtime: Path) -> None:
    """Exit status 2, no traceback."""
    path = runtime / "kernel-new.json"
    (runtime / "broken.json").write_text("[]")
    for arguments, said in (
        ([path], "no kernel listens at tcp://127.0.0.1:2"),
        ([runtime / "broken.json"], "must hold a JSON object"),
        (["nowhere.json"], "there is no connection file nowhere.json"),
        ([runtime], f"{runtime} is a folder, not a connection file"),
        (["x" * 5000], "there is no connection file xxx"),
        ([""], "is empty"),
        (["--pid", "0"], "there is no process 0"),
        (["--pid", "1", path], "--pid and CONNECTION_FILE exclude each other"),
        (["--grep", "(", path], "is no regular expression"),
        (["--full", "--json", path], "--full and --json exclude each other"),
    ):
        ran = CliRunner().invoke(main, ["trace", *map(str, arguments)])
        assert ran.exit_code == 2, ran.output
        assert said in ran.stderr
        assert "Traceback" not in ran.output
