"""Requests: what is executed and answered, aborts (K11), input (K7), interrupts."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.kernel.stdin import StdinError
from kernelbridge.wire.contents import CompleteReply, CompleteRequest, ErrorReply, ExecuteReply
from tests.support.client import DEADLINE, Client, lines
from tests.support.kernels import Cells, serving

Served = tuple[Kernel, Client]


def hello(kernel: Kernel) -> None:
    kernel.write("stdout", "hello\n")


def fail(kernel: Kernel) -> None:
    kernel.write("stdout", "first\n")
    raise ValueError("as you wished")


def refuse(kernel: Kernel) -> ErrorReply:
    return ErrorReply(ename="Refused", evalue="shown by myself", traceback=[])


@pytest.fixture
def served() -> Iterator[Served]:
    with (
        serving(Cells(hello=hello, fail=fail, refuse=refuse)) as kernel,
        Client(kernel.connection) as client,
    ):
        yield kernel, client


HELLO = ["busy", "execute_input hello", "stdout 'hello\\n'", "idle"]


# --- execution ------------------------------------------------------------------------------------------------------


def test_executions_are_counted_and_silent_ones_are_not(served: Served) -> None:
    _, client = served
    assert client.run("hello")[0].content["execution_count"] == 1
    assert client.run("hello")[0].content["execution_count"] == 2
    reply, messages = client.run("hello", silent=True)
    assert lines(messages) == ["busy", "stdout 'hello\\n'", "idle"]
    assert reply.content["execution_count"] == 2
    assert client.run("hello", store_history=False)[0].content["execution_count"] == 2
    assert client.run("hello")[0].content["execution_count"] == 3


def test_an_exception_is_the_cells_error_and_the_reply(served: Served) -> None:
    _, client = served
    reply, messages = client.run("fail")
    assert lines(messages) == ["busy", "execute_input fail", "stdout 'first\\n'", "error ValueError", "idle"]
    assert reply.content["status"] == "error"
    assert (reply.content["ename"], reply.content["evalue"]) == ("ValueError", "as you wished")
    assert "as you wished" in "".join(reply.content["traceback"])
    assert reply.content["traceback"] == messages[3].content["traceback"]


def test_an_exception_that_cannot_say_what_it_is_is_an_error_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def odd(kernel: Kernel) -> None:
        raise Odd

    with serving(Cells(odd=odd, hello=hello)) as kernel, Client(kernel.connection) as client:
        assert client.run("odd")[0].content["ename"] == "Odd"
        assert lines(client.run("hello")[1]) == HELLO


def test_an_error_that_the_handler_has_shown_is_not_shown_again(served: Served) -> None:
    _, client = served
    reply, messages = client.run("refuse")
    assert reply.content["ename"] == "Refused"
    assert lines(messages) == ["busy", "execute_input refuse", "idle"]


def test_a_silent_failure_shows_nothing(served: Served) -> None:
    _, client = served
    reply, messages = client.run("fail", silent=True)
    assert lines(messages) == ["busy", "stdout 'first\\n'", "idle"]
    assert reply.content["status"] == "error"


def test_methods_may_be_coroutines_or_plain_and_may_fail() -> None:
    class Both(Cells):
        async def complete(self, request: CompleteRequest) -> CompleteReply:
            if request.code == "fail":
                raise ValueError("no completion")
            return CompleteReply(matches=["later"], cursor_start=0, cursor_end=request.cursor)

    async def later(kernel: Kernel) -> ExecuteReply:
        return ExecuteReply(execution_count=kernel.execution_count, user_expressions={"a": 1})

    with serving(Both(later=later)) as kernel, Client(kernel.connection) as client:
        assert client.run("later")[0].content["user_expressions"] == {"a": 1}
        assert client.ask("complete_request", {"code": "x", "cursor_pos": 1})[0].content["matches"] == ["later"]
        reply, messages = client.ask("complete_request", {"code": "fail", "cursor_pos": 1})
        assert (reply.content["status"], reply.content["ename"]) == ("error", "ValueError")
        assert lines(messages) == ["busy", "idle"]


def test_what_a_handler_leaves_out_is_answered_with_nothing(served: Served) -> None:
    _, client = served
    assert client.ask("complete_request", {"code": "ab", "cursor_pos": 1})[0].content["matches"] == []
    assert client.ask("inspect_request", {"code": "ab", "cursor_pos": 1})[0].content["found"] is False
    assert client.ask("is_complete_request", {"code": "ab"})[0].content["status"] == "unknown"
    assert client.ask("history_request", {"hist_access_type": "tail", "n": 1})[0].content["history"] == []


def test_a_reply_says_when_its_request_began(served: Served) -> None:
    _, client = served
    assert client.run("hello")[0].metadata["started"]


# --- K11 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_on_error", [True, False])
def test_k11_after_an_error_what_waits_is_aborted(stop_on_error: bool) -> None:
    """Each with a reply and brackets of its own; none runs. Without stop_on_error all run."""
    go = threading.Event()

    def wait_and_fail(kernel: Kernel) -> None:
        assert go.wait(DEADLINE)
        raise ValueError("stop")

    handler = Cells(wait=wait_and_fail, hello=hello)
    with serving(handler) as kernel, Client(kernel.connection) as client:
        first = client.execute("wait", stop_on_error=stop_on_error)
        waiting = [client.execute("hello") for _ in range(50)]
        info = client.send("kernel_info_request")
        # They have been sent on this connection when the answer on Control is there; the kernel reads them by itself.
        go.set()
        assert client.reply(first).content["status"] == "error"
        client.until_idle(first)
        for request in waiting:
            reply, messages = client.reply(request), client.until_idle(request)
            assert reply.msg_type == "execute_reply"
            if stop_on_error and reply.content["status"] == "aborted":
                assert lines(messages) == ["busy", "idle"]
            else:
                assert reply.content["status"] == "ok"
                assert lines(messages) == HELLO
        assert client.reply(info).content["status"] == "ok"
        client.until_idle(info)
        later, messages = client.run("hello")
        assert later.content["status"] == "ok"
        if not stop_on_error:
            assert len(handler.requests) == 52


def test_k11_all_that_had_arrived_is_aborted() -> None:
    """What waits is what Shell has read when the failure comes: those before a request that the running cell saw."""
    arrived = threading.Event()

    def wait_and_fail(kernel: Kernel) -> None:
        assert arrived.wait(DEADLINE)
        raise ValueError("stop")

    class Watching(Cells):
        """Knows when the last of the requests has been checked, on the Shell thread."""

    handler = Watching(wait=wait_and_fail, hello=hello)
    with serving(handler) as kernel, Client(kernel.connection) as client:
        first = client.execute("wait")
        waiting = [client.execute("hello") for _ in range(20)]
        # An ipc or tcp connection keeps order, and Shell logs what it cannot read: the last thing that it reads here.
        seen = threading.Event()

        class Watch(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.set()

        watch = Watch()
        logging.getLogger("kernelbridge").addHandler(watch)
        try:
            client.send_frames([b"no message"])
            assert seen.wait(DEADLINE)
        finally:
            logging.getLogger("kernelbridge").removeHandler(watch)
        arrived.set()
        assert client.reply(first).content["status"] == "error"
        client.until_idle(first)
        for request in waiting:
            assert client.reply(request).content["status"] == "aborted"
            assert lines(client.until_idle(request)) == ["busy", "idle"]
        assert len(handler.requests) == 1
        assert lines(client.run("hello")[1]) == HELLO


def test_k11_what_is_sent_after_the_failing_reply_was_seen_runs() -> None:
    """However soon: only what waited when the execution failed is aborted."""
    with serving(Cells(fail=fail, hello=hello)) as kernel, Client(kernel.connection) as client:
        for _ in range(200):
            failing = client.execute("fail")
            assert client.reply(failing).content["status"] == "error"
            later = client.execute("hello")
            assert client.reply(later).content["status"] == "ok"
        client.until_idle(later)


# --- K7 -------------------------------------------------------------------------------------------------------------


def ask(kernel: Kernel) -> None:
    kernel.write("stdout", "before")
    kernel.write("stdout", f"<{kernel.input('name? ', password=True)}>")


def test_k7_a_prompt_comes_when_all_before_it_is_on_the_iopub_socket() -> None:
    with serving(Cells(ask=ask)) as kernel, Client(kernel.connection) as client:
        for answer in ("one", "two\u20ac", ""):
            request = client.execute("ask")
            prompt = client.reply(request, "stdin")
            assert prompt.msg_type == "input_request"
            assert prompt.content == {"prompt": "name? ", "password": True}
            shown = [client.receive("iopub") for _ in range(3)]
            assert lines(shown) == ["busy", "execute_input ask", "stdout 'before'"]
            client.send("input_reply", {"value": answer, "status": "ok"}, channel="stdin")
            assert lines(client.until_idle(request)) == [f"stdout {f'<{answer}>'!r}", "idle"]
            assert client.reply(request).content["status"] == "ok"


def catching(kernel: Kernel) -> None:
    try:
        kernel.input("? ")
    except StdinError as refusal:
        kernel.write("stdout", str(refusal))


@pytest.mark.parametrize("options", [{"allow_stdin": False}, {"allow_stdin": None}])
def test_k7_a_frontend_that_takes_no_prompt_is_not_asked(options: dict[str, Any]) -> None:
    with serving(Cells(catching=catching)) as kernel, Client(kernel.connection) as client:
        content = {"code": "catching"} | {name: value for name, value in options.items() if value is not None}
        request = client.send("execute_request", content)
        assert "allow_stdin is false" in lines(client.until_idle(request))[2]
        client.reply(request)
        assert client.nothing_more("stdin")


def test_k7_a_frontend_that_is_not_connected_to_stdin_is_an_error_and_no_wait() -> None:
    with (
        serving(Cells(catching=catching)) as kernel,
        Client(kernel.connection, channels=("shell", "control", "iopub")) as client,
    ):
        assert "not connected to stdin" in lines(client.run("catching")[1])[2]


def test_k7_answers_go_to_whoever_was_asked() -> None:
    """Of two frontends the one whose request runs is asked, and only its answer counts."""
    with (
        serving(Cells(ask=ask)) as kernel,
        Client(kernel.connection, identity=b"one") as one,
        Client(kernel.connection, identity=b"two") as two,
    ):
        request = one.execute("ask")
        one.reply(request, "stdin")
        two.send("input_reply", {"value": "not mine", "status": "ok"}, channel="stdin")
        one.send("input_reply", {"status": "ok"}, channel="stdin")
        one.send("input_reply", {"value": "mine", "status": "ok"}, channel="stdin")
        assert lines(one.until_idle(request))[-2:] == ["stdout '<mine>'", "idle"]
        assert two.nothing_more("stdin")


def test_k7_an_interrupt_ends_a_wait_for_input_on_any_thread() -> None:
    """Here the kernel is served on a thread that gets no signals."""
    with serving(Cells(ask=ask)) as kernel, Client(kernel.connection) as client:
        request = client.execute("ask")
        client.reply(request, "stdin")
        client.reply(client.send("interrupt_request", channel="control"), "control")
        assert client.reply(request).content["ename"] == "KeyboardInterrupt"
        client.send("input_reply", {"value": "late"}, channel="stdin")
        assert client.nothing_more("stdin")


def test_an_interrupt_of_a_coroutine_on_any_thread() -> None:
    async def wait(kernel: Kernel) -> None:
        kernel.write("stdout", "begun")
        kernel.flush()
        await asyncio.Event().wait()

    with serving(Cells(wait=wait, hello=hello)) as kernel, Client(kernel.connection) as client:
        request = client.execute("wait")
        assert lines(client.receive("iopub") for _ in range(3))[-1] == "stdout 'begun'"
        client.reply(client.send("interrupt_request", channel="control"), "control")
        assert client.reply(request).content["ename"] == "KeyboardInterrupt"
        client.until_idle(request)
        assert client.run("hello")[0].content["status"] == "ok"


def test_k7_stop_ends_a_wait_for_input() -> None:
    """The kernel's end does not wait for an answer: whoever asked is told."""
    problems: list[str] = []

    def cell(kernel: Kernel) -> None:
        try:
            kernel.input("? ")
        except StdinError as refusal:
            problems.append(str(refusal))

    with serving(Cells(cell=cell)) as kernel, Client(kernel.connection) as client:
        client.reply(client.execute("cell"), "stdin")
    assert problems == ["the kernel has ended"]


def test_input_outside_of_any_request_asks_nobody() -> None:
    with serving(Cells()) as kernel, pytest.raises(StdinError, match="nobody to ask"):
        kernel.input("? ")
