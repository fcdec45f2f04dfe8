"""`kernelbridge list`, `ps`, `stop`, `interrupt`, `restart`: what they print, and their exit statuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result

from kernelbridge.cli import main
from kernelbridge.testing import Always, Scriptable, ScriptedKernel, always, on, reply, request
from kernelbridge.wire.connection import write_connection_file
from tests.support.kernels import tcp


def kernelbridge(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jupyter's runtime folder, the test's own."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@contextmanager
def a_kernel(runtime: Path, *script: Scriptable | Always) -> Iterator[str]:
    """A kernel whose connection file is found, and the name of that."""
    with ScriptedKernel(*script) as kernel:
        info = attrs.evolve(kernel.connection, kernel_name="here")
        write_connection_file(runtime / "kernel-here.json", info)
        yield "kernel-here"


def dead_file(runtime: Path) -> Path:
    info = tcp().with_ports({"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5})
    write_connection_file(runtime / "kernel-dead.json", info)
    return runtime / "kernel-dead.json"


# list


def test_the_installed_kernels_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, spec in (
        ("good", {"argv": ["good"], "display_name": "Good", "language": "g"}),
        ("bad", {"argv": [], "display_name": "Bad", "language": "b"}),
    ):
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    ran = kernelbridge("list", "--json")
    assert ran.exit_code == 0
    listed = {one["name"]: one for one in json.loads(ran.stdout)}
    assert listed["good"] == {
        "name": "good",
        "display_name": "Good",
        "language": "g",
        "folder": str(tmp_path / "kernels" / "good"),
        "problem": None,
    }
    assert "its argv is empty" in listed["bad"]["problem"]
    # It needs no installation.
    assert listed["kernelbridge"]["language"] == "python"
    lines = kernelbridge("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "DISPLAY", "NAME", "LANGUAGE", "FOLDER"]
    assert f"good          Good  g  {tmp_path}".split() in [line.partition("/kernels")[0].split() for line in lines]


# ps


def test_no_kernel(runtime: Path) -> None:
    ran = kernelbridge("ps")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "No kernel runs.\n")
    assert kernelbridge("ps", "--json").stdout == "[]\n"


def test_the_kernels_that_run_are_shown(runtime: Path) -> None:
    with a_kernel(runtime):
        dead = dead_file(runtime)
        ran = kernelbridge("ps", "--timeout", "60")
        shown = [line.split() for line in ran.stdout.splitlines()]
        assert shown[0] == ["NAME", "PID", "STATUS", "TRANSPORT", "AGE", "FRONTENDS", "CONNECTION", "FILE"]
        assert [line[-1] for line in shown[1:]] == [str(runtime / "kernel-here.json"), str(dead)]
        assert shown[2][:4] == ["-", "-", "dead", "tcp"]
        here, gone = json.loads(kernelbridge("ps", "--json", "--timeout", "60").stdout)
    assert (here["name"], here["status"], here["transport"]) == ("here", "idle", "ipc")
    assert set(here) == {
        "name",
        "pid",
        "status",
        "connection_file",
        "transport",
        "age",
        "frontends",
        "launcher",
    }
    assert gone["status"] == "dead"
    if sys.platform == "linux":
        assert here["frontends"] == 0


# stop, interrupt, restart


def test_a_kernel_is_stopped(runtime: Path) -> None:
    with a_kernel(runtime) as name:
        ran = kernelbridge("stop", name, "--grace", "60")
        assert ran.exit_code == 0, ran.output
        assert ran.stderr == f"Ended here ({runtime / 'kernel-here.json'}).\n"


def test_one_that_does_not_obey_does_not_keep_the_others(runtime: Path) -> None:
    with (
        a_kernel(runtime, always(request("shutdown"))) as name,
        ScriptedKernel() as other,
    ):
        ran = kernelbridge("stop", name, other.connection_file, "--grace", "0.5")
    assert ran.exit_code == 1
    first, second = ran.stderr.splitlines()
    assert first.startswith("Error: here (") and "has not ended within 0.5 s" in first
    assert second.startswith("Ended ")


def test_a_kernel_is_interrupted(runtime: Path) -> None:
    with a_kernel(runtime, on(request("interrupt"), reply(status="ok"))) as name:
        ran = kernelbridge("interrupt", name)
        assert (ran.exit_code, ran.stderr.endswith(" by a request.\n")) == (0, True)


def test_a_restart_that_nobody_does_is_told(runtime: Path) -> None:
    with a_kernel(runtime) as name:
        ran = kernelbridge("restart", name, "--timeout", "0", "--grace", "60")
    assert ran.exit_code == 1
    assert "has ended, and its launcher" in ran.stderr


@pytest.mark.parametrize("command", ["stop", "interrupt", "restart"])
def test_what_is_no_kernel_is_told_in_a_line(command: str, runtime: Path) -> None:
    """Exit status 2, no traceback."""
    dead = dead_file(runtime)
    (runtime / "notes.json").write_text("[]")
    for given, said in (
        (["nobody"], "none of such a name"),
        ([dead], "nobody listens there"),
        ([runtime / "notes.json"], "is no connection file"),
        (["999999999"], "none of such a name"),
        ([], "Missing argument"),
    ):
        ran = kernelbridge(command, *given)
        assert ran.exit_code == 2, ran.output
        assert said in ran.stderr
        assert "Traceback" not in ran.output


@pytest.mark.parametrize("command", ["list", "ps", "stop", "interrupt", "restart", "console"])
def test_every_command_says_what_it_does(command: str) -> None:
    ran = kernelbridge(command, "--help")
    assert ran.exit_code == 0
    assert ran.stdout.startswith(f"Usage: main {command}")
