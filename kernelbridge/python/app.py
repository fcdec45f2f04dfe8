"""IPython's application around the shell: profile, configuration, extensions and startup files, as users know them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from IPython.core.application import BaseIPythonApplication, base_aliases, base_flags
from IPython.core.profiledir import ProfileDir
from IPython.core.shellapp import InteractiveShellApp, shell_aliases, shell_flags
from traitlets import Any as AnyTrait
from traitlets import Bool, Instance, Unicode

from kernelbridge.python.shell import ZMQInteractiveShell


class _StderrHandler(logging.Handler):
    """Writes to what sys.stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):
    """Has the name of ipykernel's application, so that configuration written for that one is understood here."""

    name = "ipython-kernel"
    description = "The Python kernel of kernelbridge."
    aliases: ClassVar[dict[str, str]] = {**base_aliases, **shell_aliases, "f": "IPKernelApp.connection_file"}
    flags: ClassVar[dict[str, Any]] = {
        **base_flags,
        **shell_flags,
        "no-capture-fd": (
            {"IPKernelApp": {"capture_fd_output": False}},
            "Leave the file descriptors 1 and 2 alone: what C code and child processes write goes where the kernel was "
            "started.",
        ),
    }
    classes: ClassVar[list[type]] = [ZMQInteractiveShell, ProfileDir]
    connection_file = Unicode("", help="The connection file that the kernel was started with.").tag(config=True)
    capture_fd_output = Bool(
        True, help="Whether what is written to the file descriptors 1 and 2 is shown with the cell."
    ).tag(config=True)
    kernel = AnyTrait()
    namespace = AnyTrait(help="Where cells live, if not in a module of their own.")
    shell = Instance(ZMQInteractiveShell)

    def initialize(self, argv: list[str] | None = None, capture: Callable[[], None] | None = None) -> None:
        """Read the configuration, call `capture` where it allows that, and start the shell."""
        super().initialize(argv)
        # Programs know a notebook by this section, which is there once it has been asked for.
        self.config.IPKernelApp  # noqa: B018
        if capture is not None and self.capture_fd_output:
            capture()
        self.shell = ZMQInteractiveShell.instance(
            parent=self, profile_dir=self.profile_dir, kernel=self.kernel, user_ns=self.namespace
        )
        self.shell.configurables.append(self)
        # Jupyter's server says here which notebook the kernel is for.
        if notebook := os.environ.get("JPY_SESSION_NAME"):
            self.shell.user_ns["__session__"] = notebook
        self.init_path()
        self.init_gui_pylab()
        self.init_extensions()
        self.init_code()

    @property
    def connection_dir(self) -> str:
        """Where the connection file lies: ipykernel.get_connection_file looks for it there."""
        return str(Path(self.connection_file).parent)

    def init_gui_pylab(self) -> None:
        """Let figures be shown in the notebook, unless the user has chosen otherwise by name, in the environment."""
        # An empty one is no choice: shells export it.
        if not os.environ.get("MPLBACKEND"):
            os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        super().init_gui_pylab()

    def _configure_logging(self) -> None:
        """Say on stderr what there is to say. traitlets would close the handlers of all logs of the program, too."""
        if not self.log.handlers:
            handler = _StderrHandler()
            handler.setFormatter(logging.Formatter(f"[{self.log.name}] %(levelname)s | %(message)s"))
            self.log.addHandler(handler)
        self.log.setLevel(self.log_level)

    def init_crash_handler(self) -> None:
        """Install none: it would write its report where nobody looks; the kernel reports its own crashes."""
