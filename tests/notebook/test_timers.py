"""The time of a cell and the grace after it, by virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import nbformat.v4
import pytest

from kernelbridge.frontend.bridge import connect
from kernelbridge.notebook.run import INTERRUPT_GRACE, NotebookRun, run_notebook
from kernelbridge.testing import (
    DEADLINE,
    ManualKernel,
    VirtualClock,
    busy,
    error,
    execute_request,
    handle,
    idle,
    reply,
    request,
    stdout,
)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@contextmanager
def run_of(clock: VirtualClock, timeout: float, *sources: str) -> Iterator[tuple[ManualKernel, Future[NotebookRun]]]:
    """Run these cells, on a thread, in a kernel that the test plays."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with (
        ThreadPoolExecutor(1) as pool,
        ManualKernel(transport="inproc") as kernel,
        # The kernel echoes only when the test waits for something of it.
        closing(connect(kernel.connection, context=kernel.context, clock=clock, beat_seconds=None)) as bridge,
    ):
        kernel.become_ready()
        yield kernel, pool.submit(run_notebook, notebook, bridge=bridge, timeout=timeout)


def test_a_cell_is_interrupted_when_its_time_is_up(clock: VirtualClock) -> None:
    with run_of(clock, 10, "slow", "never") as (kernel, run):
        cell = kernel.take(execute_request("slow"))
        kernel.play(busy(), stdout("begun\n"), parent=cell)
        clock.advance(9.999)
        assert kernel.waiting("control") == []
        clock.advance(0.001)
        kernel.play(reply(), parent=kernel.take(request("interrupt")))
        kernel.play(error("KeyboardInterrupt", "", []), reply(status="error"), idle(), parent=cell)
        ran = run.result(DEADLINE)
    assert ran.failure is not None
    assert (ran.failure.ename, ran.failure.evalue) == ("CellTimeoutError", "the cell ran longer than 10 s")
    assert ran.cells_run == 1
    assert [output.get("text", output.get("ename")) for output in ran.notebook.cells[0].outputs] == [
        "begun\n",
        "KeyboardInterrupt",
        "CellTimeoutError",
    ]


def test_each_cell_has_its_own_time(clock: VirtualClock) -> None:
    with run_of(clock, 10, "one", "two") as (kernel, run):
        for source in ("one", "two"):
            cell = kernel.take(execute_request(source))
            clock.advance(9.999)
            kernel.play(handle(), parent=cell)
        assert run.result(DEADLINE).failure is None


def test_a_cell_that_will_not_be_interrupted_is_given_up_after_the_grace(clock: VirtualClock) -> None:
    with run_of(clock, 10, "stubborn") as (kernel, run):
        cell = kernel.take(execute_request("stubborn"))
        clock.advance(10)
        kernel.play(reply(), parent=kernel.take(request("interrupt")))
        kernel.play(busy(), stdout("not me\n"), parent=cell)
        clock.advance(INTERRUPT_GRACE - 0.001)
        assert not run.done()
        clock.advance(0.001)
        ran = run.result(DEADLINE)
    assert ran.failure is not None
    assert ran.failure.ename == "CellTimeoutError"
    assert ran.notebook.cells[0].outputs[0].text == "not me\n"


def test_a_reply_that_stays_out_behind_the_idle_costs_no_more_than_the_time(clock: VirtualClock) -> None:
    with run_of(clock, 10, "lost") as (kernel, run):
        cell = kernel.take(execute_request("lost"))
        kernel.play(busy(), idle(), parent=cell)
        clock.advance(10)
        kernel.play(reply(), parent=kernel.take(request("interrupt")))
        clock.advance(INTERRUPT_GRACE)
        ran = run.result(DEADLINE)
    assert ran.failure is not None
    assert ran.failure.ename == "CellTimeoutError"
