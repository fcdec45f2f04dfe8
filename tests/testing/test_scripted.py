"""What a scripted kernel does to real frontends: each step, and each way to have one."""

from __future__ import annotations

import asyncio
import stat
import threading
from pathlib import Path
from typing import Any, Literal

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.utils import run_sync

from kernelbridge.frontend.bridge import connect, launch
from kernelbridge.frontend.errors import KernelDiedError, KernelStartError
from kernelbridge.testing import (
    DEADLINE,
    ManualKernel,
    ProtocolClient,
    ScriptedKernel,
    always,
    busy,
    call,
    capture,
    comm_msg,
    comm_open,
    cue,
    die,
    display,
    error,
    execute_input,
    execute_reply,
    execute_request,
    handle,
    hang,
    idle,
    input_reply,
    input_request,
    iopub_welcome,
    message,
    on,
    reply,
    request,
    result,
    scripted_kernelspec,
    stdout,
)
from kernelbridge.wire.connection import CHANNELS, ConnectionInfo
from tests.support.bridges import connected, types, types_of


async def _nothing() -> None: ...


# The event loop in which jupyter_client runs its blocking client stays, once it is there.
run_sync(_nothing)()


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
        assert types_of(bridge, "b") == ["status", "execute_result", "status"]


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
        assert types_of(one, "a") == ["status", "status"]
        assert types_of(other, "b") == ["status", "status"]


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
    with ScriptedKernel(on(request("complete")), on(execute_request("b"), handle(stdout("x")))) as kernel:
        bridge = connect(kernel.connection)
        bridge.complete("a")
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
        assert types_of(bridge, "a") == ["status", "stream", "status"]


@pytest.mark.usefixtures("runtime")
def test_a_process_that_hangs_is_killed() -> None:
    with scripted_kernelspec(on(execute_request("a"), busy(), hang())) as name, launch(name) as bridge:
        assert next(iter(bridge.execute("a"))).msg_type == "status"
        bridge.close(grace=0)
