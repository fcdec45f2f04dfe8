"""Classes that Jupyter's own tools accept by configuration alone, and that hold their kernels by a `Bridge`.

    nbclient         NotebookClient(nb, kernel_manager_class="kernelbridge.jupyter.AsyncKernelManager")
    papermill        execute_notebook(..., kernel_manager_class="kernelbridge.jupyter.AsyncKernelManager")
    jupyter_client   KernelManager(kernel_name="python3"), or MultiKernelManager.kernel_manager_class
    jupyter_server   c.AsyncMappingKernelManager.kernel_manager_class = "kernelbridge.jupyter.ServerKernelManager"
                     c.ServerApp.kernel_websocket_connection_class = "kernelbridge.jupyter.WebsocketConnection"

What the tools gain: IPC sockets by default; one stream, so that comm messages stand between the prints that they stand
between in the program and a reply comes behind all outputs (contract F1, F2); a kernel that is ready when it is said to
be, without waiting; and the death of a kernel where they would wait for its answer (F6): an exit at once, a hung kernel
in time, with its exit status and its last words.

A client of a manager reads the manager's bridge and has no socket of its own; a window of jupyter_server's is such a
reader. One that was made from a connection file connects a bridge of its own. Where a tool wants sockets all the same,
because it watches the activity of its kernels, for instance, the manager's `connect_iopub` and the like connect them to
the same kernel, since a kernel takes any number of frontends.

What does not fit, because the interfaces leave no room for it:

- jupyter_client's interface has no place for a `Resync`. What waits for a client, or for a window, is not bounded.
- nbclient keeps widget state and outputs by itself. It gets every message in the right order, and what it makes of them
  is its own: of outputs that widgets capture, for instance.
- A tool that polls `is_alive` learns of a death no sooner than it polls. nbclient learns of it at once, because a reply
  that will not come is raised: as its own `DeadKernelError` where it is loaded, else as `RuntimeError`, the base of it.
- `Popen`'s own options to `start_kernel` (`stdout`, `preexec_fn` and the like) are ignored with a warning, as are
  options to `restart_kernel`: a bridge starts a kernel again in the way in which it was started. So the names in the
  environment that jupyter_server changes when a notebook is renamed are those of the start.
- `KernelManager.provisioner`, `KernelManager.context` and the port names are the bridge's to choose. A kernel has new
  addresses when it is restarted; `ports` are given as addresses, which is what jupyter_server compares.
- Socket options and subclasses of jupyter_client's channels are of no use: there are no such sockets.
- jupyter_server's limits on the rate of messages (`limit_rate`) are features of its own connection class. A window that
  is slow slows only its own reading here. Who needs the limits keeps that class: it works with `ServerKernelManager`,
  without one stream, and its windows have to connect again when a kernel has been restarted, as JupyterLab's do.
- Kernels of an `external_connection_dir` were not launched by the server's manager. They need the server's own class.

The names are loaded where they are first used: the last two need jupyter_server, the others do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelbridge.jupyter.client import AsyncKernelClient, KernelClient
    from kernelbridge.jupyter.manager import AsyncKernelManager, KernelManager
    from kernelbridge.jupyter.server import ServerKernelManager, WebsocketConnection

__all__ = [
    "AsyncKernelClient",
    "AsyncKernelManager",
    "KernelClient",
    "KernelManager",
    "ServerKernelManager",
    "WebsocketConnection",
]

_MODULES = {
    "client": ("AsyncKernelClient", "KernelClient"),
    "manager": ("AsyncKernelManager", "KernelManager"),
    "server": ("ServerKernelManager", "WebsocketConnection"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
