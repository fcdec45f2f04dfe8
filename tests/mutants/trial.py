"""One run of tests on a private copy of the tree: what it found, and nothing of it left.

The copy is of the files that git tracks or would track, as they stand. It is first on the path of the tests and of all
that they start, and what they write goes below it or beside it in one private folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import attrs
import psutil  # type: ignore[import-untyped]

from tests.mutants.fault import ROOT, Fault

# Found in the environment of whatever a run has started, wherever that has gone.
_MARK = "KERNELBRIDGE_MUTANT"


@attrs.frozen
class Patience:
    """How many seconds one test may take, and the run: after that they hang."""

    test: float
    run: float


@attrs.frozen
class Outcome:
    """How a run of tests ended. `failed` is the first test that failed; `hung` is whether it had to be ended.

    `said` is the first line of the failure. `broken` says why the tests could not be run, if they could not.
    """

    seconds: float
    failed: str = ""
    said: str = ""
    hung: bool = False
    broken: str = ""

    @property
    def passed(self) -> bool:
        return not (self.failed or self.hung or self.broken)


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a folder, and remove it at the end. Its name is short: sockets lie below it, whose paths may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="kbm"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_work_tree(tree: Path) -> None:
    """Copy what git tracks, or would, as it stands now, to `tree`: all faults are put into the same."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in {name for name in listed.split("\0") if (ROOT / name).is_file()}:
        copy = tree / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy)


@contextmanager
def faulty_copy(tree: Path, fault: Fault | None) -> Iterator[Path]:
    """Give a private folder whose `tree` is a copy of this tree, with the fault in it. Raises `DoesNotApplyError`."""
    with private_folder() as folder:
        shutil.copytree(tree, folder / "tree")
        if fault is not None:
            fault.apply(folder / "tree")
        yield folder


async def run_tests(folder: Path, arguments: Sequence[str], patience: Patience) -> Outcome:
    """Run pytest in a faulty copy, to the first failure or until it hangs."""
    mark = secrets.token_hex(8)
    report = folder / "report.xml"
    said = folder / "said"
    report.unlink(missing_ok=True)
    for name in ("tmp", "run"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    own = {
        "PYTHONPATH": str(folder / "tree"),
        "TMPDIR": str(folder / "tmp"),
        "JUPYTER_RUNTIME_DIR": str(folder / "run"),
        "IPYTHONDIR": str(folder / "ipython"),
        _MARK: mark,
    }
    command = [sys.executable, "-m", "pytest", "-x", "-v", "--tb=short", "-p", "no:randomly", "-p", "no:cacheprovider"]
    # A test that takes too long ends the run there and then: what it has started may hang as well.
    command += [f"--timeout={patience.test:g}", "--timeout-method=thread"]
    command += [f"--basetemp={folder / 't'}", f"--junitxml={report}"]
    command += arguments
    loop = asyncio.get_running_loop()
    began = loop.time()
    hung = False
    with said.open("wb") as output:
        # A session of its own: Ctrl-C is for this program alone, which ends the tests then.
        tests = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder / "tree",
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = await asyncio.wait_for(tests.wait(), patience.run)
        except TimeoutError:
            hung, status = True, 1
        finally:
            _end_all_marked(mark)
            await tests.wait()
    seconds = loop.time() - began
    text = said.read_text(encoding="utf-8", errors="replace")
    if hung or (not report.is_file() and "+ Timeout +" in text):
        return Outcome(seconds, failed=_last_test(text), hung=True)
    if status == 0:
        return Outcome(seconds)
    failed, line = _first_failure(folder / "tree", report) if status == 1 and report.is_file() else ("", "")
    if not failed:
        last = [line for line in text.splitlines() if line.strip()][-5:]
        return Outcome(seconds, broken=f"pytest ended with status {status}: {' | '.join(last)}")
    return Outcome(seconds, failed, line)


def _end_all_marked(mark: str) -> None:
    """Kill whatever the run has started and has not ended, the tests themselves too."""
    # Until none is found: what is killed in one round may have started another meanwhile.
    while marked := _marked(mark):
        for process in marked:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _marked(mark: str) -> set[psutil.Process]:
    found = set()
    for process in psutil.process_iter():
        # It has ended meanwhile, or is somebody else's.
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark:
                # One that is about to become another program has no environment for a moment, but it has a parent.
                found |= {process, *process.children(recursive=True)}
    return found


def _first_failure(tree: Path, report: Path) -> tuple[str, str]:
    """Return the first test that failed, as a node id without its parameters, and the first line of why."""
    for case in ElementTree.parse(report).iter("testcase"):
        for failure in (*case.findall("failure"), *case.findall("error")):
            if failure.get("message") == "collection failure":
                # A test that cannot be collected has caught nothing.
                return "", ""
            line = (failure.get("message") or "").partition("\n")[0]
            return _node(tree, case.get("classname", ""), case.get("name", "")), line
    return "", ""


def _node(tree: Path, dotted: str, name: str) -> str:
    """Return the node id of a test, without its parameters: `dotted` names its module, and its class if it has one."""
    parts = dotted.split(".")
    length = next((n for n in range(len(parts), 0, -1) if (tree / "/".join(parts[:n])).with_suffix(".py").is_file()), 0)
    return "::".join(["/".join(parts[:length]) + ".py", *parts[length:], name.partition("[")[0]])


def _last_test(text: str) -> str:
    """Return the test that ran last, from what pytest has printed so far."""
    lines = [line for line in text.splitlines() if line.startswith("tests/") and "::" in line]
    return lines[-1].partition("[")[0].partition(" ")[0] if lines else ""
