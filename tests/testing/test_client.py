"""What a protocol client reads and sends, and what it can be given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    ANY,
    ProtocolClient,
    ProtocolFailure,
    busy,
    capture,
    clear_output,
    comm_close,
    comm_msg,
    comm_open,
    display,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    iopub_welcome,
    message,
    regex,
    reply,
    result,
    stderr,
    stdout,
    update_display,
)
from kernelbridge.testing.patterns import difference
from kernelbridge.wire.connection import write_connection_file
from tests.support.kernels import ROOT, Cells, serving, tcp


def mix(kernel: Kernel) -> None:
    kernel.write("stdout", "one ")
    kernel.flush()
    kernel.write("stdout", "two\n")
    comm = kernel.comms.open("target", {"n": 1})
    comm.send({"n": 2}, buffers=[b"raw"])
    kernel.write("stderr", "three\n")
    kernel.publish("display_data", {"data": {"text/plain": "x"}, "metadata": {}, "transient": {"display_id": "d1"}})
    kernel.publish("update_display_data", {"data": {}, "metadata": {}, "transient": {"display_id": "d1"}})
    comm.close({"n": 3})
    kernel.publish("clear_output", {"wait": False})
    kernel.publish("custom", {"a": {"b": [1, 2]}, "c": True}, {"tag": "blue"})
    kernel.result({"text/plain": "seven", "text/html": "<b>seven</b>"}, 1)


def fail(kernel: Kernel) -> None:
    raise ValueError("badly")


def ask(kernel: Kernel) -> None:
    kernel.write("stdout", kernel.input("name?", password=True))


def cells(**more: Any) -> Cells:
    return Cells(mix=mix, fail=fail, ask=ask, **more)


def test_each_kind_of_message_has_its_matcher() -> None:
    comm, shown = capture("comm"), capture("display")
    with ProtocolClient(cells()) as client:
        request = client.execute("mix")
        found = client.iopub.expect(
            busy(),
            execute_input("mix", execution_count=1),
            stdout("one two\n"),
            comm_open("target", {"n": 1}, comm_id=comm),
            comm_msg({"n": 2}, comm_id=comm, buffers=[b"raw"]),
            stderr("three\n"),
            display("x", display_id=shown),
            update_display(display_id=shown),
            comm_close({"n": 3}, comm_id=comm),
            clear_output(wait=False),
            message("custom", a={"b": [1, ANY]}, c=True, metadata={"tag": regex("^b")}),
            result({"text/html": regex("seven")}, execution_count=1),
            idle(),
            parent=request,
        )
        client.shell.expect(execute_reply(execution_count=ANY, parent=request))
        assert shown.value == "d1"
        assert comm.value == found[3].content["comm_id"]
        # However the stream was cut, it is one message.
        assert found[2].content == {"name": "stdout", "text": "one two\n"}

        failing = client.execute("fail")
        client.iopub.expect(busy(), execute_input(), error("ValueError", "badly", ANY), idle(), parent=failing)
        client.shell.expect(execute_reply("error", ename="ValueError"))


def test_a_text_may_be_expected_in_pieces_or_by_a_placeholder() -> None:
    def write(kernel: Kernel) -> None:
        kernel.write("stdout", "one ")
        kernel.flush()
        kernel.write("stdout", "two\n")

    text = capture("text")
    with ProtocolClient(cells(write=write)) as client:
        for expected in ([stdout("o"), stdout("ne two"), stdout("\n")], [stdout(regex(r"two\n$"))], [stdout(text)]):
            client.execute("write")
            client.iopub.expect(busy(), execute_input(), *expected, idle())
            client.shell.expect(execute_reply())
    assert text.value == "one two\n"


def test_questions_are_answered() -> None:
    with ProtocolClient(cells()) as client:
        request = client.execute("ask")
        client.stdin.expect(input_request("name?", password=True, parent=request))
        client.answer("Ada")
        client.iopub.expect(busy(), execute_input(), stdout("Ada"), idle(), parent=request)
        client.shell.expect(execute_reply())


def test_an_answer_needs_a_question() -> None:
    with ProtocolClient(cells()) as client, pytest.raises(ValueError, match="no input_request has been read"):
        client.answer("Ada")


def test_requests_go_to_the_channel_that_the_specification_says() -> None:
    with ProtocolClient(cells()) as client:
        client.send("interrupt_request")
        client.iopub.expect(busy(), idle())
        client.control.expect(reply("interrupt"))
        client.send("kernel_info_request", channel="control")
        client.iopub.expect(busy(), idle())
        client.control.expect(reply("kernel_info_reply", status="ok"))


def test_the_beginning_and_the_end_of_a_kernel_can_be_expected() -> None:
    """Contract K5: `starting` is sent once."""
    with ProtocolClient(cells(), settle=False) as client:
        # Which of the two is first is up to the kernel.
        first, second = client.iopub.expect(message(ANY), message(ANY), parent=None)
        assert {first.msg_type, second.msg_type} == {"status", "iopub_welcome"}
        request = client.send("shutdown_request", restart=False)
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
        client.control.expect(reply("shutdown"))
        client.expect_end()


def test_a_shutdown_that_is_refused_ends_nothing() -> None:
    with ProtocolClient(cells()) as client:
        client.send("shutdown_request", restart="no")
        client.iopub.expect(busy(), idle())
        client.control.expect(reply("shutdown", status="error"))


def test_a_parent_may_be_captured() -> None:
    parent = capture("parent")
    with ProtocolClient(cells()) as client:
        request = client.send("kernel_info_request")
        client.iopub.expect(busy(), idle(), parent=parent)
        client.shell.expect(reply("kernel_info", parent=ANY))
    assert parent.value == request.msg_id


def test_requests_that_are_handled_at_the_same_time_are_read_each_by_itself() -> None:
    with ProtocolClient(cells()) as client:
        asking = client.execute("ask")
        client.stdin.expect(input_request())
        # The cell goes on while Control answers.
        client.answer("Ada")
        info = client.send("kernel_info_request", channel="control")
        client.control.expect(reply("kernel_info"))
        client.iopub.of(info).expect(busy(), idle())
        client.iopub.of(asking).expect(busy(), execute_input(), stdout("A"), stdout("da"), idle())
        client.shell.of(asking).expect(execute_reply())


def test_another_subscription_is_welcomed() -> None:
    """JEP 65."""
    with ProtocolClient(cells()) as client:
        client.subscribe("stream")
        client.iopub.expect(iopub_welcome("stream", parent=None))


def test_several_clients_see_what_the_requests_of_all_cause() -> None:
    with serving(cells(hello=hello)) as kernel, ProtocolClient(kernel) as one:
        with ProtocolClient(kernel) as two:
            # JEP 65: all who see everything see the welcome of one more.
            one.iopub.expect(iopub_welcome(parent=None))
            request = two.execute("hello")
            two.shell.expect(execute_reply(parent=request))
            for client in (one, two):
                client.iopub.expect(busy(), execute_input("hello"), stdout("hello"), idle(), parent=request)
        say_hello(one, "hello")


def test_a_client_may_subscribe_to_some_topics() -> None:
    with serving(cells()) as kernel, ProtocolClient(kernel, topics=["comm_open", "error"]) as client:
        client.execute("mix")
        client.execute("fail")
        client.iopub.expect(comm_open("target"), error("ValueError"))
        client.shell.expect(execute_reply(), execute_reply("error"))


def test_a_client_may_have_a_name_of_its_own() -> None:
    names: list[list[bytes]] = []

    def who(kernel: Kernel) -> None:
        assert kernel.request is not None
        names.append(kernel.request.identities)

    with ProtocolClient(cells(who=who), identity=b"\x01me") as client:
        client.execute("who", silent=True)
        client.iopub.expect(busy(), idle())
        client.shell.expect(execute_reply())
    assert names == [[b"\x01me"]]


def test_a_wrong_use_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="empty text"):
        stdout("")
    with pytest.raises(TypeError, match="a string or a placeholder"):
        stdout(["a"])
    with pytest.raises(LookupError, match="nothing has been captured as 'x'"):
        _ = capture("x").value
    with (
        Kernel(cells(), tcp()) as kernel,
        pytest.raises(ValueError, match="does not serve yet"),
        ProtocolClient(kernel),
    ):
        pass
    with ProtocolClient(cells()) as client:
        for given in ([busy(), idle()], busy, "busy"):
            with pytest.raises(TypeError, match=r"a matcher is expected, such as busy\(\)"):
                client.iopub.expect(given)  # type: ignore[arg-type]
        for channel in ("Shell", "iopub"):
            with pytest.raises(ValueError, match=f"on control, shell, stdin, not on '{channel}'"):
                client.send("kernel_info_request", channel=channel)  # type: ignore[arg-type]


@pytest.mark.parametrize("entered", [False, True], ids=["before", "after"])
def test_a_client_is_used_within_its_block(entered: bool) -> None:
    client = ProtocolClient(cells())
    if entered:
        with client:
            pass
    with pytest.raises(RuntimeError, match="for the time of its with block"):
        client.execute("hello")
    with pytest.raises(RuntimeError, match="for the time of its with block"):
        client.iopub.expect(busy())


def test_a_capture_is_kept_only_of_a_message_that_matches() -> None:
    state = capture("state")
    with ProtocolClient(cells()) as client:
        client.send("interrupt_request")
        client.control.expect(reply("interrupt"))
        with pytest.raises(ProtocolFailure):
            client.iopub.expect(message("status", execution_state=state, other=1))
        assert not state.known
        client.iopub.expect(message("status", execution_state=state))
        assert state.value == "busy"
        client.iopub.expect(idle())


@pytest.mark.parametrize(
    ("pattern", "value", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ""),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "x.a.b is 2, not 1"),
        ({"a": 1}, [], "x is a list of 0, not an object"),
        ([1, ANY], [1, 2], ""),
        ([1], [1, 2], "x has 2 items, not 1"),
        ([1], 1, "x is 1, not a list"),
        (1, True, "x is True, not 1"),
        (regex("a+"), "baa", ""),
        (regex("a+"), "b", "x is 'b', which does not match /a+/"),
        (regex("a+"), 1, "x is 1, which does not match /a+/"),
    ],
)
def test_what_a_value_may_be(pattern: Any, value: Any, found: str) -> None:
    assert difference(pattern, value, {}, "x") == found


def test_one_capture_twice_in_a_message_is_one_value() -> None:
    twice = capture("twice")
    assert difference([twice, twice], [1, 1], {}, "x") == ""
    assert difference([twice, twice], [1, 2], {}, "x") == "x[1] is 2, not 1"


# What a client can be given


def hello(kernel: Kernel) -> None:
    kernel.write("stdout", "hello")


def say_hello(client: ProtocolClient, code: str) -> None:
    request = client.execute(code)
    client.iopub.expect(busy(), execute_input(code), stdout(regex("hello")), idle(), parent=request)
    client.shell.expect(execute_reply())


def test_a_kernel_that_serves_and_what_its_connection_file_says(tmp_path: Path) -> None:
    with serving(cells(hello=hello)) as kernel:
        write_connection_file(tmp_path / "kernel.json", kernel.connection)
        for target in (kernel, kernel.connection, tmp_path / "kernel.json", str(tmp_path / "kernel.json")):
            with ProtocolClient(target) as client:
                say_hello(client, "hello")


def test_a_launched_kernel_and_its_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with pytest.raises(ProtocolFailure, match="the kernel has gone"), ProtocolClient("kernelbridge") as client:
        say_hello(client, "print('hello')")
        client.execute("import os; os._exit(3)")
        client.iopub.expect(busy(), execute_input())
        client.shell.expect(execute_reply())


def test_the_example_for_authors_of_kernels_passes() -> None:
    # The plugin of this copy, whatever is installed.
    plugin = ("-p", "no:kernelbridge", "-p", "kernelbridge.testing.plugin", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "examples/test_my_kernel.py"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
