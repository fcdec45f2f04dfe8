"""IPython's shell, with what it shows put into the kernel's one queue."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any

from IPython.core import interactiveshell, page
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Any as AnyTrait
from traitlets import CBool, Instance, Type, default

from kernelbridge.kernel.handler import error_value, format_error
from kernelbridge.kernel.interrupts import hide_handler
from kernelbridge.python.cells import (
    CellBuiltins,
    CellCompiler,
    CellDisplayTrap,
    CellHistory,
    CellPayloads,
    Cells,
    one_at_a_time,
)
from kernelbridge.python.lookalike import explain_absence
from kernelbridge.python.magics import KernelMagics
from kernelbridge.python.messages import IOPUB_SOCKET, Hooked
from kernelbridge.python.transformer import CellTransformer
from kernelbridge.wire.messages import Message


class KernelDisplayHook(Hooked, DisplayHook):
    """Shows the value of the last expression as an ``execute_result``."""

    @property
    def exec_result(self) -> Any:
        return self.shell.cells.current.result

    @exec_result.setter
    def exec_result(self, result: Any) -> None:
        self.shell.cells.current.result = result

    def quiet(self) -> bool:
        """Return whether the cell ends in a semicolon, and so shows no value."""
        return bool(self.semicolon_at_end_of_expression(self.shell.cells.current.source))

    def start_displayhook(self) -> None:
        cell = self.shell.cells.current
        cell.formatting = True
        cell.shown = None

    def write_output_prompt(self) -> None:
        """Write no prompt: the frontend does."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        shown = {"data": format_dict, "metadata": md_dict or {}, "execution_count": self.prompt_count}
        self.shell.cells.current.shown = shown

    def finish_displayhook(self) -> None:
        cell = self.shell.cells.current
        cell.formatting = False
        if cell.shown is not None:
            self._publish("execute_result", cell.shown)
        cell.shown = None


class KernelDisplayPublisher(Hooked, DisplayPublisher):
    """Shows what is displayed as ``display_data``, and updates and clears it.

    It has the three names of ipykernel's by which jupyter_client's `execute_interactive`, called in a cell, shows there
    what the other kernel shows.
    """

    pub_socket = IOPUB_SOCKET
    parent_header = None

    @property
    def session(self) -> Any:
        return self.shell.kernel.session

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *args: Any,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        self._validate_data(data, metadata)
        content = {"data": data, "metadata": metadata or {}, "transient": transient or {}}
        self._publish("update_display_data" if update else "display_data", content)

    def clear_output(self, wait: bool = False) -> None:
        self._publish("clear_output", {"wait": wait})


class ZMQInteractiveShell(InteractiveShell):
    """IPython's shell in a kernel.

    It has the name of ipykernel's, because rich, tqdm, matplotlib and others know a notebook by that name.
    """

    displayhook_class = Type(KernelDisplayHook)
    display_pub_class = Type(KernelDisplayPublisher)
    kernel = AnyTrait()
    # There is no line editor here, and no terminal to indent in.
    readline_use = CBool(False)
    autoindent = CBool(False)
    exiter = Instance(ZMQExitAutocall)
    keepkernel_on_exit: bool | None = None
    compiler_class = Type(CellCompiler)
    input_transformer_manager = Instance(CellTransformer, ())

    active_eventloop: str | None = None
    """The GUI toolkit whose event loop runs, as `%gui` names it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.cells = Cells()
        """The cells that run, and which one runs here and now."""
        super().__init__(*arguments, **options)

    @property
    def execution_count(self) -> int:
        """The number of the cell that runs here and now, and from when IPython has counted it, the next."""
        return self.cells.current.execution_count

    @execution_count.setter
    def execution_count(self, count: int) -> None:
        self.cells.current.execution_count = count

    @default("exiter")
    def _exiter(self) -> ZMQExitAutocall:
        return ZMQExitAutocall(self)

    def init_environment(self) -> None:
        """Tell programs that cells start that they may use colours and must not page."""
        os.environ.update(
            TERM="xterm-color", CLICOLOR="1", FORCE_COLOR="1", CLICOLOR_FORCE="1", PAGER="cat", GIT_PAGER="cat"
        )

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(self._page), 99)

    def init_traceback_handlers(self, custom_exceptions: Any) -> None:
        super().init_traceback_handlers(custom_exceptions)
        self.InteractiveTB.structured_traceback = one_at_a_time(self.InteractiveTB.structured_traceback)

    def init_builtins(self) -> None:
        super().init_builtins()
        self.builtin_trap = CellBuiltins(shell=self)

    def init_displayhook(self) -> None:
        super().init_displayhook()
        self.display_trap = CellDisplayTrap(hook=self.displayhook)

    def init_history(self) -> None:
        self.history_manager = CellHistory(shell=self, parent=self)
        self.configurables.append(self.history_manager)

    def init_payload(self) -> None:
        self.payload_manager = CellPayloads(parent=self)
        self.configurables.append(self.payload_manager)

    def enable_gui(self, gui: str | None = None) -> None:
        """Have the event loop of a GUI toolkit run beside the cells; with None, that of none. See `gui.switch`."""
        # matplotlib says with each inline backend that it needs none.
        if gui != self.active_eventloop:
            from kernelbridge.python.gui import switch

            self.active_eventloop = switch(gui, self.active_eventloop)

    def ask_exit(self) -> None:
        self.exit_now = not self.keepkernel_on_exit
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": bool(self.keepkernel_on_exit)})

    def set_next_input(self, text: str, replace: bool = False) -> None:
        self.payload_manager.write_payload({"source": "set_next_input", "text": text, "replace": replace})

    def get_parent(self) -> dict[str, Any]:
        """Return the request that is handled here and now, as ipykernel does: ipywidgets captures output by it."""
        request = self.kernel.request
        return {} if request is None else request.to_dict()

    def set_parent(self, parent: dict[str, Any]) -> None:
        """Give what is put from here on, in this thread or task, the request `parent` (see `get_parent`)."""
        self.kernel.parents.adopt(Message.from_dict(parent))

    def init_magics(self) -> None:
        super().init_magics()
        self.register_magics(KernelMagics)
        self.magics_manager.register_alias("ed", "edit")

    def init_virtualenv(self) -> None:
        """Look for no virtual environment: the kernel runs with the interpreter that its kernelspec names."""

    def _page(self, text: str | dict[str, Any], start: int = 0, screen_lines: int = 0, pager_cmd: str = "") -> None:
        data = text if isinstance(text, dict) else {"text/plain": text}
        self.payload_manager.write_payload({"source": "page", "data": data, "start": max(0, start)})

    def _get_exc_info(self, exc_tuple: Any = None) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """Return the error that is to be shown, or debugged."""
        etype, value, tb = super()._get_exc_info(exc_tuple)
        if isinstance(value, KeyboardInterrupt):
            hide_handler(value)
            if "pydevd" in sys.modules:
                from kernelbridge.python.debugger.tracing import without_stop

                tb = without_stop(tb)
        explain_absence(value)
        return etype, value, tb

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Show an error, always as one. IPython only prints groups of exceptions, and those that it cannot format."""
        kind, value, at = exc_tuple or sys.exc_info()
        cell = self.cells.current
        cell.traceback = None
        try:
            if value is not None and _holds_group(value):
                # For %debug and %tb.
                self._get_exc_info(exc_tuple)
            else:
                super().showtraceback(exc_tuple, *args, **kwargs)
        except Exception:
            # What the error's own class has raised, if it is not what the debugger did.
            if cell.traceback is not None:
                raise
        if value is not None and cell.traceback is None and kind is not UsageError:
            self._showtraceback(type(value), value, "".join(format_error(value, _from_cell(at))).splitlines())
            if self.call_pdb:
                self.debugger(force=True)

    def _format_exception_for_storage(self, exception: BaseException, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return what the history keeps of an error: what was shown. IPython would format it once more."""
        name, value = type(exception).__name__, error_value(exception)
        return {"ename": name, "evalue": value, "traceback": self.cells.current.traceback or []}

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        cell = self.cells.current
        cell.traceback = list(stb)
        if cell.formatting:
            cell.display_error = evalue
        content = {"ename": etype.__name__, "evalue": error_value(evalue), "traceback": cell.traceback}
        self.kernel.publish("error", content)


def _holds_group(failure: BaseException) -> bool:
    """Return whether it is a group of exceptions, or was raised while one was handled."""
    each: BaseException | None = failure
    while each is not None:
        # By the type: the exception's own attributes may be anything.
        if issubclass(type(each), BaseExceptionGroup):
            return True
        each = object.__getattribute__(each, "__context__")
    return False


def _from_cell(at: TracebackType | None) -> TracebackType | None:
    """Return the traceback without IPython's own frames at its beginning."""
    while at is not None and at.tb_frame.f_code.co_filename == interactiveshell.__file__:
        at = at.tb_next
    return at
