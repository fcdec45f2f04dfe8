"""The kernels that run, whoever has launched them: found by their connection files in Jupyter's folder, and asked.

A file alone says little. Kernels that were killed leave theirs, and the ports in it may be somebody else's by now. So
each kernel is asked, and signs its answers:

    idle      it answers on Shell
    busy      its heartbeat echoes, or Control answers, and Shell does not: it runs a cell
    silent    somebody listens there, and does not answer
    starting  nobody listens yet, and there is a process that was given the file
    dead      nobody listens, and there is no such process
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import attrs
from jupyter_core.paths import jupyter_runtime_dir

from kernelbridge.frontend.find import KernelNotFoundError, find_connection_file, processes_with_files
from kernelbridge.frontend.inquiry import Answer, inquire
from kernelbridge.frontend.listeners import Listener, iopub_listeners
from kernelbridge.frontend.processes import origin
from kernelbridge.wire.connection import ConnectionInfo, RegistrationInfo, load_startup_file
from kernelbridge.wire.errors import ConnectionFileError

ASK_SECONDS: Final = 1.0
"""How long kernels are given to answer, unless somebody says otherwise."""

Status = Literal["idle", "busy", "silent", "starting", "dead"]


@attrs.frozen(kw_only=True)
class FoundKernel:
    """A kernel of whoever, as far as it can be seen."""

    connection_file: Path
    connection: ConnectionInfo | None
    """None for one that has yet to choose its ports."""
    name: str
    """The name of its kernelspec, as its connection file says, or what it calls itself; else empty."""
    status: Status
    pid: int | None
    launcher: int | None
    """The parent of its process."""
    age: float
    """Seconds since its process was started; where that cannot be seen, since its file was written."""
    frontends: int | None
    """How many are connected to its IOPub."""
    is_program: bool
    """Whether its process listens there and was given the connection file, and so is the kernel's own; else a kernel is
    embedded in it, or nobody knows."""

    @property
    def listens(self) -> bool:
        """Whether there is somebody to be asked."""
        return self.status in ("idle", "busy", "silent")

    def to_json(self) -> dict[str, Any]:
        """Return what `kernelbridge ps --json` prints of it."""
        return {
            "name": self.name,
            "pid": self.pid,
            "status": self.status,
            "connection_file": str(self.connection_file),
            "transport": None if self.connection is None else self.connection.transport,
            "age": round(self.age, 1),
            "frontends": self.frontends,
            "launcher": self.launcher,
        }

    def __str__(self) -> str:
        """Return it as it can be named."""
        return f"{self.name or 'kernel'} ({self.connection_file})"


def running_kernels(files: Iterable[Path] | None = None, *, seconds: float = ASK_SECONDS) -> list[FoundKernel]:
    """Return the kernels whose connection files lie in Jupyter's runtime folder, or of these `files`, the eldest first.

    Asks each and waits at most so many seconds, for all of them together. The dead come last. Files in that folder that
    are no connection files are passed over.
    """
    if files is None:
        files = Path(jupyter_runtime_dir()).glob("*.json")
    known: dict[Path, ConnectionInfo | RegistrationInfo] = {}
    for path in files:
        try:
            known[path] = load_startup_file(path)
        except ConnectionFileError:
            continue
    connections = {path: info for path, info in known.items() if isinstance(info, ConnectionInfo)}
    # Before they are asked, which would be one more frontend.
    listeners = dict(zip(connections, iopub_listeners(connections.values()), strict=True))
    answers = dict(zip(connections, inquire(list(connections.values()), seconds), strict=True))
    pids = processes_with_files(known)
    found = [
        _found(path, connections.get(path), listeners.get(path), answers.get(path, Answer()), pids.get(path, ()))
        for path in known
    ]
    return sorted(found, key=lambda one: (one.status == "dead", -one.age))


def _found(
    path: Path, info: ConnectionInfo | None, listener: Listener | None, answer: Answer, given: Sequence[int]
) -> FoundKernel:
    """Put together what is known of a kernel. `given` are the processes that were given its file."""
    # Where nobody tells who listens: who was given the file first, for a kernel is older than those who connect to it.
    pid = listener.pid if listener is not None else next(iter(given), None)
    parent, age = (None, None) if pid is None else origin(pid)
    own = answer.info.get("implementation")
    return FoundKernel(
        connection_file=path,
        connection=info,
        name=(info.kernel_name if info is not None else "") or (own if isinstance(own, str) else ""),
        status=_status(answer, starting=bool(given)),
        pid=pid,
        launcher=parent,
        age=_age_of_file(path) if age is None else age,
        frontends=None if listener is None else listener.connections,
        # Who was given the file may also be a frontend: it takes a listener to be sure.
        is_program=listener is not None and pid is not None and pid in given,
    )


def _status(answer: Answer, *, starting: bool) -> Status:
    if not answer.listens:
        return "starting" if starting else "dead"
    if answer.shell is not None:
        return "idle"
    return "busy" if answer.echoes or answer.control is not None else "silent"


def _age_of_file(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        # It has ended meanwhile.
        return 0.0


def find_kernel(given: str) -> FoundKernel:
    """Return the one kernel that is meant: by a connection file, the name of a kernel, a process, or a part of a file's
    name. Raises `KernelNotFoundError` if there is none, or if there are several.

    A kernel that is dead is found by its file alone.
    """
    if Path(given).is_file():
        meant = running_kernels([Path(given).absolute()])
        if not meant:
            raise KernelNotFoundError(f"{given} is no connection file")
        return meant[0]
    kernels = running_kernels()
    alive = [one for one in kernels if one.status != "dead"]
    ways = (
        [one for one in alive if given.isdecimal() and one.pid == int(given)],
        [one for one in alive if one.name == given],
        [one for one in kernels if given in (one.connection_file.name, one.connection_file.stem)],
        [one for one in alive if given and given in one.connection_file.name],
    )
    for meant in ways:
        if len(meant) == 1:
            return meant[0]
        if meant:
            listed = ", ".join(f"{one.pid or one.connection_file.name}" for one in meant)
            raise KernelNotFoundError(f"several kernels are meant by {given!r}, name one of them: {listed}")
    # It says where it has looked.
    find_connection_file(given)
    raise KernelNotFoundError(f"no kernel that runs is meant by {given!r}; `kernelbridge ps` shows those that do")
