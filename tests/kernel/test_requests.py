"""Requests: what is executed and answered, and what is aborted (K11)."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    comm_close,
    error,
    execute_input,
    execute_reply,
    idle,
    regex,
    reply,
    stdout,
)
from kernelbridge.wire.contents import CompleteReply, CompleteRequest, ErrorReply, ExecuteReply
from tests.support.exchange import ask, run
from tests.support.kernels import Cells, serving


def hello(kernel: Kernel) -> None:
    kernel.write("stdout", "hello\n")


HELLO = [busy(), execute_input("hello"), stdout("hello\n"), idle()]


def fail(kernel: Kernel) -> None:
    kernel.write("stdout", "first\n")
    raise ValueError("as you wished")


def refuse(kernel: Kernel) -> ErrorReply:
    return ErrorReply(ename="Refused", evalue="shown by myself", traceback=[])


@pytest.fixture
def client() -> Iterator[ProtocolClient]:
    with ProtocolClient(Cells(hello=hello, fail=fail, refuse=refuse)) as client:
        yield client


# --- execution ------------------------------------------------------------------------------------------------------


def test_executions_are_counted_and_silent_ones_are_not(client: ProtocolClient) -> None:
    def counted(count: int, **options: Any) -> None:
        request = client.execute("hello", **options)
        shows_input = [] if options.get("silent") else [execute_input("hello", execution_count=count)]
        client.iopub.expect(busy(), *shows_input, stdout("hello\n"), idle(), parent=request)
        client.shell.expect(execute_reply("ok", execution_count=count, parent=request))

    counted(1)
    counted(2)
    counted(2, silent=True)
    counted(2, store_history=False)
    counted(3)


def test_an_exception_is_the_cells_error_and_the_reply(client: ProtocolClient) -> None:
    request = client.execute("fail")
    shown = error("ValueError", "as you wished")
    *_, said, _ = client.iopub.expect(busy(), execute_input("fail"), stdout("first\n"), shown, idle(), parent=request)
    assert "as you wished" in "".join(said.content["traceback"])
    client.shell.expect(execute_reply("error", **said.content, execution_count=1, parent=request))


def test_an_exception_that_cannot_say_what_it_is_is_an_error_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def odd(kernel: Kernel) -> None:
        raise Odd

    with ProtocolClient(Cells(odd=odd, hello=hello)) as client:
        run(client, "odd", error("Odd"), replied=execute_reply("error", ename="Odd"))
        run(client, "hello", stdout("hello\n"))


def test_an_error_that_the_handler_has_shown_is_not_shown_again(client: ProtocolClient) -> None:
    run(client, "refuse", replied=execute_reply("error", ename="Refused"))


def test_a_silent_failure_shows_nothing(client: ProtocolClient) -> None:
    run(client, "fail", stdout("first\n"), silent=True, replied=execute_reply("error"))


def test_methods_may_be_coroutines_or_plain_and_may_fail() -> None:
    class Both(Cells):
        async def complete(self, request: CompleteRequest) -> CompleteReply:
            if request.code == "fail":
                raise ValueError("no completion")
            return CompleteReply(matches=["later"], cursor_start=0, cursor_end=request.cursor)

    async def later(kernel: Kernel) -> ExecuteReply:
        return ExecuteReply(execution_count=kernel.execution_count, user_expressions={"a": 1})

    with ProtocolClient(Both(later=later)) as client:
        run(client, "later", replied=execute_reply(user_expressions={"a": 1}))
        ask(client, "complete", {"code": "x", "cursor_pos": 1}, matches=["later"])
        ask(client, "complete", {"code": "fail", "cursor_pos": 1}, status="error", ename="ValueError")


def test_what_a_handler_leaves_out_is_answered_with_nothing(client: ProtocolClient) -> None:
    ask(client, "complete", {"code": "ab", "cursor_pos": 1}, matches=[])
    ask(client, "inspect", {"code": "ab", "cursor_pos": 1}, found=False)
    ask(client, "is_complete", {"code": "ab"}, status="unknown")
    ask(client, "history", {"hist_access_type": "tail", "n": 1}, history=[])


def test_a_reply_says_when_its_request_began(client: ProtocolClient) -> None:
    run(client, "hello", stdout("hello\n"), replied=execute_reply(metadata={"started": regex(r"^\d{4}-.*T.*Z$")}))


def test_an_interrupt_of_a_coroutine_on_any_thread() -> None:
    async def wait(kernel: Kernel) -> None:
        kernel.write("stdout", "begun")
        kernel.flush()
        await asyncio.Event().wait()

    with ProtocolClient(Cells(wait=wait, hello=hello)) as client:
        request = client.execute("wait")
        client.iopub.expect(busy(), execute_input("wait"), stdout("begun"), parent=request)
        interrupt = client.send("interrupt_request")
        client.control.expect(reply("interrupt", status="ok", parent=interrupt))
        client.shell.expect(execute_reply("error", ename="KeyboardInterrupt", parent=request))
        # The two are handled on two threads at the same time.
        client.iopub.of(interrupt).expect(busy(), idle())
        client.iopub.of(request).expect(error("KeyboardInterrupt"), idle())
        run(client, "hello", stdout("hello\n"))


def test_an_interrupt_at_rest_is_answered_and_hits_nothing() -> None:
    """Neither what is waited for nor what comes later: here a coroutine, which an interrupt could end on any thread."""

    async def pause(kernel: Kernel) -> None:
        await asyncio.sleep(0)
        kernel.write("stdout", "done")

    with ProtocolClient(Cells(pause=pause)) as client:
        ask(client, "interrupt", channel="control")
        run(client, "pause", stdout("done"))


# --- K11 ------------------------------------------------------------------------------------------------------------


class Failing(Cells):
    """A cell `wait` that fails when it is told to `go`; and it knows how to say hello."""

    def __init__(self) -> None:
        self.go = threading.Event()
        super().__init__(wait=self._wait, hello=hello, fail=fail)

    def _wait(self, kernel: Kernel) -> None:
        assert self.go.wait(DEADLINE)
        raise ValueError("stop")

    def executed(self) -> list[str]:
        return [request.code for request in self.requests]


WAIT = [busy(), execute_input("wait"), error("ValueError", "stop"), idle()]


@pytest.mark.parametrize("silent", [False, True])
def test_k11_after_an_error_what_waits_is_aborted(silent: bool) -> None:
    """All that had been sent, each with a reply and brackets of its own; none runs. Nothing else is aborted.

    The replies have no count: JupyterLab would show it, as though the cell had run.
    """
    handler = Failing()
    count = 0 if silent else 1
    with ProtocolClient(handler) as client:
        failing = client.execute("wait", silent=silent)
        client.iopub.expect(busy(parent=failing))
        waiting = [client.execute("hello") for _ in range(50)]
        completion = client.send("complete_request", code="", cursor_pos=0)
        comm = client.send("comm_open", comm_id="c", target_name="nonesuch", data={})
        info = client.send("kernel_info_request")
        last = client.execute("hello")
        # Inside of one process, what was sent is there: all of it waits.
        handler.go.set()
        client.iopub.expect(*([idle()] if silent else WAIT[1:]), parent=failing)
        client.shell.expect(execute_reply("error", ename="ValueError", parent=failing))
        for request in waiting:
            client.iopub.expect(busy(), idle(), parent=request)
            (aborted,) = client.shell.expect(execute_reply("aborted", parent=request))
            assert aborted.content == {"status": "aborted"}
        client.iopub.expect(busy(), idle(), parent=completion)
        client.iopub.expect(busy(), comm_close(comm_id="c"), idle(), parent=comm)
        client.iopub.expect(busy(), idle(), parent=info)
        client.iopub.expect(busy(), idle(), parent=last)
        client.shell.expect(
            reply("complete", status="ok", parent=completion),
            reply("kernel_info", status="ok", parent=info),
            execute_reply("aborted", parent=last),
        )
        assert handler.executed() == ["wait"]
        run(client, "hello", stdout("hello\n"), replied=execute_reply(execution_count=count + 1))


@contextmanager
def held_up() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold the thread that logs next. Gives what is set when it is held, and what lets it go."""
    held, go = threading.Event(), threading.Event()

    class Hold(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            held.set()
            assert go.wait(DEADLINE)

    hold = Hold()
    logging.getLogger("kernelbridge").addHandler(hold)
    try:
        yield held, go
    finally:
        go.set()
        logging.getLogger("kernelbridge").removeHandler(hold)


def test_k11_what_has_arrived_when_an_execution_fails_is_aborted_although_it_is_unread() -> None:
    """More of it than Shell reads in a row. Shell is held up until the execution has failed, by what it must log."""
    count = 150
    go, failed = threading.Event(), threading.Event()

    def wait_and_fail(kernel: Kernel) -> None:
        # Called when this execution is over, and Shell has been told.
        asyncio.get_running_loop().call_soon(failed.set)
        assert go.wait(DEADLINE)
        raise ValueError("stop")

    handler = Cells(wait_and_fail=wait_and_fail, cell=lambda kernel: None)
    with held_up() as (held, release), ProtocolClient(handler) as client:
        failing = client.execute("wait_and_fail")
        client.iopub.expect(busy(), execute_input("wait_and_fail"), parent=failing)
        client.send_frames("shell", [b"no message"])
        assert held.wait(DEADLINE)
        waiting = [client.execute("cell") for _ in range(count)]
        go.set()
        assert failed.wait(DEADLINE)
        release.set()
        client.iopub.expect(error("ValueError", "stop"), idle(), parent=failing)
        client.shell.expect(execute_reply("error", parent=failing))
        for request in waiting:
            client.shell.expect(execute_reply("aborted", parent=request))
            client.iopub.expect(busy(), idle(), parent=request)
        assert len(handler.requests) == 1


def test_k11_without_stop_on_error_what_waits_runs() -> None:
    handler = Failing()
    with ProtocolClient(handler) as client:
        failing = client.execute("wait", stop_on_error=False)
        waiting = [client.execute("hello") for _ in range(50)]
        handler.go.set()
        client.iopub.expect(*WAIT, parent=failing)
        client.shell.expect(execute_reply("error", parent=failing))
        for request in waiting:
            client.iopub.expect(*HELLO, parent=request)
            client.shell.expect(execute_reply("ok", parent=request))


def test_k11_over_tcp_each_that_waits_is_aborted_or_runs_and_all_are_answered() -> None:
    """What waits is what has arrived when the execution fails, and no frontend knows: some, and not the rest."""
    handler = Failing()
    with serving(handler) as kernel, ProtocolClient(kernel) as client:
        failing = client.execute("wait")
        waiting = [client.execute("hello") for _ in range(50)]
        handler.go.set()
        client.iopub.expect(*WAIT, parent=failing)
        client.shell.expect(execute_reply("error", parent=failing))
        replies = [client.shell.expect(reply("execute", parent=request))[0] for request in waiting]
        states = [each.content["status"] for each in replies]
        for request, state in zip(waiting, states, strict=True):
            client.iopub.expect(*([busy(), idle()] if state == "aborted" else HELLO), parent=request)
        assert states == sorted(states)
        assert handler.executed() == ["wait", *["hello"] * states.count("ok")]


def test_k11_what_is_sent_after_the_failing_reply_was_seen_runs(client: ProtocolClient) -> None:
    """However soon: only what waited when the execution failed is aborted."""
    for _ in range(200):
        failing = client.execute("fail", silent=True)
        client.shell.expect(execute_reply("error", parent=failing))
        later = client.execute("hello")
        client.shell.expect(execute_reply("ok", parent=later))
        client.iopub.expect(busy(), stdout("first\n"), idle(), parent=failing)
        client.iopub.expect(*HELLO, parent=later)
