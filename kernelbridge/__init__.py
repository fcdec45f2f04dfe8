"""Jupyter kernels and Python frontends, joined by threads, with everything a kernel shows in one order.

The public names, loaded where they are first used, so that a kernel loads no frontend and a frontend no language.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kernelbridge.version import __version__

if TYPE_CHECKING:
    from kernelbridge.frontend.bridge import Bridge, connect, launch
    from kernelbridge.frontend.errors import (
        BridgeClosedError,
        BridgeCrashedError,
        BridgeError,
        ClaimError,
        KernelDiedError,
        KernelStartError,
        NoSuchKernelError,
        SubshellError,
    )
    from kernelbridge.frontend.execution import Execution, Request
    from kernelbridge.frontend.execution_states import State
    from kernelbridge.frontend.output_store import OutputStore
    from kernelbridge.frontend.pool import KernelPool
    from kernelbridge.frontend.subscribers import Backlog, Resync, Snapshot, Subscription
    from kernelbridge.frontend.subshell import Subshell
    from kernelbridge.kernel.comms import Comm, Comms
    from kernelbridge.kernel.handler import Handler
    from kernelbridge.kernel.kernel import Kernel, Options
    from kernelbridge.kernel.stdin import StdinError
    from kernelbridge.notebook import run_notebook
    from kernelbridge.python.embed import EmbeddedKernel, embed
    from kernelbridge.wire.connection import ConnectionInfo, RegistrationInfo
    from kernelbridge.wire.errors import ConnectionFileError, ContentError, WireError
    from kernelbridge.wire.messages import Header, Message

__all__ = [
    "Backlog",
    "Bridge",
    "BridgeClosedError",
    "BridgeCrashedError",
    "BridgeError",
    "ClaimError",
    "Comm",
    "Comms",
    "ConnectionFileError",
    "ConnectionInfo",
    "ContentError",
    "EmbeddedKernel",
    "Execution",
    "Handler",
    "Header",
    "Kernel",
    "KernelDiedError",
    "KernelPool",
    "KernelStartError",
    "Message",
    "NoSuchKernelError",
    "Options",
    "OutputStore",
    "RegistrationInfo",
    "Request",
    "Resync",
    "Snapshot",
    "State",
    "StdinError",
    "Subscription",
    "Subshell",
    "SubshellError",
    "WireError",
    "__version__",
    "connect",
    "embed",
    "launch",
    "run_notebook",
]

_ROOMS = {
    "frontend.bridge": ("Bridge", "connect", "launch"),
    "frontend.errors": (
        "BridgeClosedError",
        "BridgeCrashedError",
        "BridgeError",
        "ClaimError",
        "KernelDiedError",
        "KernelStartError",
        "NoSuchKernelError",
        "SubshellError",
    ),
    "frontend.execution": ("Execution", "Request"),
    "frontend.execution_states": ("State",),
    "frontend.output_store": ("OutputStore",),
    "frontend.pool": ("KernelPool",),
    "frontend.subscribers": ("Backlog", "Resync", "Snapshot", "Subscription"),
    "frontend.subshell": ("Subshell",),
    "kernel.comms": ("Comm", "Comms"),
    "kernel.handler": ("Handler",),
    "kernel.kernel": ("Kernel", "Options"),
    "kernel.stdin": ("StdinError",),
    "notebook": ("run_notebook",),
    "python.embed": ("EmbeddedKernel", "embed"),
    "wire.connection": ("ConnectionInfo", "RegistrationInfo"),
    "wire.errors": ("ConnectionFileError", "ContentError", "WireError"),
    "wire.messages": ("Header", "Message"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
