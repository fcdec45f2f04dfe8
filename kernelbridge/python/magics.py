"""The magics of a kernel: those of IPython's that need a terminal or an editor, in a form that frontends can show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from IPython.core import page
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.utils.process import arg_split


@magics_class
class KernelMagics(Magics):
    """%edit, %clear, %less, %more, %man, %connect_info, %qtconsole, %subshell and %autosave, as ipykernel has them."""

    @line_magic
    def edit(self, parameter_s: str = "", last_call: list[str] | None = None) -> None:
        """Ask the frontend to open an editor: %edit [-p] [-n LINE] [-r] [FILE | FUNCTION | INPUT LINES | VARIABLE].

        What is edited is not run: run it with %run or %load when it has been saved.
        """
        from IPython.core.magics.code import CodeMagics, InteractivelyDefined, MacroToEdit

        options, arguments = self.parse_options(parameter_s, "prn:")
        try:
            target, line, _ = CodeMagics._find_edit_target(self.shell, arguments, options, last_call or ["", ""])
        except MacroToEdit:
            raise UsageError(f"{arguments} is a macro: %save it, and edit the file") from None
        except InteractivelyDefined as found:
            raise UsageError(f"{arguments} was defined in a cell: %recall {found.index}") from None
        if target is None:
            # What was asked for is not there, and IPython has said so.
            return
        # Absolute, because the frontend may be in another folder.
        filename = str(Path(target).resolve())
        number = line if line is None else _number(line, "a line's number", "%edit -n LINE")
        payload = {"source": "edit_magic", "filename": filename, "line_number": number}
        self.shell.payload_manager.write_payload(payload)

    @line_magic
    def clear(self, parameter_s: str = "") -> None:
        """Clear the screen of a terminal frontend."""
        print("\x1b[H\x1b[2J", end="")

    @line_magic
    def less(self, parameter_s: str = "") -> None:
        """Show a file in the pager: %less FILE. Python's is coloured."""
        if not parameter_s:
            raise UsageError("which file? %less FILE")
        try:
            text = Path(parameter_s).expanduser().read_text(errors="replace")
        except OSError as failure:
            raise UsageError(f"{parameter_s} cannot be read: {failure.strerror}") from None
        page.page(self.shell.pycolorize(text) if parameter_s.endswith(".py") else text)

    more = line_magic("more")(less)

    @line_magic
    def man(self, parameter_s: str = "") -> None:
        """Show a page of the manual in the pager: %man COMMAND."""
        page.page(self.shell.getoutput(f"man {parameter_s} | col -b", split=False))

    @line_magic
    def connect_info(self, parameter_s: str = "") -> None:
        """Print how other frontends reach this kernel: its connection, and its connection file. It holds the key."""
        print(json.dumps(self.shell.kernel.connection.to_json(), indent=2))
        if file := self._connection_file():
            print(f"\nAnother frontend connects with: jupyter console --existing {file}")

    @line_magic
    def qtconsole(self, parameter_s: str = "") -> None:
        """Open a Qt console that is connected to this kernel: %qtconsole [OPTIONS OF ITS COMMAND LINE]."""
        if find_spec("qtconsole") is None:
            raise UsageError("there is no qtconsole: pip install qtconsole")
        file = self._connection_file()
        if not file:
            raise UsageError("this kernel was started without a connection file")
        command = [sys.executable, "-m", "qtconsole", "--existing", file, *arg_split(parameter_s)]
        # A session of its own, so that interrupting the kernel does not end it.
        subprocess.Popen(command, start_new_session=True)  # noqa: S603

    @line_magic
    def subshell(self, parameter_s: str = "") -> None:
        """Print in which subshell and thread this runs, and which subshells there are."""
        kernel = self.shell.kernel
        print(f"subshell id: {kernel.request.header.subshell_id}")
        print(f"thread id: {threading.get_ident()}")
        print(f"main thread id: {threading.main_thread().ident}")
        print(f"pid: {os.getpid()}")
        print(f"thread count: {threading.active_count()}")
        print(f"subshell list: {kernel.subshell_ids}")

    @line_magic
    def autosave(self, parameter_s: str = "") -> None:
        """Set how often the classic notebook saves: %autosave SECONDS, 0 for never. JupyterLab has a setting for it."""
        from IPython.display import Javascript, display

        seconds = _number(parameter_s, "a number of seconds", "%autosave SECONDS")
        code = f"if (window.IPython && IPython.notebook) IPython.notebook.set_autosave_interval({1000 * seconds});"
        display(Javascript(code), include=["application/javascript"])
        print(f"Autosaving every {seconds} seconds" if seconds else "Autosave disabled")

    def _connection_file(self) -> str:
        return str(self.shell.parent.connection_file)


def _number(given: str | int, what: str, usage: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise UsageError(f"{what}, please, not {given!r}: {usage}") from None
