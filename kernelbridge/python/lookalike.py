"""What code that was written for ipykernel looks for: its modules, its class names, what hangs at its kernel.

Such code asks three things. *Is this a notebook?* is asked by name: rich and pandas look at the shell's class, others
at ``IPKernelApp`` in its configuration, tqdm at ``sys.modules["ipykernel.zmqshell"]``, plotly at the module that the
shell's class says it is from. *Give me a comm* is asked of ``ipykernel.comm`` (bokeh, matplotlib's nbagg) or of
``get_ipython().kernel.comm_manager`` (panel). *Where is the connection file?* is asked of ``ipykernel.kernelapp``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

import comm
from comm.base_comm import CommManager

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.python.messages import IOPUB_SOCKET, IOPubSocket, LookalikeSession
from kernelbridge.wire.messages import Buffer

AfterImport = Callable[[Any], object]


class LookalikeKernel:
    """``get_ipython().kernel``: the `Kernel`, and the names that are asked of ipykernel's."""

    def __init__(self, kernel: Kernel, comm_manager: CommManager) -> None:
        self._kernel = kernel
        self.comm_manager = comm_manager
        self.session = LookalikeSession(kernel)
        self.iopub_socket = IOPUB_SOCKET

    @property
    def shell(self) -> Any:
        from kernelbridge.python.shell import ZMQInteractiveShell

        return ZMQInteractiveShell.instance()

    def get_parent(self, channel: str = "shell") -> dict[str, Any]:
        """Return the request that is handled here and now, whatever the channel: the context has one."""
        return cast(dict[str, Any], self.shell.get_parent())

    @property
    def _parent_header(self) -> dict[str, Any]:
        """The same, for the Output widget of ipywidgets 7."""
        return self.get_parent()

    def set_parent(self, ident: object, parent: dict[str, Any], channel: str = "shell") -> None:
        self.shell.set_parent(parent)

    def send_response(
        self,
        stream: IOPubSocket,
        msg_or_type: str | dict[str, Any],
        content: Mapping[str, Any] | None = None,
        ident: object = None,
        buffers: Sequence[Buffer] | None = None,
        track: bool = False,
        header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        channel: str | None = None,
    ) -> dict[str, Any]:
        """Do what `session.send` does, for the request that is handled here and now."""
        return self.session.send(stream, msg_or_type, content, None, ident, buffers, track, header, metadata)

    def do_shutdown(self, restart: bool) -> dict[str, Any]:
        """End the kernel after this cell, as ``exit`` does. A server that looks after it starts it again."""
        self.shell.exit_now = True
        return {"status": "ok", "restart": restart}

    @property
    def user_ns(self) -> dict[str, Any]:
        namespace: dict[str, Any] = self.shell.user_ns
        return namespace

    @property
    def log(self) -> Any:
        return self.shell.parent.log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)


class ImportHooks:
    """Calls a function with a module when that has been imported for the first time, or at once where it has been.

    A finder of sys.meta_path. Not by inheritance: the base class costs a kernel's start 1.4 ms of imports.
    """

    def __init__(self, hooks: Mapping[str, AfterImport]) -> None:
        self._hooks = dict(hooks)
        for name in [name for name in hooks if name in sys.modules]:
            self._hooks.pop(name)(sys.modules[name])
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        hook = self._hooks.pop(fullname, None)
        if hook is None:
            return None
        # Asked again without the hook, so that the others find it.
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            self._hooks[fullname] = hook
            return None
        run = spec.loader.exec_module

        def run_and_tell(module: ModuleType) -> None:
            try:
                run(module)
            except BaseException:
                # It may be tried again.
                self._hooks[fullname] = hook
                raise
            hook(module)

        spec.loader.exec_module = run_and_tell  # type: ignore[method-assign]
        return spec


@contextmanager
def installed() -> Iterator[None]:
    """Let this process look like one of ipykernel's. The `comm` package opens this kernel's comms already."""
    from kernelbridge.python import app, shell

    create_comm, get_comm_manager = comm.create_comm, comm.get_comm_manager

    with ExitStack() as stack:

        def replace(owner: Any, **values: Any) -> None:
            for name, value in values.items():
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, value)

        def give_our_comms(module: Any) -> None:
            replace(module, Comm=create_comm, BaseComm=create_comm)

        def take_comms_back(module: object) -> None:
            # Importing it makes the comm package open ipykernel's comms, which reach nobody here.
            comm.create_comm, comm.get_comm_manager = create_comm, get_comm_manager

        def complete_pdb(pdb: object) -> None:
            # Where that one is what has imported pdb, it is under way.
            if "IPython.core.debugger" not in sys.modules:
                import_module("IPython.core.debugger")

        def make_interruptible(debugger: Any) -> None:
            # As in ipykernel: an interrupt ends the prompt, at which plain pdb asks again.
            pdb: Any = import_module("pdb")
            replace(debugger, Pdb=debugger.InterruptiblePdb)
            replace(pdb, Pdb=debugger.InterruptiblePdb, set_trace=debugger.set_trace)

        hooks = {
            "ipykernel.comm.comm": give_our_comms,
            "ipykernel.ipkernel": take_comms_back,
            "pdb": complete_pdb,
            "IPython.core.debugger": make_interruptible,
        }
        stack.callback(ImportHooks(hooks).remove)
        for name, ours in (("ipykernel.zmqshell", shell), ("ipykernel.kernelapp", app)):
            if name not in sys.modules:
                sys.modules[name] = ours
                stack.callback(sys.modules.pop, name, None)
        replace(shell.ZMQInteractiveShell, __module__="ipykernel.zmqshell")
        yield


def explain_absence(failure: object) -> None:
    """Add to the error of an import of ipykernel, which need not be installed here, what to do instead."""
    if not isinstance(failure, ModuleNotFoundError) or (failure.name or "").partition(".")[0] != "ipykernel":
        return
    note = (
        "This kernel is kernelbridge, which works without ipykernel: comms are opened by comm.create_comm(), and their "
        "targets registered at comm.get_comm_manager(). A library that insists on ipykernel works when it is installed."
    )
    if note not in getattr(failure, "__notes__", ()):
        failure.add_note(note)
