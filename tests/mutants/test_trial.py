"""A run of tests says what it found, and leaves nothing, however it ends."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from kernelbridge.testing import DEADLINE
from tests.mutants.fault import DoesNotApplyError, Fault
from tests.mutants.trial import Outcome, Patience, faulty_copy, run_tests

PATIENCE = Patience(test=120.0, run=240.0)

PASSES = "from code import answer\ndef test_it():\n    assert answer == 42\n"
FAULT = Fault("a fault", "code.py", "42", "43", "the answer", ("tests/test_code.py",))
HANGS = """
import os, subprocess, sys
def test_it():
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
    with open(os.environ["SAY_WHERE"], "w") as pipe:
        pipe.write(f"{os.getpid()} {child.pid}")
    child.wait()
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A program and its test, which pass."""
    tree = tmp_path / "tree"
    (tree / "tests").mkdir(parents=True)
    (tree / "code.py").write_text("answer = 42\n")
    (tree / "tests" / "test_code.py").write_text(PASSES)
    return tree


def outcome(tree: Path, fault: Fault | None = None, patience: Patience = PATIENCE) -> Outcome:
    with faulty_copy(tree, fault) as folder:
        found = asyncio.run(run_tests(folder, ["tests/test_code.py"], patience))
    assert not folder.exists()
    return found


def test_without_a_fault_the_tests_pass_and_with_it_one_fails(tree: Path) -> None:
    assert outcome(tree).passed
    found = outcome(tree, FAULT)
    assert (found.failed, found.said) == ("tests/test_code.py::test_it", "assert 43 == 42")
    assert not found.passed
    assert (tree / "code.py").read_text() == "answer = 42\n"


def test_tests_that_cannot_be_collected_have_caught_nothing(tree: Path) -> None:
    (tree / "tests" / "test_code.py").write_text("import nothing_of_this_name\n")
    found = outcome(tree)
    assert "pytest ended with status 2" in found.broken
    assert not (found.passed or found.failed)


def test_what_runs_for_too_long_has_hung(tree: Path) -> None:
    found = outcome(tree, patience=Patience(test=120.0, run=0.0))
    assert found.hung
    assert not found.passed


def test_a_fault_that_does_not_apply_is_told_and_leaves_no_copy(tree: Path) -> None:
    (tree / "code.py").write_text("answer = 6 * 7\n")
    with pytest.raises(DoesNotApplyError, match=r"its text is in code\.py 0 times"):
        outcome(tree, FAULT)


@contextmanager
def ended(pids: Iterable[int]) -> Iterator[None]:
    """Wait at the end until these processes have ended, although nobody may have asked for their status yet."""
    with ExitStack() as stack:
        ends = []
        for pid in pids:
            ends.append(os.pidfd_open(pid))
            stack.callback(os.close, ends[-1])
        yield
        for end in ends:
            assert select.select([end], [], [], DEADLINE)[0]


def test_who_interrupts_the_tests_leaves_no_process(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the tests nor of what they have started, in whatever session that is.

    What has just been started has no environment, by which it could be known, until it is another program."""
    (tree / "tests" / "test_code.py").write_text(HANGS)
    pipe = tree.with_name("pipe")
    os.mkfifo(pipe)
    monkeypatch.setenv("SAY_WHERE", str(pipe))
    becoming_another: set[int] = set()
    environ = psutil.Process.environ

    def as_it_is_for_a_moment(process: psutil.Process) -> dict[str, str]:
        return {} if process.pid in becoming_another else environ(process)

    monkeypatch.setattr(psutil.Process, "environ", as_it_is_for_a_moment)

    async def interrupted(folder: Path) -> None:
        running = asyncio.ensure_future(run_tests(folder, ["tests/test_code.py"], PATIENCE))
        said = await asyncio.to_thread(pipe.read_text)
        tests, child = map(int, said.split())
        with ended((tests, child)):
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    with faulty_copy(tree, None) as folder:
        asyncio.run(interrupted(folder))
