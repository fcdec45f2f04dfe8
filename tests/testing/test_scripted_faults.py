"""What a frontend sees of a scripted kernel's faults: each of them as the script says."""

from __future__ import annotations

import threading
from queue import Empty

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from kernelbridge.frontend.bridge import connect
from kernelbridge.frontend.errors import KernelStartError
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    Scriptable,
    ScriptedKernel,
    always,
    bad_signature,
    busy,
    call,
    capture,
    die,
    duplicate,
    execute_reply,
    execute_request,
    flood,
    gap,
    garbage,
    handle,
    hang,
    idle,
    message,
    on,
    replay,
    reply,
    request,
    send,
    stdout,
    truncated,
)
from kernelbridge.wire.frames import Limits
from tests.support.bridges import connected, played, types_of


def test_idle_before_the_reply_and_reply_before_the_idle() -> None:
    """F2."""
    script = [
        on(execute_request("a"), busy(), stdout("x"), idle(), reply()),
        on(execute_request("b"), reply(), busy(), stdout("x"), idle()),
    ]
    with connected(*script) as bridge:
        assert types_of(bridge, "a") == types_of(bridge, "b") == ["status", "stream", "status"]


def test_an_idle_that_comes_behind_the_next_request() -> None:
    """F2."""
    script = on(execute_request("a"), busy(), reply(), on(request("complete", code="b"), handle()), stdout("a"), idle())
    with connected(script) as bridge:
        first, second = bridge.execute("a"), bridge.complete("b")
        second.result(DEADLINE)
        assert [message.content.get("text") for message in first] == [None, "a", None]
        first.result(DEADLINE)


def test_any_earlier_request_may_be_the_parent() -> None:
    first = capture("first")
    script = [
        on(execute_request("a"), busy(), request=first),
        on(request("complete", code="b"), handle(stdout("a", parent=first))),
        on(
            request("complete", code="c"),
            send(execute_reply(execution_count=1, parent=first)),
            idle(parent=first),
            handle(),
        ),
    ]
    with connected(*script) as bridge:
        execution = bridge.execute("a")
        for code in ("b", "c"):
            bridge.complete(code).result(DEADLINE)
        execution.result(DEADLINE)
        assert [message.content.get("text") for message in execution] == [None, "a", None]
        assert execution.result(0).content["execution_count"] == 1
    assert first.value.content["code"] == "a"


def test_a_parent_may_be_a_request_its_header_or_its_id() -> None:
    with played() as (kernel, bridge):
        execution = bridge.execute("a")
        asked = kernel.take(execute_request("a"))
        kernel.play(busy(parent=asked.msg_id), reply("execute", parent=asked), idle(parent=asked.header))
        execution.result(DEADLINE)
        assert [message.parent for message in execution] == [asked.header] * 2


BAD: dict[str, tuple[list[Scriptable], dict[str, int]]] = {
    "a duplicate": ([duplicate(stdout("good"))], {"iopub: replayed message": 1}),
    "the last message again": ([stdout("good"), replay()], {"iopub: replayed message": 1}),
    "an earlier message again": ([stdout("good"), busy(), replay(2)], {"iopub: replayed message": 1}),
    "a wrong signature": ([stdout("good"), bad_signature(stdout("bad"))], {"iopub: wrong signature": 1}),
    "a truncated message": ([truncated(stdout("bad")), stdout("good")], {"iopub: malformed message": 1}),
    "garbage": ([garbage(), stdout("good"), garbage(b"\xff", b"")], {"iopub: malformed message": 2}),
    "an unknown type": ([stdout("good"), message("of_my_own", a=1)], {"iopub: unknown type": 1}),
    "a wrong parent": ([stdout("good"), stdout("bad", parent="nobody")], {"iopub: unknown parent": 1}),
    "no parent": ([stdout("good"), stdout("bad", parent=None)], {}),
    "over the limit": ([stdout("good"), stdout("x" * 3000)], {"iopub: malformed message": 1}),
    "garbage on Shell": ([stdout("good"), garbage(channel="shell")], {"shell: malformed message": 1}),
    "a reply with a wrong signature": ([stdout("good"), bad_signature(reply())], {"shell: wrong signature": 1}),
    "a reply of another type": ([stdout("good"), reply("complete")], {"shell: unexpected type": 1}),
    "an output on Shell": ([stdout("good"), send(stdout("bad"), channel="shell")], {"shell: unexpected type": 1}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_frontend_must_not_take(name: str) -> None:
    """F10."""
    steps, counted = BAD[name]
    # What was sent first on both channels has been read when the second request is done.
    script = on(execute_request("a"), *steps, execute_reply(), on(request("complete", code="b"), handle()), idle())
    with (
        ScriptedKernel(script) as kernel,
        connect(kernel.connection, timeout=DEADLINE, limits=Limits(message_bytes=2000)) as bridge,
    ):
        execution, following = bridge.execute("a"), bridge.complete("b")
        following.result(DEADLINE)
        execution.result(DEADLINE)
        assert [message.content["text"] for message in execution if message.msg_type == "stream"] == ["good"]
        assert bridge.counters == counted


def test_numbers_and_a_gap_in_them() -> None:
    """K9."""
    with connected(on(execute_request("a"), handle(stdout("x"), gap(3), stdout("y"))), numbered=True) as bridge:
        execution = bridge.execute("a")
        first, *rest = [message.seq for message in execution]
        assert isinstance(first, int)
        assert [number - first for number in rest if number] == [1, 5, 6]


def test_a_flood() -> None:
    with connected(on(execute_request("a"), handle(flood(5000, stdout("x"))))) as bridge:
        execution = bridge.execute("a")
        assert len({message.msg_id for message in execution}) == 5002


def test_a_request_that_is_never_answered() -> None:
    with connected(on(request("complete", code="a")), on(execute_request("b"), handle())) as bridge:
        # Not an execution: it would hold up the next one.
        unanswered = bridge.complete("a")
        assert types_of(bridge, "b") == ["status", "status"]
        assert not unanswered.done


def test_a_kernel_that_is_never_ready() -> None:
    with ScriptedKernel(always(request("kernel_info"))) as kernel:
        bridge = connect(kernel.connection, timeout=0.05)
        with pytest.raises(KernelStartError, match="has not answered"):
            bridge.wait_ready(DEADLINE)
        bridge.close()


def test_a_kernel_that_hangs_answers_no_heartbeat_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedKernel(on(execute_request("a"), hang())) as kernel:
        client = BlockingKernelClient(connection_file=str(kernel.connection_file))
        client.load_connection_file()
        client.hb_channel.time_to_dead = 0.05
        missed = threading.Event()

        def no_beat(since_last_heartbeat: float) -> None:
            missed.set()

        monkeypatch.setattr(client.hb_channel, "call_handlers", no_beat)
        client.start_channels()
        client.wait_for_ready(timeout=DEADLINE)
        client.execute("a")
        assert missed.wait(DEADLINE)
        with pytest.raises(Empty):
            client.get_shell_msg(timeout=0)
        client.stop_channels()
        client.context.term()


def test_a_kernel_that_is_told_to_end_before_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()

    def wait_for_the_end() -> None:
        assert told.wait(DEADLINE)

    kernel = ScriptedKernel(on(execute_request("a"), call(wait_for_the_end)), on(request("complete"), hang()))
    wake = kernel._thread.wake

    def wake_and_tell() -> None:
        wake()
        told.set()

    monkeypatch.setattr(kernel._thread, "wake", wake_and_tell)
    with kernel, connect(kernel.connection, timeout=DEADLINE) as bridge:
        bridge.execute("a")
        bridge.complete("b")


def test_a_kernel_that_dies() -> None:
    script = on(execute_request("a"), busy(), flood(1000, stdout("x")), die())
    with ScriptedKernel(script) as kernel, ProtocolClient(kernel.connection) as client:
        client.execute("a")
        client.expect_end()
        # All that it sent before is there.
        client.iopub.expect(busy(), stdout("x" * 1000))
