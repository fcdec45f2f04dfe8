"""A kernel inside a running program, with that program's own objects.

    embed()                                     a script stops here, until a frontend ends the kernel
    with EmbeddedKernel(namespace) as kernel:   cells run on a thread, and the program goes on
    async with EmbeddedKernel(namespace) ...    cells run on the program's own event loop, between its other tasks
    with EmbeddedKernel(namespace, gui="qt")    cells run on the program's own Qt loop, between its other events

Frontends find it by its connection file, as any kernel: ``jupyter console --existing FILE``. The program itself is one
by `EmbeddedKernel.connect`; with ``inproc=True`` it is the only one, and there is no port and no file.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from types import FrameType
from typing import Any, Self

import attrs
import zmq
from jupyter_core.paths import jupyter_runtime_dir

from kernelbridge.bridges.host_loop import HostLoop
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.frontend.bridge import Bridge, connect
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.python.embedded import EmbeddedHandler
from kernelbridge.python.places import Place, a_loop_runs, find_place
from kernelbridge.wire.connection import ConnectionInfo, random_key, write_connection_file

_one = threading.Lock()
"""Held by the kernel that is embedded: IPython has room for one in a process."""


def embed(
    user_ns: dict[str, Any] | None = None,
    *,
    connection_file: str | os.PathLike[str] | None = None,
    gui: str | None = None,
    quiet: bool = False,
) -> None:
    """Serve a kernel here, and return when a frontend has shut it down, or a cell has called ``exit``.

    Cells run on the calling thread in `user_ns`, in which the caller finds what they have assigned. Without one they
    see all that the caller sees; what they assign is the caller's where that is a module, and goes with the kernel
    where it is a function. The windows of a toolkit go on meanwhile where `gui` names it, as `%gui` in a cell does. How
    to connect is said on stderr unless `quiet`.

    Takes and raises what `EmbeddedKernel` does. Ctrl-C while no cell runs ends the kernel with a KeyboardInterrupt.
    """
    if user_ns is None:
        user_ns = _seen_from(sys._getframe(1))
    if a_loop_runs():
        raise RuntimeError("embed() would stop the event loop that runs here: use `async with EmbeddedKernel(...)`")
    kernel = EmbeddedKernel(user_ns, connection_file=connection_file, gui=gui)

    async def serve() -> None:
        async with kernel:
            if not quiet:
                sys.stderr.write(f"A kernel waits here. To connect: jupyter console --existing {kernel.file}\n")
            await kernel.ended()

    with asyncio.Runner(loop_factory=HostLoop) as runner:
        runner.run(serve())


class EmbeddedKernel:
    """A kernel inside this program, from when it is entered to when it is left.

    Entered by ``with``, it serves on a thread of its own, on which cells run; by ``async with``, on the running event
    loop; and by ``with`` where `gui` is "qt", on the loop of the calling thread's Qt application, whether that runs
    already or is about to. Leaving it interrupts a cell that runs and waits for its end. On another thread than the
    main one, which is the only one that Python interrupts, that ends what awaits, and what waits for input; what
    computes goes on.

    Takes the namespace `user_ns`, in which cells run; the path of a `connection_file` to write, by default one where
    frontends look for kernels; `inproc`, for a kernel that only `connect` reaches; and `gui`. Entered once. That raises
    `ConnectionFileError` for a file that cannot be written, and RuntimeError where IPython runs in the process already,
    or there is no Qt application.
    """

    def __init__(
        self,
        user_ns: dict[str, Any] | None = None,
        *,
        connection_file: str | os.PathLike[str] | None = None,
        inproc: bool = False,
        gui: str | None = None,
    ) -> None:
        self.user_ns: dict[str, Any] = {} if user_ns is None else user_ns
        self.file: Path | None = None
        """The connection file, as long as the kernel runs."""
        self._given_file = None if connection_file is None else Path(connection_file)
        self._inproc = inproc
        self._gui = gui
        self._handler = EmbeddedHandler(self.user_ns, self._started, gui)
        # Made on entering. The context is the bridges' too, which inproc demands.
        self._context: Context
        self._kernel: Kernel
        self._ready: Future[None] = Future()
        # By what it is run: of either kind of `with`.
        self._place: Place
        self._task: asyncio.Task[None]
        # Owned by whoever has entered.
        self._bridges: list[Bridge] = []
        # Done when nothing is served any more and the program is as it was, with what the kernel has crashed of.
        self._over: Future[None] = Future()

    @property
    def connection(self) -> ConnectionInfo:
        """Where the kernel listens."""
        return self._kernel.connection

    def connect(self) -> Bridge:
        """Return a bridge to this kernel, for the program itself. It is closed when the kernel is left."""
        bridge = connect(self.connection, context=self._context)
        self._bridges.append(bridge)
        return bridge

    def end(self) -> None:
        """End the kernel when the cell that runs has ended. Any thread may call it, also a cell."""
        self._kernel.end()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the kernel has ended, because a frontend or a cell has said so or `end` was called.

        Raises what it has crashed of, and TimeoutError after `timeout` seconds of real time. Not to be called on the
        event loop, or in the callbacks of the GUI, that it serves on: nor is the result of a cell to be waited for
        there.
        """
        self._over.result(timeout)

    async def ended(self) -> None:
        """Do what `wait` does, while the event loop goes on."""
        await asyncio.shield(asyncio.wrap_future(self._over))

    # With: on a thread, or on the loop of a GUI

    def __enter__(self) -> Self:
        place = find_place(self._gui)
        try:
            self._begin()
        except BaseException:
            place.end()
            raise
        self._place = place
        try:
            place.begin(self._serve, self._ready)
        except BaseException:
            self._leave_place()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for bridge in self._bridges:
            bridge.close()
        self._leave_place()
        self._over.result()

    def _leave_place(self) -> None:
        self._tell_to_end()
        self._place.end()
        self._gone()

    # Async with: on the running loop

    async def __aenter__(self) -> Self:
        self._begin()
        # In a context of its own, so that no more than the cells' is taken for theirs.
        self._task = asyncio.create_task(self._serve())
        try:
            await asyncio.shield(asyncio.wrap_future(self._ready))
        except BaseException:
            await self._leave_task()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for bridge in self._bridges:
            await bridge.aclose()
        await self._leave_task()
        self._over.result()

    async def _leave_task(self) -> None:
        self._tell_to_end()
        await asyncio.wait({self._task})
        self._gone()

    # Both

    def _begin(self) -> None:
        if self._ready.done():
            raise RuntimeError("an EmbeddedKernel is entered once: make another one")
        if not _one.acquire(blocking=False):
            raise RuntimeError("a kernel is embedded in this process already, and there is room for one")
        address = ConnectionInfo(ip="127.0.0.1", key=random_key(), kernel_name="kernelbridge")
        if self._inproc:
            # Known to this context alone.
            address = attrs.evolve(address, transport="inproc", ip="embedded")
        self._context = zmq.Context()
        try:
            self._kernel = Kernel(self._handler, address, context=self._context, embedded=True)
        except BaseException:
            self._gone()
            raise

    def _started(self) -> None:
        if not self._inproc:
            file = self._given_file or Path(jupyter_runtime_dir()) / f"kernel-{secrets.token_hex(8)}.json"
            write_connection_file(file, self.connection)
            self.file = file
        self._ready.set_result(None)

    async def _serve(self) -> None:
        failure: BaseException | None = None
        try:
            await self._kernel.aserve()
        except BaseException as crash:  # noqa: BLE001 - whatever it is, it is raised where the kernel is waited for.
            failure = crash
        finally:
            file, self.file = self.file, None
            if file is not None:
                file.unlink(missing_ok=True)
            self._handler.give_back()
            _one.release()
        for future in (self._ready, self._over):
            if not future.done():
                if failure is None:
                    future.set_result(None)
                else:
                    future.set_exception(failure)

    def _tell_to_end(self) -> None:
        self._kernel.end()
        self._kernel.interrupt()

    def _gone(self) -> None:
        """Let go of what nobody uses any more."""
        # Also of what a kernel has made that has not come to serve.
        self._context.destroy(0)
        if not self._over.done():
            _one.release()


def _seen_from(frame: FrameType) -> dict[str, Any]:
    """Return what code at this place would see: a module's own namespace, or a copy of what a function sees."""
    if frame.f_locals is frame.f_globals:
        return frame.f_globals
    return {**frame.f_globals, **frame.f_locals}
