"""Folders with an owner: what a killed owner has left is removed by the next one, and nothing else is (F11)."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernelbridge.bridges.folders import OwnFolder
from kernelbridge.testing import DEADLINE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows locks no folders")

KIND = "kernelbridge-kind-"
OWNER = f"""
import pathlib, sys
from kernelbridge.bridges.folders import OwnFolder
folder = OwnFolder({KIND!r})
folder.make()
(folder.path / "file").touch()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@contextmanager
def owner() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that owns a folder."""
    command = (sys.executable, "-c", OWNER)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_f11_what_a_killed_owner_has_left_is_removed_by_the_next(place: Path) -> None:
    with owner() as (process, left), owner() as (_, owned):
        process.kill()
        process.wait(DEADLINE)
        assert (left / "file").exists()
        folder = OwnFolder(KIND)
        folder.make()
        assert sorted(place.iterdir()) == sorted([owned, folder.path])
        assert (owned / "file").exists()
    folder.remove()


def test_a_folder_is_for_the_user_alone_and_made_once() -> None:
    folder = OwnFolder(KIND)
    assert not folder.path.exists()
    for _ in range(2):
        folder.make()
        (folder.path / "file").touch()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    folder.remove()
    folder.remove()
    assert not folder.path.exists()


def test_two_of_one_process_leave_each_other_alone() -> None:
    folders = OwnFolder(KIND), OwnFolder(KIND)
    for folder in folders:
        folder.make()
    assert all(folder.path.exists() for folder in folders)
    for folder in folders:
        folder.remove()


def test_one_that_somebody_has_removed_is_made_and_owned_again() -> None:
    folder, other = OwnFolder(KIND), OwnFolder(KIND)
    folder.make()
    folder.path.rmdir()
    folder.make()
    other.make()
    assert folder.path.exists()
    folder.remove()
    other.remove()


def test_what_is_no_such_folder_stays(place: Path) -> None:
    """A link to a folder above all."""
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (place / f"{KIND}link").symlink_to(elsewhere)
    (place / f"{KIND}file").touch()
    folder = OwnFolder(KIND)
    folder.make()
    assert (elsewhere / "file").exists()
    assert {f"{KIND}link", f"{KIND}file", "elsewhere"} <= {path.name for path in place.iterdir()}
    folder.remove()


def test_one_that_is_taken_for_left_behind_before_it_is_locked_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = OwnFolder(KIND), OwnFolder(KIND)
    made = Path.mkdir
    calls = []

    def mkdir(path: Path, mode: int = 0o777) -> None:
        made(path, mode)
        calls.append(path)
        if path == folder.path and calls.count(path) == 1:
            other.make()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    folder.make()
    assert calls == [folder.path, other.path, folder.path]
    assert folder.path.exists()
    folder.remove()
    other.remove()
