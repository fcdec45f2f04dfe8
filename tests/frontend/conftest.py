"""What the tests of the frontend share."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for IPC sockets."""
    with tempfile.TemporaryDirectory(prefix="kb") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def runtime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Jupyter's runtime folder, the test's own, and a check that the test left nothing (contract F11)."""
    runtime = folder / "runtime"
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    threads = set(threading.enumerate())
    # A kernel of another module's tests may live on.
    processes = set(child_processes())
    descriptors = open_descriptors()
    yield runtime
    assert {thread.name for thread in set(threading.enumerate()) - threads} == set()
    assert set(child_processes()) - processes == set()
    assert not runtime.exists() or list(runtime.iterdir()) == []
    assert open_descriptors() <= descriptors


@pytest.fixture
def kernel_that(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Install a kernel that is a Python program, and give its name. Further fields are those of the kernelspec."""
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))

    def install(program: str, name: str = "made", **fields: Any) -> str:
        kernel = folder / "jupyter" / "kernels" / name
        kernel.mkdir(parents=True)
        argv = [sys.executable, "-c", program, "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": name, "language": "python", **fields}
        (kernel / "kernel.json").write_text(json.dumps(spec))
        return name

    return install


def open_descriptors() -> int:
    """How many descriptors this process has open, where the platform tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def child_processes() -> list[str]:
    """The ids of this process's children, zombies too, where the platform tells."""
    children: list[str] = []
    for task in Path("/proc/self/task").glob("*/children"):
        # The task of a thread that has just ended: the others have its children now.
        with suppress(FileNotFoundError, ProcessLookupError):
            children += task.read_text().split()
    return children
