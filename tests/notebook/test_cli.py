"""The command line, as a program of its own: exit statuses, what it says, and what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any, ClassVar

import nbformat
import pytest
from click.testing import CliRunner, Result

from kernelbridge.cli import main
from kernelbridge.notebook import read_notebook
from kernelbridge.python.install import kernel_spec
from kernelbridge.version import __version__
from tests.notebook.conftest import ROOT

pytestmark = pytest.mark.usefixtures("environment")

DEADLINE = 60
COMMAND = [sys.executable, "-m", "kernelbridge"]
EMPTY = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def kernelbridge(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Result:
    """Run a command in this process, which saves the time that a new one takes to import what it needs."""
    ran = CliRunner().invoke(main, [*map(str, arguments)], prog_name="kernelbridge", env=env)
    # Anything else would be a traceback.
    assert isinstance(ran.exception, SystemExit | None), ran.exception
    return ran


def in_a_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE)


def notebook_file(path: Path, *sources: str, metadata: dict[str, Any] | None = None) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata or {}), path)
    return path


def printed(path: Path) -> list[str]:
    """What each cell of the notebook at `path` shows on its streams."""
    return [
        "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for cell in read_notebook(path).cells
    ]


needs_a_terminal = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")


def on_a_terminal(*arguments: str | Path, env: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Return the exit status of a command whose stderr is a terminal, and what it has shown there."""
    master, slave = os.openpty()
    shown = bytearray()

    def read() -> None:
        # Linux ends a pseudo-terminal that nobody holds any more with EIO.
        with contextlib.suppress(OSError):
            while chunk := os.read(master, 65536):
                shown.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **(env or {})}
    command = [*COMMAND, *map(str, arguments)]
    status = subprocess.run(command, stderr=slave, timeout=DEADLINE, env=environment).returncode
    os.close(slave)
    reader.join(DEADLINE)
    os.close(master)
    return status, bytes(shown)


class TestRun:
    def test_writes_beside_the_notebook(self, tmp_path: Path) -> None:
        source = notebook_file(tmp_path / "n.ipynb", "print('hello')")
        before = source.read_bytes()
        ran = in_a_process("run", source)
        assert ran.returncode == 0, ran.stderr
        assert printed(tmp_path / "n.out.ipynb") == ["hello\n"]
        assert source.read_bytes() == before
        assert ran.stdout == ""
        assert ran.stderr == f"Ran 1 cell with the kernel kernelbridge. Written: {tmp_path / 'n.out.ipynb'}\n"

    def test_inplace(self, tmp_path: Path) -> None:
        source = notebook_file(tmp_path / "n.ipynb", "print('hello')")
        source.chmod(0o600)
        assert kernelbridge("run", source, "--inplace").exit_code == 0
        assert printed(source) == ["hello\n"]
        assert source.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["n.ipynb"]

    def test_output_and_kernel(self, tmp_path: Path) -> None:
        source = notebook_file(tmp_path / "n.ipynb", "type(get_ipython()).__module__.split('.')[0]")
        assert kernelbridge("run", source, "-o", tmp_path / "x", "-k", "python3").exit_code == 0
        assert read_notebook(tmp_path / "x").cells[0].outputs[0].data["text/plain"] == "'ipykernel'"

    def test_the_tour(self, tmp_path: Path) -> None:
        ran = kernelbridge("run", ROOT / "examples" / "tour.ipynb", "--output", tmp_path / "tour.ipynb")
        assert ran.exit_code == 0, ran.stderr

    def test_a_failing_cell_is_shown_with_its_traceback(self, tmp_path: Path) -> None:
        source = notebook_file(tmp_path / "n.ipynb", "print('ran')", "\n# why\n1 / 0", "print('never')")
        ran = kernelbridge("run", source)
        assert ran.exit_code == 1
        lines = ran.stderr.splitlines()
        assert lines[0] == "Cell 2 failed: # why"
        assert "ZeroDivisionError: division by zero" in lines
        assert lines[-1] == f"What ran is in {tmp_path / 'n.out.ipynb'}."
        assert "\x1b" not in ran.stderr
        assert printed(tmp_path / "n.out.ipynb") == ["ran\n", "", ""]

    def test_allow_errors(self, tmp_path: Path) -> None:
        source = notebook_file(tmp_path / "n.ipynb", "1 / 0", "print('on')")
        assert kernelbridge("run", source, "--allow-errors").exit_code == 0
        assert printed(tmp_path / "n.out.ipynb") == ["", "on\n"]

    def test_timeout(self, tmp_path: Path) -> None:
        source = notebook_file(tmp_path / "n.ipynb", "while True: pass")
        ran = kernelbridge("run", source, "--timeout", "1")
        assert ran.exit_code == 1
        assert "CellTimeoutError: the cell ran longer than 1 s" in ran.stderr.splitlines()

    def test_a_kernel_that_dies(self, tmp_path: Path) -> None:
        source = notebook_file(tmp_path / "n.ipynb", "print('ran')", "import os; os._exit(7)")
        ran = kernelbridge("run", source)
        assert ran.exit_code == 1
        assert "KernelDiedError" in ran.stderr and "exit status 7" in ran.stderr
        assert "Traceback" not in ran.stderr
        assert printed(tmp_path / "n.out.ipynb")[0] == "ran\n"

    @needs_a_terminal
    def test_a_terminal_gets_a_progress_bar(self, tmp_path: Path) -> None:
        status, shown = on_a_terminal("run", notebook_file(tmp_path / "n.ipynb", "print('ran')", "1 / 0"))
        assert status == 1
        assert b"starting the kernel" in shown
        assert b"Cell 2 failed: 1 / 0" in shown
        assert b"\x1b[31mZeroDivisionError\x1b[39m" in shown

    @needs_a_terminal
    def test_a_terminal_whose_user_wants_no_colour_gets_none(self, tmp_path: Path) -> None:
        source = notebook_file(tmp_path / "n.ipynb", "1 / 0")
        status, shown = on_a_terminal("run", source, env={"NO_COLOR": "1"})
        assert status == 1
        assert b"\nZeroDivisionError: division by zero\r\n" in shown


class TestBadInput:
    """The table "Bad input" of the contract: one line, exit status 2, no traceback, nothing written."""

    FILES: ClassVar[dict[str, bytes]] = {
        "no_json.ipynb": b"print(1)",
        "no_notebook.ipynb": b"[]",
        "future.ipynb": json.dumps({**EMPTY, "nbformat": 5}).encode(),
        "invalid.ipynb": json.dumps({**EMPTY, "cells": [{"cell_type": "code"}]}).encode(),
        "julia.ipynb": json.dumps(
            {**EMPTY, "metadata": {"kernelspec": {"name": "no-such-julia", "display_name": "J"}}}
        ).encode(),
        "good.ipynb": json.dumps(EMPTY).encode(),
    }

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["missing.ipynb"], "missing.ipynb: cannot be read: No such file or directory"),
            (["."], "cannot be read: Is a directory"),
            (["no_json.ipynb"], "no_json.ipynb: is no notebook: it is not JSON"),
            (["no_json.ipynb", "--inplace"], "is no notebook"),
            (["no_notebook.ipynb"], "has no field nbformat"),
            (["future.ipynb"], "is of notebook format 5; formats 3 and 4 are supported"),
            (["invalid.ipynb"], "invalid.ipynb: is no valid notebook"),
            (["julia.ipynb"], "no kernel named 'no-such-julia'; there are absent, "),
            (["good.ipynb", "--kernel", "no-such"], "no kernel named 'no-such'; there are absent, "),
            (["good.ipynb", "--kernel", ""], "'--kernel' / '-k': is empty"),
            (["good.ipynb", "--kernel", "broken"], "ended with exit status 3 while starting: it is broken"),
            (["good.ipynb", "--kernel", "absent"], "could not be started"),
            (["good.ipynb", "--output", "none/out.ipynb"], "none/out.ipynb: cannot be written: there is no directory"),
            (["good.ipynb", "--output", "kernels"], "kernels: cannot be written: it is a directory"),
            (["good.ipynb", "--output", "x", "--inplace"], "exclude each other"),
            (["good.ipynb", "--timeout", "0"], "--timeout"),
            (["good.ipynb", "--timeout", "soon"], "--timeout"),
            (["good.ipynb", "--timeout", "nan"], "--timeout"),
            (["good.ipynb", "--timeout", "inf"], "--timeout"),
            (["good.ipynb", "--no-such-option"], "--no-such-option"),
            ([], "NOTEBOOK"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, list) else "",
    )
    def test_is_one_line_and_status_2(
        self, arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
        for name, content in self.FILES.items():
            Path(name).write_bytes(content)
        broken = "print('it is broken'); raise SystemExit(3)"
        for name, argv in {"broken": [sys.executable, "-c", broken], "absent": ["/no/such/program"]}.items():
            folder = tmp_path / "kernels" / name
            folder.mkdir(parents=True)
            spec = {"argv": argv, "display_name": name, "language": "x"}
            (folder / "kernel.json").write_text(json.dumps(spec))
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        ran = kernelbridge("run", *arguments)
        assert ran.exit_code == 2
        last = ran.stderr.splitlines()[-1]
        assert last.startswith("Error: ") and said in last
        assert "Traceback" not in ran.stderr
        # What click says of wrong options has the usage above it.
        assert len(ran.stderr.splitlines()) == 1 or ran.stderr.startswith("Usage: ")
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@contextlib.contextmanager
def stopped_in_its_second_cell(
    tmp_path: Path, rest: str = "os.write(pipe, b'x')\nthreading.Event().wait()"
) -> Iterator[tuple[subprocess.Popen[str], Callable[[], None]]]:
    """A run whose second cell has begun and does `rest`, which says so through a pipe and will not end.

    With it comes what waits until the cell has written to `pipe` once more.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = notebook_file(
        tmp_path / "n.ipynb",
        "import os; print(os.getpid())",
        # Not with a file object: an interrupt that strikes in a file's finalizer is lost.
        f"import threading\nprint('begun')\npipe = os.open({str(pipe)!r}, 1)\n{rest}",
        "print('never')",
    )
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def hear() -> None:
        ready, _, _ = select.select([descriptor], [], [], DEADLINE)
        assert ready, "the cell has not written"
        assert os.read(descriptor, 1) == b"x"

    # Of a session of its own, as in a terminal, where Ctrl-C reaches the program and not the kernel.
    program = subprocess.Popen([*COMMAND, "run", source], stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        hear()
        yield program, hear
    finally:
        os.close(descriptor)
        program.kill()
        program.communicate()


@pytest.mark.skipif(os.name != "posix", reason="needs signals and named pipes")
class TestInterrupted:
    def test_ctrl_c_keeps_what_ran_and_ends_the_kernel(self, tmp_path: Path) -> None:
        with stopped_in_its_second_cell(tmp_path) as (program, _):
            program.send_signal(signal.SIGINT)
            _, said = program.communicate(timeout=DEADLINE)
        assert program.returncode == 130
        assert said == "Interrupted. What ran before, if anything did, is kept.\n"
        kernel, second, third = printed(tmp_path / "n.out.ipynb")
        assert (second, third) == ("begun\n", "")
        interrupted = read_notebook(tmp_path / "n.out.ipynb").cells[1]
        assert interrupted.outputs[-1].ename == "KeyboardInterrupt"
        with pytest.raises(ProcessLookupError):
            os.kill(int(kernel), 0)

    def test_ctrl_c_before_there_is_a_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Interrupted(ModuleType):
            def __getattr__(self, name: str) -> object:
                raise KeyboardInterrupt

        monkeypatch.setitem(sys.modules, "kernelbridge.notebook", Interrupted("kernelbridge.notebook"))
        assert CliRunner().invoke(main, ["run", str(tmp_path / "n.ipynb")]).exit_code == 130

    def test_ctrl_c_again_ends_a_kernel_that_does_not_heed_the_first(self, tmp_path: Path) -> None:
        stubborn = """
            told = False
            while True:
                try:
                    if not told:
                        # In here, so that no interrupt comes before it is caught.
                        told = True
                        os.write(pipe, b"x")
                    threading.Event().wait()
                except KeyboardInterrupt:
                    os.write(pipe, b"x")
        """
        with stopped_in_its_second_cell(tmp_path, dedent(stubborn)) as (program, hear):
            program.send_signal(signal.SIGINT)
            hear()
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=DEADLINE)
        assert program.returncode == 130
        kernel, _, _ = printed(tmp_path / "n.out.ipynb")
        with pytest.raises(ProcessLookupError):
            os.kill(int(kernel), 0)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_other_signals_do_so_too(self, number: signal.Signals, tmp_path: Path) -> None:
        with stopped_in_its_second_cell(tmp_path) as (program, _):
            program.send_signal(number)
            program.communicate(timeout=DEADLINE)
        assert program.returncode == 128 + number
        kernel, second, third = printed(tmp_path / "n.out.ipynb")
        assert (second, third) == ("begun\n", "")
        with pytest.raises(ProcessLookupError):
            os.kill(int(kernel), 0)


class TestInstall:
    def test_below_a_prefix(self, tmp_path: Path) -> None:
        installed = kernelbridge("install", "--prefix", tmp_path)
        assert installed.exit_code == 0, installed.stderr
        folder = tmp_path / "share" / "jupyter" / "kernels" / "kernelbridge"
        assert str(folder) in installed.stderr
        assert json.loads((folder / "kernel.json").read_bytes()) == kernel_spec()

    def test_for_the_user_in_place_of_an_old_one_and_ready_to_use(self, tmp_path: Path) -> None:
        data = {"JUPYTER_DATA_DIR": str(tmp_path / "data")}
        kernel_json = tmp_path / "data" / "kernels" / "kernelbridge" / "kernel.json"
        kernel_json.parent.mkdir(parents=True)
        kernel_json.write_text("old")
        assert kernelbridge("install", "--user", env=data).exit_code == 0
        assert json.loads(kernel_json.read_bytes())["argv"][0] == sys.executable
        source = notebook_file(tmp_path / "n.ipynb", "print('hello')")
        assert kernelbridge("run", source, "--kernel", "kernelbridge", env=data).exit_code == 0
        assert printed(tmp_path / "n.out.ipynb") == ["hello\n"]

    def test_where_nobody_may_write(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        installed = kernelbridge("install", "--prefix", tmp_path / "file")
        assert installed.exit_code == 2
        assert installed.stderr.startswith("Error: the kernel cannot be installed: ")
        assert len(installed.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--user", "--prefix", "x"], "--user and --prefix exclude each other"),
            (["--user", "--sys-prefix"], "--user and --sys-prefix exclude each other"),
            # As of a variable that is not set: it must not stand for the default.
            (["--prefix", ""], "'--prefix': is empty"),
        ],
    )
    def test_one_place_only(
        self, arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        refused = kernelbridge("install", *arguments)
        assert refused.exit_code == 2
        assert said in refused.stderr
        assert not list(tmp_path.iterdir())

    def test_the_wheels_kernelspec_is_the_same_but_for_the_interpreter(self) -> None:
        shipped = ROOT / "kernelbridge" / "python" / "kernelspec" / "kernel.json"
        assert json.loads(shipped.read_bytes()) == kernel_spec("python")


class TestHelp:
    def test_names_the_commands_options_and_exit_statuses(self) -> None:
        assert {"run", "install", "--version"} <= set(kernelbridge("--help").stdout.split())
        said = kernelbridge("run", "--help").stdout
        for part in ("--output", "--inplace", "--kernel", "--timeout", "--allow-errors", ".out.ipynb", "Exit status"):
            assert part in said

    def test_version(self) -> None:
        assert kernelbridge("--version").stdout == f"kernelbridge {__version__}\n"
