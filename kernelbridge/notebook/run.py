"""Run a notebook through a Bridge, cell by cell, and keep what it shows.

Everything is read from one subscription, so that what concerns an earlier cell (a thread that prints, a display that is
updated) and what the kernel says on its comms come in the one order in which the kernel sent them. A cell is over when
its execution is done and the kernel has taken what its Output widgets captured.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Final

from attrs import field, frozen

from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.errors import BridgeError
from kernelbridge.frontend.execution import Request
from kernelbridge.frontend.launch import find_kernelspec
from kernelbridge.notebook.files import check_writable, read_notebook, resolved, to_node, write_notebook
from kernelbridge.notebook.kernels import choose_kernel, mapping_in
from kernelbridge.notebook.outputs import CellOutputs, NotebookOutputs
from kernelbridge.notebook.widgets import WIDGET_STATE_MIME
from kernelbridge.wire.contents import Error
from kernelbridge.wire.messages import Header, Message

INTERRUPT_GRACE: Final = 5.0
"""Seconds in which a kernel that was interrupted must end its cell before it is given up."""

_MAY_FAIL: Final = "raises-exception"

_LOOK_UP: Final = Message(Header("", ""), {})
"""Put into the run's own subscription, behind what has come, to wake the thread that reads it."""


@frozen
class CellFailure:
    """The error that ended a run.

    `number` is the cell's place in the notebook, text cells included, from 1. `ename`, `evalue` and `traceback` are the
    kernel's; a cell that ran out of time fails with `CellTimeoutError`, one whose kernel died with `KernelDiedError`.
    """

    number: int
    source: str
    ename: str
    evalue: str
    traceback: list[str] = field(factory=list)


@frozen
class CellStart:
    """A cell begins to run: the `step`-th, from 1, of the `steps` that have something to run. `number` as above."""

    step: int
    steps: int
    number: int
    source: str


@frozen
class NotebookRun:
    """What came of a run. `failure` is None when all cells ran and none failed that was not allowed to."""

    notebook: Any
    kernel_name: str | None
    cells_run: int
    failure: CellFailure | None


def run_notebook(
    notebook: str | os.PathLike[str] | Any,
    *,
    output: str | os.PathLike[str] | None = None,
    kernel_name: str | None = None,
    bridge: Bridge | None = None,
    timeout: float | None = None,
    allow_errors: bool = False,
    cwd: str | os.PathLike[str] | None = None,
    on_progress: Callable[[CellStart], None] | None = None,
) -> NotebookRun:
    """Run all code cells of a notebook, in order, up to the first that fails.

    Takes a path or an `nbformat.NotebookNode`, which is changed in place; where to write the result (nowhere by
    default); the kernel to launch, by default the notebook's own or the built-in one, or the `bridge` of one that runs
    and is to stay; the seconds that each cell may take; whether errors in cells end the run (cells tagged
    ``raises-exception`` never do); the kernel's working folder, by default the notebook's; and what is called before
    each cell, in the thread of the run.

    What ran is in the notebook, and written, whatever ends the run: a failure, an interrupt, an exception of
    `on_progress`. On KeyboardInterrupt and SystemExit the running cell is interrupted first. Cells after that keep the
    outputs that they had.

    Raises NotebookFileError for a file that is no notebook or cannot be written, and NoSuchKernelError and
    KernelStartError when there is no kernel to run it; nothing is written then. Raises ValueError for a timeout that is
    not above 0, or longer than a lock can wait (`threading.TIMEOUT_MAX`).
    """
    if timeout is not None and not 0 < timeout <= threading.TIMEOUT_MAX:
        raise ValueError(f"timeout must be above 0 and at most {threading.TIMEOUT_MAX:.0f} s, not {timeout}")
    if isinstance(notebook, str | os.PathLike):
        cwd = resolved(notebook).parent if cwd is None else cwd
        notebook = read_notebook(notebook)
    if output is not None:
        check_writable(output)
    if bridge is not None:
        bridge.wait_ready()
        runner = _Runner(bridge, notebook, timeout, allow_errors, on_progress)
        return _run(runner, None, output)
    kernel_name = kernel_name or choose_kernel(notebook.metadata)
    with launch(kernel_name, cwd=cwd) as launched:
        runner = _Runner(launched, notebook, timeout, allow_errors, on_progress)
        try:
            return _run(runner, kernel_name, output)
        finally:
            if runner.stuck:
                # A kernel that does not end its cell does not end itself either.
                launched.close(grace=0)


def _run(runner: _Runner, kernel_name: str | None, output: str | os.PathLike[str] | None) -> NotebookRun:
    """Run, store and write. The run has a thread of its own.

    Python raises KeyboardInterrupt, and what other signal handlers raise, at whatever line the main thread is at. That
    line is then one of a few here, and no message and no cell is lost half-way.
    """
    end: Future[CellFailure | None] = Future()
    thread = threading.Thread(target=_settle, args=(end, runner.run), name="kernelbridge-notebook", daemon=True)
    failure: CellFailure | None = None
    try:
        thread.start()
        failure = end.result()
    except (KeyboardInterrupt, SystemExit):
        runner.interrupt()
        # In real time: it is the user who waits, and Ctrl-C again ends it.
        wait([end], INTERRUPT_GRACE)
        raise
    finally:
        runner.stuck |= not end.done()
        runner.give_up()
        # What it can still be stuck in is `on_progress`.
        thread.join(INTERRUPT_GRACE)
        runner.store(kernel_name)
        if output is not None:
            write_notebook(runner.notebook, output)
    return NotebookRun(runner.notebook, kernel_name, runner.cells_run, failure)


def _settle(end: Future[CellFailure | None], run: Callable[[], CellFailure | None]) -> None:
    try:
        end.set_result(run())
    except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the end.
        end.set_exception(error)


class _GivenUpError(Exception):
    """The run is not to be waited for any longer."""


class _CellTimeoutError(Exception):
    """The cell has used up its time."""


class _Runner:
    """One run. `run` has a thread of its own; `store`, when that has ended, keeps what there is then."""

    def __init__(
        self,
        bridge: Bridge,
        notebook: Any,
        timeout: float | None,
        allow_errors: bool,
        on_progress: Callable[[CellStart], None] | None,
    ) -> None:
        self.notebook = notebook
        self.cells_run = 0
        self.stuck = False
        """Whether a cell went on although it was interrupted."""
        self._bridge = bridge
        self._timeout = timeout
        self._allow_errors = allow_errors
        self._on_progress = on_progress
        self._outputs = NotebookOutputs()
        self._ran: list[tuple[Any, CellOutputs]] = []
        self._complete = False
        # Without a bound: nothing of a notebook's outputs may be missing.
        self._subscription = bridge.subscribe(backlog=None)
        # What the kernel is told of Output widgets: one message at a time, the next when it has taken the last.
        self._comm_update: Request | None = None
        # Whether the kernel has been seen to die.
        self._dead = False
        # Held to begin a cell and to end the run, so that an interrupt never falls before the cell that it is for.
        self._beginning = threading.Lock()
        self._ending = False

    def run(self) -> CellFailure | None:
        """Run the cells and return the failure that ended it, if one did."""
        steps = []
        for number, cell in enumerate(self.notebook.cells, 1):
            if cell.cell_type == "code":
                if cell.source.strip():
                    steps.append((number, cell))
                else:
                    cell.outputs, cell.execution_count = [], None
        for step, (number, cell) in enumerate(steps, 1):
            if self._on_progress is not None:
                self._on_progress(CellStart(step, len(steps), number, cell.source))
            try:
                error = self._run_cell(cell)
            except _GivenUpError:
                return None
            self.cells_run += 1
            if error is not None:
                return CellFailure(number, cell.source, error.ename, error.evalue, error.traceback)
        self._complete = True
        return None

    def interrupt(self) -> None:
        """Interrupt the cell that runs, and run no other. Called by another thread."""
        with self._beginning:
            self._ending = True
        self._bridge.interrupt()

    def give_up(self) -> None:
        """End the run where it waits. Called by another thread."""
        with self._beginning:
            self._ending = True
        self._subscription.close()

    def store(self, kernel_name: str | None) -> None:
        """Put into the notebook what it has shown so far."""
        for cell, outputs in self._ran:
            cell.outputs = [to_node(output) for output in outputs.outputs]
            cell.execution_count = outputs.execution_count
            cell.metadata["execution"] = to_node(outputs.timing)
        metadata = self.notebook.metadata
        language_info = self._bridge.kernel_info_reply.get("language_info")
        if isinstance(language_info, dict):
            metadata["language_info"] = to_node(language_info)
        if kernel_name is not None and "kernelspec" not in metadata:
            spec = find_kernelspec(kernel_name)
            metadata["kernelspec"] = to_node(
                {"name": kernel_name, "display_name": spec.display_name, "language": spec.language}
            )
        self._store_widgets(metadata)

    def _store_widgets(self, metadata: Any) -> None:
        states = self._outputs.widget_states()
        widgets = dict(mapping_in(metadata, "widgets"))
        former = widgets.pop(WIDGET_STATE_MIME, None)
        if not self._complete and isinstance(former, dict):
            # Outputs of cells that did not run may still show widgets of an earlier run.
            states = {**mapping_in(former, "state"), **states}
        if states:
            widgets[WIDGET_STATE_MIME] = {"version_major": 2, "version_minor": 0, "state": states}
        if widgets:
            metadata["widgets"] = to_node(widgets)
        else:
            metadata.pop("widgets", None)

    def _run_cell(self, cell: Any) -> Error | None:
        """Run a cell and return the error that ends the run, if there is one. Raises _GivenUpError."""
        may_fail = self._allow_errors or _MAY_FAIL in cell.metadata.get("tags", [])
        deadline = None if self._timeout is None else self._bridge.clock.monotonic() + self._timeout
        with self._beginning:
            if self._ending:
                raise _GivenUpError
            execution = self._bridge.execute(cell.source, stop_on_error=not may_fail)
        outputs = self._outputs.start(execution.msg_id)
        self._ran.append((cell, outputs))
        try:
            reply = self._finish(execution, deadline)
        except _CellTimeoutError:
            self._end_overdue(execution)
            error = Error(
                ename="CellTimeoutError", evalue=f"the cell ran longer than {self._timeout:g} s", traceback=[]
            )
        except BridgeError as failure:
            error = Error(ename=type(failure).__name__, evalue=str(failure), traceback=[])
        else:
            return None if may_fail else _error_of(reply)
        # The kernel could not say it itself.
        outputs.area.add(error)
        return error

    def _finish(self, execution: Request, deadline: float | None) -> Message:
        """Wait until a cell is over, in this module's sense, and return its reply."""
        self._receive_until_idle(execution, deadline)
        reply = self._result(execution, deadline)
        self._outputs.receive_reply(reply)
        self._tell_kernel()
        while self._comm_update is not None:
            self._receive_until_idle(self._comm_update, deadline)
            self._comm_update = None
            self._tell_kernel()
        return reply

    def _receive_until_idle(self, request: Request, deadline: float | None) -> None:
        """Take what the kernel publishes up to the `idle` of `request`. Raises what ends the request, if it ends so."""
        # Comes behind all that the request has caused, and also where it was aborted and so caused nothing.
        ended = Message(Header("", ""), {})
        request.when_done(lambda: self._subscription.hand([ended]))
        while True:
            if self._dead:
                # Raises, at once: nothing is published any more.
                self._result(request, deadline)
            message = self._take(request, deadline)
            if message is ended:
                return
            if message is not None and message.is_idle and message.parent_id == request.msg_id:
                return
            self._tell_kernel()

    def _take(self, request: Request, deadline: float | None) -> Message | None:
        """Take the next message that the kernel publishes; or None, where there was another reason to look up."""
        with self._bridge.clock.attend("notebook", self._look_up) as attendance:
            try:
                message = self._subscription.get(attendance.patience(deadline))
            except TimeoutError:
                raise _CellTimeoutError from None
            except EOFError:
                if request.done:
                    # Not given up: the bridge was closed, and has ended the request with that.
                    request.result()
                raise _GivenUpError from None
        if message is _LOOK_UP:
            return None
        if not message.msg_type:
            return message
        self._outputs.receive(message)
        if self._comm_update is not None and message.parent_id == self._comm_update.msg_id and message.is_idle:
            self._comm_update = None
        self._dead |= message.msg_type == "status" and message.content.get("execution_state") == "dead"
        return message

    def _look_up(self) -> None:
        self._subscription.hand([_LOOK_UP])

    def _tell_kernel(self) -> None:
        """Tell the kernel what an Output widget has captured, unless it still has to take the last such message."""
        if self._comm_update is None and (update := self._outputs.take_comm_update()) is not None:
            comm_id, data = update
            self._comm_update = self._bridge.send_comm("comm_msg", {"comm_id": comm_id, "data": data})

    def _end_overdue(self, execution: Request) -> None:
        """Interrupt a cell and take what it still shows; leave it alone when it does not end."""
        deadline = self._bridge.clock.monotonic() + INTERRUPT_GRACE
        self._bridge.interrupt()
        try:
            self._finish(execution, deadline)
        except _CellTimeoutError:
            self.stuck = True
        except BridgeError:
            # The kernel has ended as well, and so has the run.
            return

    def _result(self, request: Request, deadline: float | None) -> Message:
        """Wait for the reply, or for what ends the request without one, and take what is published meanwhile."""
        request.when_done(self._look_up)
        while not request.done:
            self._take(request, deadline)
        return request.result()


def _error_of(reply: Message) -> Error | None:
    """Return what an execution's reply says of its failure, or None if it was none."""
    content = reply.content
    if content.get("status") == "ok":
        return None
    traceback = content.get("traceback")
    return Error(
        ename=str(content.get("ename", content.get("status"))),
        evalue=str(content.get("evalue", "")),
        traceback=[str(line) for line in traceback] if isinstance(traceback, list) else [],
    )
