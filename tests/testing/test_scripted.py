"""What a scripted kernel does to real frontends: each step, each fault, each way to have one."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path
from queue import Empty
from typing import Any, Literal

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.utils import run_sync

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.errors import KernelDiedError, KernelStartError
from kernelbridge.frontend.execution import Execution
from kernelbridge.testing import (
    DEADLINE,
    ManualKernel,
    ProtocolClient,
    Scriptable,
    ScriptedKernel,
    always,
    bad_signature,
    busy,
    call,
    capture,
    comm_msg,
    comm_open,
    cue,
    die,
    display,
    duplicate,
    error,
    execute_input,
    execute_reply,
    execute_request,
    flood,
    gap,
    garbage,
    handle,
    hang,
    idle,
    input_reply,
    input_request,
    iopub_welcome,
    message,
    on,
    replay,
    reply,
    request,
    result,
    scripted_kernelspec,
    send,
    stdout,
    truncated,
)
from kernelbridge.wire.connection import CHANNELS, ConnectionInfo
from kernelbridge.wire.frames import Limits
from tests.support.bridges import connected, played


async def _nothing() -> None: ...


# The event loop in which jupyter_client runs its blocking client stays, once it is there.
run_sync(_nothing)()


def types(execution: Execution) -> list[str]:
    return [message.msg_type for message in execution]


def run(bridge: Bridge, code: str) -> list[str]:
    """Return the types of what an execution published, when it has ended."""
    execution = bridge.execute(code)
    execution.result(DEADLINE)
    return types(execution)


# Frontends


@pytest.mark.parametrize("transport", ["ipc", "tcp", "inproc"])
def test_a_bridge(transport: Literal["ipc", "tcp", "inproc"]) -> None:
    script = [
        on(execute_request("a"), busy(), execute_input(), stdout("x"), reply(), idle()),
        on(execute_request("b"), handle(result("7"))),
    ]
    with (
        ScriptedKernel(*script, transport=transport) as kernel,
        connect(kernel.connection, context=kernel.context if transport == "inproc" else None) as bridge,
    ):
        first = bridge.execute("a")
        assert first.result(DEADLINE).content["execution_count"] == 1
        assert types(first) == ["status", "execute_input", "stream", "status"]
        assert run(bridge, "b") == ["status", "execute_result", "status"]


def test_a_client_that_blocks_its_thread(capsys: pytest.CaptureFixture[str]) -> None:
    script = on(
        execute_request("a", allow_stdin=True),
        busy(),
        stdout("What is "),
        input_request("your name? "),
        on(input_reply("Ada")),
        stdout("Ada\n"),
        reply(),
        idle(),
    )
    with ScriptedKernel(script, on(request("complete", code="prin"), handle(reply(matches=["print"])))) as kernel:
        client = BlockingKernelClient(connection_file=str(kernel.connection_file))
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=DEADLINE)
        ran = client.execute_interactive(
            "a", timeout=DEADLINE, allow_stdin=True, stdin_hook=lambda question: client.input("Ada")
        )
        assert ran["content"]["status"] == "ok"
        assert client.complete("prin", reply=True, timeout=DEADLINE)["content"]["matches"] == ["print"]
        client.stop_channels()
        client.context.term()
    assert capsys.readouterr().out == "What is Ada\n"


def test_a_client_in_an_event_loop() -> None:
    async def main(kernel: ScriptedKernel) -> list[str]:
        client = AsyncKernelClient(connection_file=str(kernel.connection_file))
        client.load_connection_file()
        client.start_channels()
        await client.wait_for_ready(timeout=DEADLINE)
        shown: list[str] = []
        await client.execute_interactive("a", timeout=DEADLINE, output_hook=lambda seen: shown.append(seen["msg_type"]))
        client.stop_channels()
        client.context.term()
        return shown

    with ScriptedKernel(on(execute_request("a"), handle(stdout("x"), display("y")))) as kernel:
        assert asyncio.run(main(kernel)) == ["status", "stream", "display_data", "status"]


def test_a_protocol_client() -> None:
    with (
        ScriptedKernel(on(execute_request("a"), handle(stdout("x"), error("E", "v")))) as kernel,
        ProtocolClient(kernel.connection) as client,
    ):
        asked = client.execute("a")
        client.iopub.expect(busy(), stdout("x"), error("E", "v", []), idle(), parent=asked)
        client.shell.expect(execute_reply("ok", execution_count=1, user_expressions={}))


def test_two_frontends_of_one_kernel() -> None:
    script = [on(execute_request("a"), handle()), on(execute_request("b"), handle())]
    with ScriptedKernel(*script) as kernel, connect(kernel.connection) as one, connect(kernel.connection) as other:
        assert run(one, "a") == ["status", "status"]
        assert run(other, "b") == ["status", "status"]


# What is awaited and sent


def test_what_a_step_leaves_open_is_filled_in() -> None:
    outputs = [execute_input(), display("x"), result("x"), error("E"), execute_reply("error")]
    others = ("complete", "inspect", "is_complete", "history", "comm_info")
    answers = [always(request(name), reply()) for name in others]
    with (
        ScriptedKernel(on(execute_request("a"), *outputs), *answers) as kernel,
        ProtocolClient(kernel.connection) as client,
    ):
        client.execute("a")
        client.iopub.expect(
            execute_input("a", execution_count=1),
            message("display_data", data={"text/plain": "x"}, metadata={}, transient={}),
            result("x", execution_count=1),
            error("E", "", []),
        )
        client.shell.expect(execute_reply("error", ename="Error", evalue="", traceback=[]))
        for name in others:
            client.send(f"{name}_request", {"code": "abc", "cursor_pos": 2})
        client.shell.expect(
            reply("complete", matches=[], cursor_start=2, cursor_end=2),
            reply("inspect", found=False),
            reply("is_complete", status="complete"),
            reply("history", history=[]),
            reply("comm_info", comms={}),
        )


def test_what_a_request_says_can_be_sent_back() -> None:
    comm = capture("comm")
    script = on(comm_open("target", comm_id=comm), busy(), comm_msg({"n": 1}, comm_id=comm, buffers=[b"raw"]), idle())
    with connected(script) as bridge:
        stream = bridge.subscribe()
        bridge.send_comm("comm_open", {"comm_id": "c1", "target_name": "target", "data": {}}).result(DEADLINE)
        stream.get(DEADLINE)
        came = stream.get(DEADLINE)
        assert (came.content, came.buffers) == ({"comm_id": "c1", "data": {"n": 1}}, [b"raw"])


def test_requests_on_other_channels_wait_for_their_step() -> None:
    asked = threading.Event()
    script = [
        on(execute_request("a"), call(asked.set), cue("go"), on(request("interrupt"), handle()), handle()),
        on(request("kernel_info"), handle(), channel="control"),
    ]
    with ScriptedKernel(*script) as kernel, ProtocolClient(kernel.connection) as client:
        running = client.execute("a")
        assert asked.wait(DEADLINE)
        interrupt = client.send("interrupt_request")
        info = client.send("kernel_info_request", channel="control")
        kernel.cue("go")
        for each in (interrupt, running, info):
            client.iopub.expect(busy(), idle(), parent=each)
        client.control.expect(reply("interrupt"), reply("kernel_info"))
        client.shell.expect(execute_reply())


def test_the_test_may_wait_for_the_script() -> None:
    with ScriptedKernel(on(execute_request("a")), on(execute_request("b"), handle(stdout("x")))) as kernel:
        bridge = connect(kernel.connection)
        bridge.execute("a")
        execution = bridge.execute("b")
        kernel.wait()
        assert [event.message.msg_type for event in kernel.time_line.events][-4:] == [
            "status",
            "stream",
            "execute_reply",
            "status",
        ]
        assert types(execution) == ["status", "stream", "status"]
        bridge.close()


# Faults


def test_idle_before_the_reply_and_reply_before_the_idle() -> None:
    """F2."""
    script = [
        on(execute_request("a"), busy(), stdout("x"), idle(), reply()),
        on(execute_request("b"), reply(), busy(), stdout("x"), idle()),
    ]
    with connected(*script) as bridge:
        assert run(bridge, "a") == run(bridge, "b") == ["status", "stream", "status"]


def test_an_idle_that_comes_behind_the_next_request() -> None:
    """F2."""
    script = on(
        execute_request("a"), busy(), reply(), on(execute_request("b"), handle(stdout("b"))), stdout("a"), idle()
    )
    with connected(script) as bridge:
        first, second = bridge.execute("a"), bridge.execute("b")
        assert types(second) == ["status", "stream", "status"]
        assert [message.content.get("text") for message in first] == [None, "a", None]


def test_any_earlier_request_may_be_the_parent() -> None:
    first = capture("first")
    script = [
        on(execute_request("a"), busy(), request=first),
        on(execute_request("b"), handle(stdout("a", parent=first))),
        on(execute_request("c"), send(execute_reply(execution_count=1, parent=first)), idle(parent=first), handle()),
    ]
    with connected(*script) as bridge:
        execution = bridge.execute("a")
        assert run(bridge, "b") == ["status", "status"]
        bridge.execute("c").result(DEADLINE)
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
    script = on(execute_request("a"), *steps, execute_reply(), on(execute_request("b"), handle()), idle())
    with (
        ScriptedKernel(script) as kernel,
        connect(kernel.connection, timeout=DEADLINE, limits=Limits(message_bytes=2000)) as bridge,
    ):
        execution, following = bridge.execute("a"), bridge.execute("b")
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
    with connected(on(execute_request("a")), on(execute_request("b"), handle())) as bridge:
        execution = bridge.execute("a")
        assert run(bridge, "b") == ["status", "status"]
        assert not execution.done


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

    kernel = ScriptedKernel(on(execute_request("a"), call(wait_for_the_end)), on(execute_request("b"), hang()))
    wake = kernel._thread.wake

    def wake_and_tell() -> None:
        wake()
        told.set()

    monkeypatch.setattr(kernel._thread, "wake", wake_and_tell)
    with kernel, connect(kernel.connection, timeout=DEADLINE) as bridge:
        bridge.execute("a")
        bridge.execute("b")


def test_a_kernel_that_dies() -> None:
    script = on(execute_request("a"), busy(), flood(1000, stdout("x")), die())
    with ScriptedKernel(script) as kernel, ProtocolClient(kernel.connection) as client:
        client.execute("a")
        client.expect_end()
        # All that it sent before is there.
        client.iopub.expect(busy(), stdout("x" * 1000))


# What is answered by itself


def test_a_shutdown_ends_the_kernel() -> None:
    with ScriptedKernel() as kernel, ProtocolClient(kernel.connection) as client:
        asked = client.send("shutdown_request", restart=True)
        client.iopub.expect(busy(), idle(), parent=asked)
        client.control.expect(reply("shutdown", restart=True))
        client.expect_end()


def test_the_first_of_the_standing_answers_counts() -> None:
    script = [always(request("kernel_info"), handle(reply(implementation="mine"))), always(message("debug_request"))]
    with ScriptedKernel(*script) as kernel, connect(kernel.connection) as bridge:
        assert bridge.kernel_info_reply["implementation"] == "mine"


@pytest.mark.parametrize(
    ("options", "welcomes"), [({}, True), ({"protocol_version": "5.3"}, False), ({"welcome": False}, False)]
)
def test_subscriptions_are_welcomed_as_the_version_promises(options: dict[str, Any], welcomes: bool) -> None:
    """JEP 65."""
    with ScriptedKernel(**options) as kernel, ProtocolClient(kernel.connection) as client:
        client.subscribe("stream")
        if welcomes:
            client.iopub.expect(iopub_welcome("stream", parent=None))
        client.send("kernel_info_request")
        client.iopub.expect(busy(), idle())
        client.shell.expect(reply("kernel_info", protocol_version=options.get("protocol_version", "5.5")))


# Files


def test_the_files_are_private_and_removed() -> None:
    with ScriptedKernel() as kernel:
        file = kernel.connection_file
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert kernel.connection.ip.startswith(str(file.parent))
    assert not file.parent.exists()


def test_a_kernel_may_be_told_where_to_listen(tmp_path: Path) -> None:
    ports = {channel: number for number, channel in enumerate(CHANNELS, 1)}
    given = ConnectionInfo(transport="inproc", ip="here", key=b"").with_ports(ports)
    with ScriptedKernel(connection=given) as kernel, connect(given, context=kernel.context) as bridge:
        assert (kernel.connection, bridge.status) == (given, "idle")


# By hand


def test_a_kernel_may_be_played_by_hand() -> None:
    with ManualKernel() as kernel:
        bridge = connect(kernel.connection)
        kernel.become_ready()
        bridge.wait_ready(DEADLINE)
        execution = bridge.execute("a")
        kernel.play(handle(stdout("x")), parent=kernel.take(execute_request("a")))
        assert execution.result(DEADLINE).content["status"] == "ok"
        assert kernel.waiting() == []
        bridge.execute("b")
        bridge.close()
        assert [message.content["code"] for message in kernel.waiting()] == ["b"]
        kernel.take()


# In a process of its own


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize(("status", "said"), [(3, "ended with exit status 3"), (-9, "was ended by SIGKILL")])
def test_a_process_that_exits(status: int, said: str) -> None:
    """F6."""
    script = on(execute_request("a"), busy(), stdout("last words"), die(status))
    with scripted_kernelspec(script) as name, launch(name) as bridge:
        execution = bridge.execute("a")
        with pytest.raises(KernelDiedError, match=said):
            execution.result(DEADLINE)
        assert types(execution) == ["status", "stream"]


@pytest.mark.usefixtures("runtime")
def test_a_process_that_dies_while_it_starts() -> None:
    said = "ended with exit status 5 while starting"
    script = on(request("kernel_info"), die(5))
    with scripted_kernelspec(script) as name, pytest.raises(KernelStartError, match=said):
        launch(name, transport="ipc").__enter__()


@pytest.mark.usefixtures("runtime")
def test_a_process_that_is_shut_down() -> None:
    script = on(execute_request("a"), handle(stdout("x")))
    with scripted_kernelspec(script, name="mine") as name, launch(name, transport="tcp") as bridge:
        assert run(bridge, "a") == ["status", "stream", "status"]


@pytest.mark.usefixtures("runtime")
def test_a_process_that_hangs_is_killed() -> None:
    with scripted_kernelspec(on(execute_request("a"), busy(), hang())) as name, launch(name) as bridge:
        assert next(iter(bridge.execute("a"))).msg_type == "status"
        bridge.close(grace=0)
