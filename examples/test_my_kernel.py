"""Protocol tests of a kernel: copy this page, put your kernel in place of Echo, and programs in place of its words.

    pytest examples/test_my_kernel.py
    pytest examples/test_my_kernel.py --kernel echo --kernel another   # by the names under which they are installed

pytest finds the fixture protocol_client by itself where kernelbridge is installed: a strict client of what the fixture
`kernel` returns, which is the kernel's handler, as here, its installed name, or its connection file. Everything that
the kernel sends has to be expected, in its order: what comes besides, or instead, fails the test with a report of what
was expected and of all that travelled.

A kernel in another language is given by its name, and then started for each test. One that starts slowly may be started
once for all tests of a page, which then share its state:

    @pytest.fixture(scope="module")
    def kernel() -> Iterator[ConnectionInfo]:
        with launch("my-kernel") as bridge:  # from kernelbridge import launch
            yield bridge.connection
"""

from __future__ import annotations

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
def kernel() -> Echo:
    return Echo()


def test_what_a_program_writes_comes_before_its_result(protocol_client: ProtocolClient) -> None:
    request = protocol_client.execute("hello")
    protocol_client.iopub.expect(
        busy(), execute_input("hello"), stdout("hello\n"), result("hello", execution_count=1), idle(), parent=request
    )
    protocol_client.shell.expect(execute_reply("ok", execution_count=1, parent=request))


def test_executions_are_counted(protocol_client: ProtocolClient) -> None:
    count = capture("count")
    protocol_client.execute("one")
    protocol_client.iopub.expect(
        busy(), execute_input(execution_count=count), stdout("one\n"), result(execution_count=count), idle()
    )
    protocol_client.execute("two")
    protocol_client.iopub.expect(
        busy(), execute_input(execution_count=count.value + 1), stdout("two\n"), result("two"), idle()
    )
    protocol_client.shell.expect(execute_reply(execution_count=count), execute_reply(execution_count=count.value + 1))


def test_a_silent_execution_shows_no_input_and_no_result(protocol_client: ProtocolClient) -> None:
    request = protocol_client.execute("hush", silent=True)
    protocol_client.iopub.expect(busy(), stdout("hush\n"), idle(), parent=request)
    protocol_client.shell.expect(execute_reply())


def test_a_display_has_each_of_its_forms(protocol_client: ProtocolClient) -> None:
    protocol_client.execute("html <b>x</b>")
    shown = display({"text/html": "<b>x</b>", "text/plain": "<b>x</b>"})
    protocol_client.iopub.expect(busy(), execute_input(), shown, result(), idle())
    protocol_client.shell.expect(execute_reply())


def test_an_error_is_shown_and_replied(protocol_client: ProtocolClient) -> None:
    request = protocol_client.execute("fail badly")
    protocol_client.iopub.expect(busy(), execute_input(), error("ValueError", "badly"), idle(), parent=request)
    protocol_client.shell.expect(execute_reply("error", ename="ValueError", evalue="badly"))


def test_what_waits_behind_an_error_is_aborted(protocol_client: ProtocolClient) -> None:
    # The first asks, so that the others are waiting for sure when it fails.
    first = protocol_client.execute("ask and wait")
    failing, waiting = protocol_client.execute("fail"), protocol_client.execute("never")
    protocol_client.stdin.expect(input_request("and wait", password=False, parent=first))
    protocol_client.answer("go on")
    protocol_client.iopub.expect(busy(), execute_input(), stdout("You said: go on\n"), result(), idle(), parent=first)
    protocol_client.iopub.expect(busy(), execute_input("fail"), error(), idle(), parent=failing)
    protocol_client.iopub.expect(busy(), idle(), parent=waiting)
    protocol_client.shell.expect(execute_reply("ok"), execute_reply("error"), execute_reply("aborted", parent=waiting))


def test_completions(protocol_client: ProtocolClient) -> None:
    request = protocol_client.send("complete_request", code="as", cursor_pos=2)
    protocol_client.iopub.expect(busy(), idle(), parent=request)
    protocol_client.shell.expect(reply("complete", status="ok", matches=["ask"], cursor_start=0, cursor_end=2))


def test_the_kernel_says_what_it_is(protocol_client: ProtocolClient) -> None:
    protocol_client.send("kernel_info_request")
    protocol_client.iopub.expect(busy(), idle())
    protocol_client.shell.expect(reply("kernel_info", implementation="echo", language_info={"file_extension": ".txt"}))


def test_a_shutdown_is_replied_before_the_end(protocol_client: ProtocolClient) -> None:
    request = protocol_client.send("shutdown_request", restart=False)
    protocol_client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
    protocol_client.control.expect(reply("shutdown", restart=False))
