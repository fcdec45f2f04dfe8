"""Ends, interrupts and restarts kernels that another process has launched.

A kernel is a child of whoever has launched it: that one sees its exit, and alone can start it again in its place. From
elsewhere a kernel can be asked, on Control; and where its process is its own, and not a program that a kernel is
embedded in, that can be sent a signal.

A restart from elsewhere is a request to both: a shutdown_request with `restart` tells the kernel to end and its
frontends why, and its launcher, which sees it end, starts it again, if it is one that does. Jupyter Server does, with
the same connection file; a bridge with ``on_death="restart"`` does, with a new one; nobody does for a kernel that was
started by hand. Which it is cannot be known beforehand, so the new kernel is waited for.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kernelbridge.frontend.errors import BridgeError
from kernelbridge.frontend.inquiry import ask_once, listening
from kernelbridge.frontend.inventory import ASK_SECONDS, FoundKernel, running_kernels
from kernelbridge.wire.connection import ConnectionInfo

GRACE: Final = 5.0
"""Seconds in which a kernel has to obey."""

INTERRUPT_SECONDS: Final = 2.0
"""How long a kernel has to answer an interrupt_request, before it is taken for one that does not know it."""

_NO_PROCESS: Final = "has no process that is known to be its own"

_LOOK_SECONDS: Final = 0.2
"""How often a new kernel is looked for: nothing tells when a file appears."""

_CLOSING_SECONDS: Final = 0.01
"""How often the heartbeat of a kernel that ends is tried: nothing tells when a listener closes."""


class OtherKernelError(BridgeError):
    """A kernel of another process did not do what it was to do. One line."""


def stop(kernel: FoundKernel, *, grace: float = GRACE, force: bool = False, restart: bool = False) -> None:
    """Ask a kernel to end, and return when it has: its process, if that is its own, or its sockets.

    One that runs `grace` seconds later is killed, with its process group, if `force` says so and its process is its
    own. Else `OtherKernelError` is raised.
    """
    info = _to_be_asked(kernel)
    end = time.monotonic() + grace
    with _exit_of(kernel) as process:
        _, gone = ask_once(info, "shutdown_request", {"restart": restart}, grace, until_gone=True)
        if _has_ended(process, end) if process is not None else gone and _is_closed(info, end):
            return
        if not force:
            raise OtherKernelError(f"{kernel} has not ended within {grace:g} s; --force kills its process")
        if process is None or kernel.pid is None:
            raise OtherKernelError(f"{kernel} has not ended within {grace:g} s, and {_NO_PROCESS}")
        _signal(kernel.pid, signal.SIGKILL)
        _has_ended(process, time.monotonic() + grace)


def interrupt(kernel: FoundKernel, *, seconds: float = INTERRUPT_SECONDS) -> str:
    """Interrupt what a kernel runs. Return how: by a ``request`` that it has answered, or by a ``signal``.

    A kernel that does not answer gets the signal if its process is its own: most kernels that are interrupted by
    signals know no request. Raises `OtherKernelError`.
    """
    replied, _ = ask_once(_to_be_asked(kernel), "interrupt_request", {}, seconds)
    if replied is not None:
        if replied.get("status") == "error":
            raise OtherKernelError(f"{kernel} refuses to be interrupted: {replied.get('evalue')}")
        return "request"
    if kernel.pid is None or not kernel.is_program or sys.platform == "win32":
        raise OtherKernelError(f"{kernel} has not answered within {seconds:g} s, and {_NO_PROCESS}")
    _signal(kernel.pid, signal.SIGINT)
    return "signal"


def restart(kernel: FoundKernel, *, grace: float = GRACE, seconds: float = 10.0) -> FoundKernel:
    """Have a kernel end, and return the one that its launcher has started in its place and that answers.

    Raises `OtherKernelError` when it does not end within `grace` seconds, and when no other has come `seconds` after
    that.
    """
    _to_be_asked(kernel)
    before = {one.connection_file for one in running_kernels(seconds=0)}
    stop(kernel, grace=grace, restart=True)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for one in running_kernels(seconds=min(ASK_SECONDS, left)):
            if one.status in ("idle", "busy") and _is_successor(one, kernel, before):
                return one
        time.sleep(min(_LOOK_SECONDS, left))
    launcher = "its launcher" if kernel.launcher is None else f"its launcher, process {kernel.launcher},"
    raise OtherKernelError(f"{kernel} has ended, and {launcher} has not started it again within {seconds:g} s")


def _is_successor(one: FoundKernel, former: FoundKernel, before: set[Path]) -> bool:
    if one.connection_file == former.connection_file:
        return one.pid is None or one.pid != former.pid
    same_launcher = one.launcher is not None and one.launcher == former.launcher
    return one.connection_file not in before and same_launcher and one.name == former.name


def _to_be_asked(kernel: FoundKernel) -> ConnectionInfo:
    if kernel.connection is None or not kernel.listens:
        said = "is starting" if kernel.status == "starting" else "does not run: nobody listens there"
        raise OtherKernelError(f"{kernel} {said}")
    return kernel.connection


@contextmanager
def _exit_of(kernel: FoundKernel) -> Iterator[int | None]:
    """Give a descriptor that is readable when the kernel's own process has ended (Linux), or None."""
    descriptor = None
    if sys.platform == "linux" and kernel.pid is not None and kernel.is_program:
        try:
            descriptor = os.pidfd_open(kernel.pid)
        except OSError:
            # It has just ended: its sockets are gone, too.
            descriptor = None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _has_ended(process: int, end: float) -> bool:
    return bool(select.select([process], [], [], max(0.0, end - time.monotonic()))[0])


def _is_closed(info: ConnectionInfo, end: float) -> bool:
    """Wait for the last of a kernel's sockets: Control is not."""
    while listening([info], max(0.0, end - time.monotonic()))[0]:
        if time.monotonic() >= end:
            return False
        time.sleep(_CLOSING_SECONDS)
    return True


def _signal(pid: int, number: int) -> None:
    """Send a signal to a process, and to its group if it leads one, as kernels do that were launched."""
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        # It has ended by itself.
        return
    except PermissionError:
        raise OtherKernelError(f"process {pid} is another user's") from None
