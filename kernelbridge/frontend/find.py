"""Finding a kernel that runs: by its connection file, by the name of that, or by a process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
from jupyter_client import connect
from jupyter_core.paths import jupyter_runtime_dir

from kernelbridge.wire.connection import ConnectionInfo, load_startup_file
from kernelbridge.wire.errors import WireError

__all__ = ["KernelNotFoundError", "connection_file_of_process", "find_connection_file"]

_PROC = Path("/proc")


class KernelNotFoundError(Exception):
    """There is no such kernel. One line, with the way out."""


def find_connection_file(given: str | None = None) -> Path:
    """Return the path of a connection file.

    Takes a path; a file's name in Jupyter's runtime folder, or a part of it; or nothing, for the file there that was
    used last, as ``jupyter console --existing`` does. Raises `KernelNotFoundError`.
    """
    folder = jupyter_runtime_dir()
    try:
        if given is not None and Path(given).is_dir():
            raise KernelNotFoundError(f"{given} is a folder, not a connection file")
        if given is not None and Path(given).exists():
            return Path(given).absolute()
        # There alone: a part of a name would also be that of any other file beside the user.
        return Path(connect.find_connection_file(given or "kernel-*.json", folder))
    except OSError:
        if given is None:
            raise KernelNotFoundError(f"no kernel runs: there is no connection file in {folder}") from None
        raise KernelNotFoundError(f"there is no connection file {given}, and none of such a name in {folder}") from None


def connection_file_of_process(pid: int) -> Path:
    """Return the path of the connection file that the process `pid` was started with.

    A process that is no kernel stands for the one kernel that it, or a child of its, has started. Raises
    `KernelNotFoundError` when there is none, or several.
    """
    processes = list(_processes())
    asked = next((process for process in processes if process.pid == pid), None)
    if asked is None:
        raise KernelNotFoundError(f"there is no process {pid}, or it cannot be looked at")
    found = {}
    for process in _family(asked, processes):
        path = _connection_file(process)
        if path is not None:
            found[process.pid] = path
    if pid in found:
        return found[pid]
    # A kernel may itself be started by a program that was given the same file, and hands it on.
    kernels = {path: one for one, path in reversed(found.items())}
    if len(kernels) == 1:
        return next(iter(kernels))
    if not kernels:
        raise KernelNotFoundError(
            f"no argument of the process {pid} is a connection file, nor of the processes that it has started: "
            "give the connection file itself"
        )
    listed = ", ".join(f"{one} ({path})" for path, one in kernels.items())
    raise KernelNotFoundError(f"the process {pid} has several kernels, name one of them: {listed}")


def processes_with_files(paths: Iterable[Path]) -> dict[Path, list[int]]:
    """Return which processes, but this one, were given each of these connection files as an argument.

    The one with the lowest number first.
    """
    wanted = {path.absolute() for path in paths}
    names = {path.name for path in wanted}
    found: dict[Path, list[int]] = {}
    others = (process for process in _processes() if process.pid != os.getpid())
    for process in sorted(others, key=lambda one: one.pid):
        for argument in process.arguments:
            text = argument if argument.endswith(".json") else ""
            for one in (text, text.partition("=")[2]):
                if one.rpartition("/")[2] in names and (path := _absolute(Path(one), process.pid)) in wanted:
                    found.setdefault(path, []).append(process.pid)
    return found


@attrs.frozen
class _Process:
    pid: int
    parent: int
    arguments: Sequence[str]


def _processes() -> Iterator[_Process]:
    """Return the processes that this user may look at."""
    if _PROC.is_dir():
        for folder in _PROC.iterdir():
            if folder.name.isdecimal():
                try:
                    # The name, in brackets, may hold anything; behind it are the state and the parent.
                    parent = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                    arguments = os.fsdecode((folder / "cmdline").read_bytes()).split("\0")
                except OSError:
                    # It has ended, or is somebody else's.
                    continue
                yield _Process(int(folder.name), parent, arguments)
        return
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)  # noqa: S607
    for line in listing.stdout.splitlines():
        own, above, *words = line.split()
        yield _Process(int(own), int(above), words)


def _family(process: _Process, processes: Sequence[_Process]) -> Iterator[_Process]:
    """Return the process and all that descend from it, the eldest first."""
    generation = [process]
    while generation:
        yield from generation
        parents = {one.pid for one in generation}
        generation = [one for one in processes if one.parent in parents]


def _connection_file(process: _Process) -> Path | None:
    """Return the first argument that is a connection file, or has one behind an equals sign."""
    for argument in process.arguments:
        for text in (argument, argument.partition("=")[2]):
            if not text.endswith(".json"):
                continue
            path = _absolute(Path(text), process.pid)
            try:
                info = load_startup_file(path)
            except WireError:
                continue
            if isinstance(info, ConnectionInfo):
                return path
    return None


def _absolute(path: Path, pid: int) -> Path:
    if path.is_absolute():
        return path
    try:
        return (_PROC / str(pid) / "cwd").readlink() / path
    except OSError:
        return path.absolute()
