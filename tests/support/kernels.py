"""Kernels to test: one whose cells are functions of the test, served on a thread; and any in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jupyter_client
from jupyter_client.blocking.client import BlockingKernelClient

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.kernel.handler import Handler
from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.connection import ConnectionInfo, RegistrationInfo, load_connection_file, random_key
from kernelbridge.wire.contents import ExecuteRequest, LanguageInfo
from kernelbridge.wire.frames import Frame, encode
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.signing import Signer

ROOT = Path(__file__).parents[2]
PYTHON_KERNEL = (sys.executable, "-m", "kernelbridge.python", "-f")
ECHO_KERNEL = (sys.executable, str(ROOT / "examples" / "echo_kernel.py"))

Cell = Callable[[Kernel], Any]


class Cells(Handler):
    """A language whose programs are the names of the functions that it was given. They get the kernel.

    A cell may be a plain function or an ``async def``; what it returns is the handler's answer.
    """

    implementation = "cells"
    implementation_version = "1.0"
    language_info = LanguageInfo(name="cells", version="1.0", mimetype="text/plain", file_extension=".txt")
    banner = "Cells"

    def __init__(self, **cells: Cell) -> None:
        self.cells = cells
        self.requests: list[ExecuteRequest] = []
        self.stopped: list[bool] = []
        self.started = threading.Event()

    def start(self) -> None:
        self.started.set()

    def stop(self, restart: bool) -> None:
        self.stopped.append(restart)

    def execute(self, request: ExecuteRequest, execution_count: int) -> Any:
        self.requests.append(request)
        return self.cells[request.code](self.kernel)


def tcp() -> ConnectionInfo:
    """Return where a kernel may listen: on free ports, with a key of its own."""
    return ConnectionInfo(ip="127.0.0.1", key=random_key())


class Serving(threading.Thread):
    """A thread that serves a kernel. `failure` is what `serve` raised."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(name="serving", daemon=True)
        self.kernel = kernel
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.kernel.serve()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the test looks at it.
            self.failure = failure

    def end(self) -> BaseException | None:
        """Wait for the end, and return what `serve` raised."""
        self.join(DEADLINE)
        assert not self.is_alive(), "serve does not return"
        return self.failure


@contextmanager
def serving(
    handler: Cells,
    connection: ConnectionInfo | RegistrationInfo | str | None = None,
    *,
    context: Context | None = None,
    options: Options | None = None,
    clock: Clock | None = None,
) -> Iterator[Kernel]:
    """Serve a kernel on a thread of its own, from when it is ready until the end of the block."""
    kernel = Kernel(handler, connection or tcp(), context=context, options=options, clock=clock)
    thread = Serving(kernel)
    thread.start()
    try:
        assert handler.started.wait(DEADLINE), thread.failure
        # `starting` is on its way: who connects from now on does not see it.
        kernel.flush()
        yield kernel
    finally:
        kernel.stop()
        failure = thread.end()
    assert failure is None


def encoded(kernel: Kernel, msg_type: str, **content: str) -> list[Frame]:
    """Return the frames of a request, for a frontend that is no strict client."""
    return encode(Message(Session(lambda: "").header(msg_type), content), Signer(kernel.connection.key))


@contextmanager
def process(
    command: Sequence[str],
    folder: Path,
    *,
    transport: Literal["ipc", "tcp"] = "ipc",
    env: Mapping[str, str] = os.environ,
    **options: Any,
) -> Iterator[tuple[subprocess.Popen[bytes], ConnectionInfo, Path]]:
    """Start a kernel in a process of its own, with these options of Popen. Ends it for sure.

    It is killed: what it would have removed at its own end, it leaves in `folder`.

    `command` lacks the connection file at its end. Its sockets lie in `folder`: the ports of ``tcp`` are chosen before
    the kernel has them, as most frontends choose them, and another test may take them meanwhile. It is for what runs
    alone.
    """
    path = str(folder / "connection.json")
    ip = str(folder / "kernel") if transport == "ipc" else "127.0.0.1"
    jupyter_client.write_connection_file(path, ip=ip, transport=transport)
    info = load_connection_file(path)
    started = subprocess.Popen([*command, path], cwd=ROOT, env={**env, "TMPDIR": str(folder)}, **options)
    try:
        yield started, info, Path(path)
    finally:
        started.kill()
        started.wait(DEADLINE)


@contextmanager
def blocking_client(path: Path) -> Iterator[BlockingKernelClient]:
    """Return jupyter_client's own client of the kernel with this connection file, when it is ready."""
    client = BlockingKernelClient(connection_file=str(path))
    client.load_connection_file()
    # It takes a kernel that starts for dead after a second, which on a busy machine one is not.
    client.hb_channel.time_to_dead = DEADLINE
    client.start_channels()
    try:
        client.wait_for_ready(timeout=DEADLINE)
        yield client
    finally:
        client.stop_channels()
        client.context.destroy(0)
