"""The Python language inside a program that has a life of its own: what belongs to the program stays the program's.

A cell, and the tasks that it starts, write to the frontend and ask it for input; all else that runs in the program
prints and asks where it did before. What IPython changes for a whole process is changed back, at once or at the end.
"""

from __future__ import annotations

import atexit
import builtins
import getpass
import os
import re
import sys
import types
from collections.abc import Callable
from typing import Any, Final

import comm

from kernelbridge.kernel.parents import Parents
from kernelbridge.python.handler import PythonHandler

_MISSING: Final[Any] = object()

_PLACES: Final[dict[str, Any]] = {
    "stdout": sys,
    "stderr": sys,
    "excepthook": sys,
    "ps1": sys,
    "ps2": sys,
    "ps3": sys,
    "last_type": sys,
    "last_value": sys,
    "last_traceback": sys,
    "last_exc": sys,
    "input": builtins,
    "display": builtins,
    "__IPYTHON__": builtins,
    "getpass": getpass,
    "create_comm": comm,
    "get_comm_manager": comm,
}
"""What a kernel changes for the whole process."""

_IPYTHONS_NAMES: Final = re.compile(
    r"In|Out|exit|quit|open|get_ipython|__builtin__|__builtins__|__name__|_+|_i+|_i?\d+|_[iod]h|_exit_code"
)
"""What IPython puts into the namespace of the cells."""


class EmbeddedHandler(PythonHandler):
    """The Python language with `user_ns` for its cells, beside the loop of a GUI where `gui` names one.

    Calls `started` when the first request may come.
    """

    def __init__(self, user_ns: dict[str, Any], started: Callable[[], None], gui: str | None = None) -> None:
        super().__init__()
        self._gui = gui
        self.user_ns = user_ns
        self._names = user_ns, {name: value for name, value in user_ns.items() if _IPYTHONS_NAMES.fullmatch(name)}
        self._started = started
        # Empty until there is something to give back.
        self._programs: dict[str, Any] = {}

    def start(self) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        if InteractiveShell.initialized():
            raise RuntimeError("IPython runs in this process already, and there is room for one: no kernel is embedded")
        self._programs = {name: getattr(owner, name, _MISSING) for name, owner in _PLACES.items()}
        environment, path, modules = dict(os.environ), list(sys.path), dict(sys.modules)
        try:
            super().start()
        except SystemExit:
            # So does a traitlets application end its process, when it has said what is wrong.
            raise RuntimeError("IPython's configuration cannot be used; its log says why") from None
        # Meant for a process that is a kernel's own.
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        sys.path[:] = path
        main = self._names[0]["__name__"]
        if main in modules:
            sys.modules[main] = modules[main]
        for name in ("stdout", "stderr"):
            if self._programs[name] is not None:
                setattr(sys, name, SharedStream(self.kernel.parents, getattr(sys, name), self._programs[name]))
        if self._gui is not None:
            self._enable_gui(self._gui)
        self._started()

    def _enable_gui(self, gui: str) -> None:
        from IPython.core.error import UsageError

        try:
            self._shell.enable_gui(gui)
        except UsageError as refusal:
            raise RuntimeError(str(refusal)) from None

    def give_back(self) -> None:
        """Leave the program as it was. Called when the kernel has ended, also when it has not come to its start."""
        from IPython.core.interactiveshell import InteractiveShell

        from kernelbridge.python.app import IPKernelApp

        programs, self._programs = self._programs, {}
        if not programs:
            return
        self.lookalike.close()
        if self._debugger is not None:
            from kernelbridge.python.debugger import tracing

            tracing.end()
        for name, owner in _PLACES.items():
            if programs[name] is not _MISSING:
                setattr(owner, name, programs[name])
            elif hasattr(owner, name):
                delattr(owner, name)
        if InteractiveShell.initialized():
            shell = InteractiveShell.instance()
            self._take_names_back()
            _end(shell)
            shell.clear_instance()
        if IPKernelApp.initialized():
            IPKernelApp.clear_instance()

    def _take_names_back(self) -> None:
        user_ns, before = self._names
        for name in filter(_IPYTHONS_NAMES.fullmatch, list(user_ns)):
            if name in before:
                user_ns[name] = before[name]
            else:
                del user_ns[name]

    def _input(self, *arguments: Any, **options: Any) -> str:
        ask: Callable[..., str] = super()._input if self.kernel.parents.handles() else self._programs["input"]
        return ask(*arguments, **options)

    def _getpass(self, *arguments: Any, **options: Any) -> str:
        ask: Callable[..., str] = super()._getpass if self.kernel.parents.handles() else self._programs["getpass"]
        return ask(*arguments, **options)


def _end(shell: Any) -> None:
    """Let IPython's shell do now what it would do when the process ends."""
    atexit.unregister(shell.atexit_operations)
    # It empties its namespace, and that one is not its own.
    shell.user_module = types.ModuleType("__main__")
    shell.user_ns = shell.user_module.__dict__
    shell.atexit_operations()


class SharedStream:
    """Is the kernel's stream for what runs in a cell, and for all else the program's."""

    def __init__(self, parents: Parents, kernels: Any, programs: Any) -> None:
        self._parents = parents
        self._kernels = kernels
        self._programs = programs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels if self._parents.handles() else self._programs, name)
