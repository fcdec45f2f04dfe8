"""Python behind the kernel end: each request goes to IPython's shell."""

from __future__ import annotations

import asyncio
import atexit
import builtins
import getpass
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kernelbridge.kernel.execution import end_child
from kernelbridge.kernel.group import end_group
from kernelbridge.kernel.handler import Handler, error_value
from kernelbridge.kernel.stdin import StdinError
from kernelbridge.version import __version__
from kernelbridge.wire.contents import (
    CompleteReply,
    CompleteRequest,
    DebugReply,
    DebugRequest,
    ErrorReply,
    ExecuteReply,
    ExecuteRequest,
    HelpLink,
    HistoryReply,
    HistoryRequest,
    InspectReply,
    InspectRequest,
    IsCompleteReply,
    IsCompleteRequest,
    LanguageInfo,
)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionResult

    from kernelbridge.python.app import IPKernelApp
    from kernelbridge.python.cells import Cell
    from kernelbridge.python.debugger import Debugger
    from kernelbridge.python.descriptors import Descriptors
    from kernelbridge.python.history import PacedFlag
    from kernelbridge.python.shell import ZMQInteractiveShell


HOOKS_SECONDS = 1.0
"""How long exit hooks may take in a process that does not end by itself. In real time, as for all that may hang."""

_END_OF_INPUT = "\x04"
"""What a frontend answers at Ctrl-D, to ipykernel and so to others: there is no more input. The specification says
nothing of it."""

_hooks_run = threading.Event()
"""Set when Python runs the exit hooks of this process."""


class PythonHandler(Handler):
    """The Python language.

    Takes the command line's `arguments` that IPython's configuration is to understand, and how many seconds the process
    has to end when the kernel was asked to: None where the process is not the kernel's own. `capture`: whether it may
    take the file descriptors 1 and 2, unless the configuration says no; not in a program that has its own use for them.

    There is one IPython shell for the main shell and all subshells: they share names, history and the last results.
    What is a cell's own is in `cells`.

    IPython is loaded by `start`, when the channels listen already: what a frontend asks first, kernel_info, needs none
    of it, so both go on at the same time.
    """

    implementation = "kernelbridge"
    implementation_version = __version__
    subshells = True
    language_info = LanguageInfo(
        name="python",
        version=platform.python_version(),
        mimetype="text/x-python",
        file_extension=".py",
        pygments_lexer="ipython3",
        codemirror_mode={"name": "ipython", "version": sys.version_info[0]},
        nbconvert_exporter="python",
    )
    help_links = (
        HelpLink(text="Python Reference", url=f"https://docs.python.org/{sys.version_info[0]}.{sys.version_info[1]}"),
        HelpLink(text="IPython Reference", url="https://ipython.org/documentation.html"),
    )

    def __init__(
        self, arguments: Sequence[str] = (), exit_seconds: float | None = None, *, capture: bool = False
    ) -> None:
        self._arguments = list(arguments)
        self._exit_seconds = exit_seconds
        self.user_ns: dict[str, Any] | None = None
        """Where cells live, if not in a module of their own. Set before the start."""
        self.lookalike = ExitStack()
        """What was done so that the process looks like one of ipykernel's. Closed by who gives the process back."""
        # IPython's completer keeps what it completes on itself.
        self._completing = threading.Lock()
        # Guards that the process is given its time to end only once.
        self._ending = threading.Lock()
        self._capture = capture and os.name == "posix"
        self._descriptors: Descriptors
        # The shell, for whoever may ask for it before there is one.
        self._begun: Future[ZMQInteractiveShell] = Future()
        # Guards that no debugger is made when the last one was stopped. Others read `_debugger`, which is written once.
        self._debugging = threading.Lock()
        self._debugger: Debugger | None = None
        self._stopped = False
        self._app: IPKernelApp
        self._shell: ZMQInteractiveShell
        self._history_flag: PacedFlag | None

    @property
    def banner(self) -> str:  # type: ignore[override]
        return f"Python {sys.version}\nIPython {_ipython_version()}, kernelbridge {__version__}\n"

    @property
    def debugger(self) -> bool:  # type: ignore[override]
        """Whether debugpy is installed. It is loaded when somebody debugs, and where it is not, that is refused."""
        return find_spec("debugpy") is not None

    def start(self) -> None:
        from kernelbridge.python import comms, lookalike
        from kernelbridge.python.app import IPKernelApp
        from kernelbridge.python.descriptors import Descriptors
        from kernelbridge.python.history import pace
        from kernelbridge.python.streams import KernelStream

        self._descriptors = Descriptors(self.kernel.outputs, self.kernel.parents)
        sys.stdout = KernelStream(self.kernel, "stdout", sys.__stdout__, self._descriptors)
        sys.stderr = KernelStream(self.kernel, "stderr", sys.__stderr__, self._descriptors)
        builtins.input = self._input
        getpass.getpass = self._getpass
        try:
            manager = comms.install(self.kernel)
            self.lookalike.enter_context(lookalike.installed())
            kernel = lookalike.LookalikeKernel(self.kernel, manager)
            self._app = IPKernelApp.instance(kernel=kernel, namespace=self.user_ns)
            self._app.initialize(self._arguments, self._descriptors.start if self._capture else None)
        except BaseException:
            # What went wrong is to be read where the kernel was started.
            self._give_back()
            raise
        asyncio.get_running_loop().call_soon(self._descriptors.buffer_lines)
        self._shell = self._app.shell
        self._history_flag = pace(self._shell.history_manager)
        self._begun.set_result(self._shell)

    def debug(self, request: DebugRequest, answer: Callable[[DebugReply], object]) -> None:
        with self._debugging:
            if self._debugger is None and not self._stopped:
                from kernelbridge.python.debugger import Debugger

                debugger = Debugger(self.kernel, self._begun)
                debugger.start()
                self._debugger = debugger
        if self._debugger is None:
            answer(DebugReply(success=False, request_seq=request.seq, message="the kernel ends"))
        else:
            self._debugger.ask(request, answer)

    def ending(self) -> None:
        if self._debugger is not None:
            self._debugger.let_go()
        if self._exit_seconds is not None and self._ending.acquire(blocking=False):
            # Late, so that it runs early.
            atexit.register(_hooks_run.set)
            timer = threading.Timer(self._exit_seconds, _exit)
            timer.daemon = True
            timer.start()

    def stop(self, restart: bool) -> None:
        with self._debugging:
            self._stopped = True
        if self._debugger is not None:
            self._debugger.leave_this_thread()
            self._debugger.stop()
        if self._history_flag is not None:
            self._history_flag.hurry()
        self._shell.enable_gui(None)
        self._give_back()

    def _give_back(self) -> None:
        self._descriptors.flush()
        self._descriptors.stop()
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__

    def settle(self) -> None:
        self._descriptors.settle()

    async def execute(self, request: ExecuteRequest, execution_count: int) -> ExecuteReply | ErrorReply:
        # What the cell is called, and what In and Out will be indexed by: the kernel counts, IPython follows.
        with self._shell.cells.one(execution_count) as cell:
            return await self._run(request, cell, execution_count)

    async def _run(self, request: ExecuteRequest, cell: Cell, execution_count: int) -> ExecuteReply | ErrorReply:
        shell = self._shell
        result = None
        transformed, failure = request.code, None
        try:
            transformed = shell.transform_cell(request.code)
        except Exception:  # noqa: BLE001 - a user's transformer may raise anything; IPython shows it as the cell's error.
            failure = sys.exc_info()
        if self._debugger is not None:
            transformed = self._debugger.cell_begins(request.code, transformed)
        cell.source = transformed
        try:
            result = await shell.run_cell_async(
                request.code,
                store_history=request.counts,
                silent=request.silent,
                transformed_cell=transformed,
                preprocessing_exc_tuple=failure,
                cell_id=self._cell_id(),
            )
        finally:
            if self.kernel.outputs.lost:
                self._end_child(cell, result)
            shell.events.trigger("post_execute")
            if not request.silent:
                shell.events.trigger("post_run_cell", result)
            self._descriptors.flush()
        if request.counts and cell.execution_count != execution_count + 1:
            # The cell has reset the counter (%reset), or was empty.
            self.kernel.count_back(execution_count, cell.execution_count - 1)
        if shell.exit_now:
            self.kernel.end()
        error = result.error_before_exec or result.error_in_exec or cell.display_error
        if self._debugger is not None:
            self._debugger.cell_ends(isinstance(error, KeyboardInterrupt))
        if error is not None:
            return ErrorReply(
                ename=type(error).__name__,
                evalue=error_value(error),
                traceback=cell.traceback or [],
                execution_count=execution_count,
                extra={"user_expressions": {}, "payload": cell.payload},
            )
        return ExecuteReply(
            execution_count=execution_count,
            user_expressions=shell.user_expressions(request.user_expressions) if request.user_expressions else {},
            payload=cell.payload,
        )

    def _end_child(self, cell: Cell, result: ExecutionResult | None) -> NoReturn:
        """End a forked child where its cell ends, with the status that its code has given to `sys.exit`.

        What it has shown of an error is let go, and so is written where it is seen.
        """
        error = None if result is None else result.error_in_exec
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            end_child(error.code or 0)
        if cell.traceback is not None:
            sys.stderr.write("\n".join([*cell.traceback, ""]))
        end_child(0 if cell.traceback is None else 1)

    def complete(self, request: CompleteRequest) -> CompleteReply:
        from IPython.core.completer import provisionalcompleter, rectify_completions

        with self._completing, provisionalcompleter():
            found = list(
                rectify_completions(request.code, self._shell.Completer.completions(request.code, request.cursor))
            )
        types = [
            {"start": one.start, "end": one.end, "text": one.text, "type": one.type, "signature": one.signature}
            for one in found
        ]
        return CompleteReply(
            matches=[one.text for one in found],
            cursor_start=found[0].start if found else request.cursor,
            cursor_end=found[0].end if found else request.cursor,
            metadata={"_jupyter_types_experimental": types},
        )

    def inspect(self, request: InspectRequest) -> InspectReply:
        from IPython.utils.tokenutil import token_at_cursor

        name = token_at_cursor(request.code, request.cursor)
        try:
            data = self._shell.object_inspect_mime(name, detail_level=request.detail_level)
        except KeyError:
            return InspectReply(found=False)
        if not self._shell.enable_html_pager:
            data.pop("text/html", None)
        return InspectReply(found=True, data=data)

    def is_complete(self, request: IsCompleteRequest) -> IsCompleteReply:
        status, indent = self._shell.input_transformer_manager.check_complete(request.code)
        return IsCompleteReply(status=status, indent=" " * (indent or 0) if status == "incomplete" else None)

    def history(self, request: HistoryRequest) -> HistoryReply:
        manager = self._shell.history_manager
        options: dict[str, Any] = {"raw": request.raw, "output": request.output}
        match request.hist_access_type:
            case "tail":
                found = manager.get_tail(request.n or 0, include_latest=True, **options)
            case "range":
                found = manager.get_range(request.session or 0, request.start or 1, request.stop, **options)
            case "search":
                found = manager.search(request.pattern or "*", n=request.n, unique=request.unique, **options)
        # IPython calls the session that runs 0 where it was asked for a range, and by its number everywhere else.
        return HistoryReply(history=[(entry[0] or manager.session_number, *entry[1:]) for entry in found])

    def _cell_id(self) -> str | None:
        request = self.kernel.request
        cell_id = None if request is None else request.metadata.get("cellId")
        return cell_id if isinstance(cell_id, str) else None

    def _input(self, prompt: object = "") -> str:
        return self._ask(str(prompt), password=False)

    def _getpass(self, prompt: str = "Password: ", stream: object = None, *, echo_char: str | None = None) -> str:
        # What is echoed, and where, is the frontend's to decide.
        return self._ask(prompt, password=True)

    def _ask(self, prompt: str, password: bool) -> str:
        try:
            answer = self.kernel.input(prompt, password)
        except StdinError as refusal:
            raise _not_implemented(refusal) from None
        if answer == _END_OF_INPUT:
            raise EOFError("the input has ended")
        return answer


def _ipython_version() -> str:
    """Return what IPython's own file for it says.

    IPython itself may just be loaded, on another thread, and importlib.metadata brings a megabyte of modules, `email`
    among them, that a kernel has no other use for.
    """
    package: Any = find_spec("IPython")
    release: Any = spec_from_file_location("release", Path(package.origin).with_name("core") / "release.py")
    module: Any = module_from_spec(release)
    release.loader.exec_module(module)
    return str(module.version)


def _exit() -> None:
    """End the process, because a cell, a thread or a task that was left over does not let it end."""
    logging.getLogger("kernelbridge").warning("kernelbridge: what runs does not end, so the process does")
    last = threading.Timer(HOOKS_SECONDS, _leave)
    last.daemon = True
    last.start()
    # Python runs them only when all threads have ended. Where one of them is what does not end, not again.
    if not _hooks_run.is_set():
        atexit._run_exitfuncs()
        _leave()


def _leave() -> None:
    try:
        end_group()
    finally:
        os._exit(0)


def _not_implemented(refusal: StdinError) -> BaseException:
    """Return the error that IPython's own code expects where there is no stdin."""
    from IPython.core.error import StdinNotImplementedError

    error: BaseException = StdinNotImplementedError(str(refusal))
    return error
