"""Protocol tests of a kernel: copy this page, put your kernel in place of Echo, and programs in place of its words.

    pytest examples/test_my_kernel.py

A client can be given the kernel's handler, as here, the name under which it is installed, or its connection file.
Everything that the kernel sends has to be expected, in its order: what comes besides, or instead, fails the test with a
report of what was expected and of all that travelled.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from echo_kernel import Echo

from kernelbridge.testing import (
    ProtocolClient,
    busy,
    capture,
    display,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    message,
    reply,
    result,
    stdout,
)


@pytest.fixture
def client() -> Iterator[ProtocolClient]:
    with ProtocolClient(Echo()) as client:
        yield client


def test_what_a_program_writes_comes_before_its_result(client: ProtocolClient) -> None:
    request = client.execute("hello")
    client.iopub.expect(
        busy(), execute_input("hello"), stdout("hello\n"), result("hello", execution_count=1), idle(), parent=request
    )
    client.shell.expect(execute_reply("ok", execution_count=1, parent=request))


def test_executions_are_counted(client: ProtocolClient) -> None:
    count = capture("count")
    client.execute("one")
    client.iopub.expect(
        busy(), execute_input(execution_count=count), stdout("one\n"), result(execution_count=count), idle()
    )
    client.execute("two")
    client.iopub.expect(busy(), execute_input(execution_count=count.value + 1), stdout("two\n"), result("two"), idle())
    client.shell.expect(execute_reply(execution_count=count), execute_reply(execution_count=count.value + 1))


def test_a_silent_execution_shows_no_input_and_no_result(client: ProtocolClient) -> None:
    request = client.execute("hush", silent=True)
    client.iopub.expect(busy(), stdout("hush\n"), idle(), parent=request)
    client.shell.expect(execute_reply())


def test_a_display_has_each_of_its_forms(client: ProtocolClient) -> None:
    client.execute("html <b>x</b>")
    shown = display({"text/html": "<b>x</b>", "text/plain": "<b>x</b>"})
    client.iopub.expect(busy(), execute_input(), shown, result(), idle())
    client.shell.expect(execute_reply())


def test_an_error_is_shown_and_replied(client: ProtocolClient) -> None:
    request = client.execute("fail badly")
    client.iopub.expect(busy(), execute_input(), error("ValueError", "badly"), idle(), parent=request)
    client.shell.expect(execute_reply("error", ename="ValueError", evalue="badly"))


def test_what_waits_behind_an_error_is_aborted(client: ProtocolClient) -> None:
    # The first asks, so that the others are waiting for sure when it fails.
    first = client.execute("ask and wait")
    failing, waiting = client.execute("fail"), client.execute("never")
    client.stdin.expect(input_request("and wait", password=False, parent=first))
    client.answer("go on")
    client.iopub.expect(busy(), execute_input(), stdout("You said: go on\n"), result(), idle(), parent=first)
    client.iopub.expect(busy(), execute_input("fail"), error(), idle(), parent=failing)
    client.iopub.expect(busy(), idle(), parent=waiting)
    client.shell.expect(execute_reply("ok"), execute_reply("error"), execute_reply("aborted", parent=waiting))


def test_completions(client: ProtocolClient) -> None:
    request = client.send("complete_request", code="as", cursor_pos=2)
    client.iopub.expect(busy(), idle(), parent=request)
    client.shell.expect(reply("complete", status="ok", matches=["ask"], cursor_start=0, cursor_end=2))


def test_the_kernel_says_what_it_is(client: ProtocolClient) -> None:
    client.send("kernel_info_request")
    client.iopub.expect(busy(), idle())
    client.shell.expect(reply("kernel_info", implementation="echo", language_info={"file_extension": ".txt"}))


def test_a_shutdown_is_replied_before_the_end(client: ProtocolClient) -> None:
    request = client.send("shutdown_request", restart=False)
    client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
    client.control.expect(reply("shutdown", restart=False))
