"""The files of launched kernels, whose they are, and what becomes of those whose owner has crashed (contract F11).

    RUNTIME/                    Jupyter's folder for what runs
        kernel-ID.json          the connection file, where Jupyter looks for the kernels that run
        kernelbridge-ID/        mode 0700, made for every launched kernel
            owner               locked (flock) by the frontend's process for as long as it lives
            group               the kernel's process group, once it has started
            s-1 ... s-5         IPC sockets; where these paths would be too long,
            sockets             a link to the folder that has them

Who launches a kernel first reaps what others have left (owned_folders.py). A kernel carries its ID in its environment,
so that no process is killed for having the number that a kernel once had.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Final, Literal

import attrs
from jupyter_core.paths import jupyter_runtime_dir

from kernelbridge.frontend.errors import KernelStartError
from kernelbridge.frontend.owned_folders import disown, own, take_over
from kernelbridge.frontend.ports import Ports
from kernelbridge.frontend.processes import kill_marked
from kernelbridge.wire.connection import (
    CONNECTION_FILE_PREFIX,
    GROUP_FILE,
    IPC_PATH_LIMIT,
    KERNEL_FOLDER_PREFIX,
    OWNER_FILE,
    SOCKETS_LINK,
)

logger = logging.getLogger("kernelbridge")

LaunchTransport = Literal["ipc", "tcp"]

KERNEL_ID_VARIABLE: Final = "KERNELBRIDGE_KERNEL_ID"
"""The environment variable by which the process of a launched kernel is known for what it is."""

_LONGEST_PORT: Final = "-65535"
_KERNEL_ID: Final = re.compile("[0-9a-f]{16}")


@attrs.define
class Files:
    """The files of one launched kernel."""

    kernel_id: str
    connection_file: Path
    folder: Path
    socket_folder: Path | None = None
    ports: Ports | None = None
    """Held for the kernel, if it needs any."""
    _lock: int | None = None

    @property
    def mark(self) -> tuple[str, str]:
        """The name and the value of the environment variable that the kernel is to be started with."""
        return KERNEL_ID_VARIABLE, self.kernel_id

    @property
    def socket_prefix(self) -> str:
        """What the paths of the IPC sockets begin with."""
        return _socket_prefix(self.socket_folder or self.folder)

    def started(self, group: int) -> None:
        """Write down the kernel's process group. Without it, all that carries the kernel's mark is the kernel's."""
        try:
            written, temporary = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(written, "w") as file:
                file.write(str(group))
            # Nobody ever finds a half of it.
            Path(temporary).replace(self.folder / GROUP_FILE)
        except OSError as refusal:
            logger.debug("the process group of kernel %s cannot be written down: %s", self.kernel_id, refusal)

    def let_go(self) -> None:
        """Let go of the kernel's ports: it has bound them, or will not come."""
        if self.ports is not None:
            self.ports.release()

    def remove(self) -> None:
        """Remove them; none of them needs to be there."""
        self.let_go()
        _remove(self.folder, self.connection_file)
        disown(self._lock)
        self._lock = None


def new_files(transport: LaunchTransport) -> Files:
    """Make a name for a kernel, its folder, and the folder of its sockets, and own them. Raises `KernelStartError`.

    Removes what crashed frontends have left, first.
    """
    runtime = Path(jupyter_runtime_dir())
    reap(runtime)
    kernel_id = secrets.token_hex(8)
    files = Files(
        kernel_id, runtime / f"{CONNECTION_FILE_PREFIX}{kernel_id}.json", runtime / f"{KERNEL_FOLDER_PREFIX}{kernel_id}"
    )
    try:
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.folder.mkdir(mode=0o700)
        files._lock = own(files.folder)
        if transport == "ipc" and len(os.fsencode(_socket_prefix(files.folder) + _LONGEST_PORT)) > IPC_PATH_LIMIT:
            files.socket_folder = Path(tempfile.gettempdir()) / f"{KERNEL_FOLDER_PREFIX}{kernel_id}"
            # The link first: what it names is removed with it, whether it is there yet or not.
            (files.folder / SOCKETS_LINK).symlink_to(files.socket_folder)
            files.socket_folder.mkdir(mode=0o700)
    except OSError as error:
        files.remove()
        raise KernelStartError(f"no folder for the kernel's files: {error}") from None
    return files


def reap(runtime: Path) -> None:
    """End the kernels, and remove the files, of frontends that were killed or have crashed."""
    for folder in runtime.glob(f"{KERNEL_FOLDER_PREFIX}*"):
        kernel_id = folder.name.removeprefix(KERNEL_FOLDER_PREFIX)
        if _KERNEL_ID.fullmatch(kernel_id) and (lock := take_over(folder)) is not None:
            logger.info("what a frontend that is gone has left of kernel %s is removed", kernel_id)
            try:
                kill_marked(f"{KERNEL_ID_VARIABLE}={kernel_id}", _group(folder))
                _remove(folder, runtime / f"{CONNECTION_FILE_PREFIX}{kernel_id}.json")
            finally:
                os.close(lock)


def _group(folder: Path) -> int | None:
    try:
        return int((folder / GROUP_FILE).read_text())
    except (OSError, ValueError):
        # Not written, or lost with the machine's power: the mark is enough.
        return None


def _remove(folder: Path, connection_file: Path) -> None:
    with contextlib.suppress(OSError):
        connection_file.unlink()
    with contextlib.suppress(OSError):
        sockets = (folder / SOCKETS_LINK).readlink()
        # Whatever else it names was made by somebody else.
        if sockets.is_absolute() and sockets.name == folder.name:
            shutil.rmtree(sockets, ignore_errors=True)
    with contextlib.suppress(OSError):
        # The owner's file last: whoever is interrupted here leaves what can be taken over.
        for file in folder.iterdir():
            if file.name != OWNER_FILE:
                file.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _socket_prefix(folder: Path) -> str:
    return str(folder / "s")
