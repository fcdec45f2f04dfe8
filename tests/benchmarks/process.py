"""The kernels that are compared: their commands, and their processes from start to end."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from .client import Client, Failed

ROOT = Path(__file__).parents[2]

MODULES = {"kernelbridge": "kernelbridge.python", "ipykernel": "ipykernel_launcher", "floor": "tests.benchmarks.floor"}

# The order of the table's columns.
KERNELS = ("kernelbridge", "ipykernel", "xeus", "floor")


def installed(kernel: str) -> bool:
    """Whether the kernel can be started here. Only a peer may be missing."""
    return kernel != "xeus" or "xpython" in KernelSpecManager().find_kernel_specs()


def command(kernel: str, connection_file: Path) -> list[str]:
    """The command line that starts a kernel."""
    if kernel in MODULES:
        return [sys.executable, "-m", MODULES[kernel], "-f", str(connection_file)]
    try:
        spec = KernelSpecManager().get_kernel_spec("xpython")
    except NoSuchKernel:
        raise Failed("the kernelspec xpython is not installed") from None
    # A spec names its interpreter `python`; as jupyter_client does, we take it for the one that runs here.
    interpreters = ("python", "python3", f"python{sys.version_info.major}.{sys.version_info.minor}")
    first, *rest = (part.format(connection_file=connection_file) for part in spec.argv)
    return [sys.executable if first in interpreters else first, *rest]


class Running:
    """A kernel process and a client that is connected to it; the kernel need not be ready yet.

    `spawned` is the time (time.perf_counter) just before the process was started.
    """

    def __init__(self, kernel: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._stderr = folder / "stderr"
        self.connection_file = folder / "connection.json"
        info = _connection()
        self.connection_file.touch(mode=0o600)
        self.connection_file.write_text(json.dumps(info))
        argv = command(kernel, self.connection_file)
        self.spawned = time.perf_counter()
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                argv,
                env=_environment(folder.parent),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        self.client = Client(info, self._check_alive)

    def stop(self) -> None:
        """End the process, by shutdown_request where it listens and by force where not, and reap it."""
        if self.process.poll() is None:
            self.client.send(self.client.encode("shutdown_request", {"restart": False}), "control")
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.client.close()

    def _check_alive(self) -> None:
        status = self.process.poll()
        if status is not None:
            lines = self._stderr.read_text(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing on stderr")
            raise Failed(f"exited with {status}: {last}")


class Subject:
    """One column of the table: a kernel that runs from its first trial on and is replaced when a trial fails."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._started = 0
        self._warm: Running | None = None
        self._broken: str | None = None

    def client(self) -> Client:
        """A client of the running kernel. Raises `Failed` as `running` does."""
        return self.running().client

    def running(self) -> Running:
        """The running kernel, which is started and waited for where it does not run.

        Raises:
            Failed: it does not start; once it has not, it is not tried again.
        """
        if self._broken:
            raise Failed(self._broken)
        if self._warm is None:
            self._warm = self._spawn(self.name)
            try:
                self._warm.client.wait_ready()
            except Failed as failure:
                self._broken = str(failure)
                raise
        return self._warm

    @contextmanager
    def fresh(self, kernel: str | None = None) -> Iterator[Running]:
        """A further process of this kernel (or of another) for one trial alone."""
        if self._broken and kernel is None:
            raise Failed(self._broken)
        running = self._spawn(kernel or self.name)
        try:
            yield running
        finally:
            running.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this subject's kernels, for who starts one in another way."""
        return _environment(self._folder)

    def stop(self) -> None:
        """Stop the running kernel; the next trial starts another."""
        if self._warm is not None:
            self._warm.stop()
            self._warm = None

    def _spawn(self, kernel: str) -> Running:
        self._started += 1
        return Running(kernel, self._folder / f"{self.name}-{self._started}")


@contextmanager
def subjects(names: list[str]) -> Iterator[list[Subject]]:
    """Subjects by these names, none of which leaves a process or a file behind."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, ExitStack() as stack:
        chosen = [Subject(name, Path(folder)) for name in names]
        for subject in chosen:
            stack.callback(subject.stop)
        yield chosen


def _connection() -> dict[str, object]:
    """The content of a connection file, with ports that were free a moment ago."""
    names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    with ExitStack() as stack:
        # All are held until all are known, so that none is given twice.
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}
    key = secrets.token_hex(16)
    return {"ip": "127.0.0.1", "transport": "tcp", "signature_scheme": "hmac-sha256", "key": key, **ports}


def _environment(folder: Path) -> dict[str, str]:
    """What a frontend gives a kernel: the parent's id; besides, this checkout, and a history that is not the user's."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "JPY_PARENT_PID": str(os.getpid()), "IPYTHONDIR": str(folder / "ipython")}
