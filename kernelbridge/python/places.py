"""Where an embedded kernel that is entered by ``with`` serves: on a thread of its own, or on the loop of a GUI."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Protocol

from kernelbridge.bridges.guest_loop import GuestLoop
from kernelbridge.kernel.execution import run_on_loop

Serve = Callable[[], Coroutine[Any, Any, None]]


class Place(Protocol):
    """What runs a kernel's `serve`. Used by one thread, once."""

    def begin(self, serve: Serve, ready: Future[None]) -> None:
        """Run `serve` from now on, and return when it is `ready`. Raises what `ready` does."""

    def end(self) -> None:
        """Return when `serve`, which has been told to end, has ended. Also where it has never begun."""


class ThreadPlace:
    """A thread of the kernel's own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def begin(self, serve: Serve, ready: Future[None]) -> None:
        thread = threading.Thread(target=run_on_loop, args=(serve,), name="kernelbridge-embedded", daemon=True)
        thread.start()
        self._thread = thread
        ready.result()

    def end(self) -> None:
        if self._thread is not None:
            self._thread.join()


class QtPlace:
    """The loop of the calling thread's Qt application: the kernel has its turns whenever that runs.

    Raises RuntimeError where there is no such application, and where it is asyncio's loop that runs it.
    """

    def __init__(self) -> None:
        from kernelbridge.python.gui_qt import QtHost

        if a_loop_runs():
            raise RuntimeError("an asyncio loop runs here, also for the GUI: use `async with EmbeddedKernel(...)`")
        self._loop = GuestLoop(QtHost)
        self._runner = asyncio.Runner(loop_factory=lambda: self._loop)
        self._runner.get_loop()
        self._serving: asyncio.Task[None] | None = None

    def begin(self, serve: Serve, ready: Future[None]) -> None:
        self._serving = self._loop.create_task(serve())
        self._loop.run_until_complete(asyncio.wrap_future(ready, loop=self._loop))
        self._loop.visit()

    def end(self) -> None:
        self._loop.leave()
        if self._serving is not None:
            self._loop.run_until_complete(asyncio.wait({self._serving}))
        # Ends the tasks that cells have left.
        self._runner.close()


def find_place(gui: str | None) -> Place:
    """Return the place of a kernel, by the GUI whose loop is to run it, if any. Raises RuntimeError."""
    match gui:
        case None:
            return ThreadPlace()
        case "qt":
            return QtPlace()
    raise RuntimeError(f"a program's loop of {gui!r} cannot run a kernel: there is qt")


def a_loop_runs() -> bool:
    """Return whether an asyncio loop runs on the calling thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
