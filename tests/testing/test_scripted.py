"""What a scripted kernel does to real frontends, and what it tells of them."""

from __future__ import annotations

from typing import Literal

import pytest

from kernelbridge.frontend.bridge import connect
from kernelbridge.testing import (
    ManualKernel,
    ProtocolFailure,
    ScriptedKernel,
    busy,
    execute_request,
    handle,
    idle,
    on,
    reply,
    request,
    result,
    stdout,
)

DEADLINE = 60.0


@pytest.mark.parametrize("transport", ["ipc", "tcp", "inproc"])
def test_a_script_is_played_while_the_frontend_waits(transport: Literal["ipc", "tcp", "inproc"]) -> None:
    script = [
        on(execute_request("a"), busy(), stdout("x"), reply(), idle()),
        on(execute_request("b"), handle(result("7"))),
    ]
    with (
        ScriptedKernel(*script, transport=transport) as kernel,
        connect(kernel.connection, context=kernel.context if transport == "inproc" else None) as bridge,
    ):
        first = bridge.execute("a")
        assert first.result(DEADLINE).content["execution_count"] == 1
        assert [message.msg_type for message in first] == ["status", "stream", "status"]
        second = bridge.execute("b")
        assert [message.msg_type for message in second] == ["status", "execute_result", "status"]


def test_a_kernel_may_be_played_by_hand() -> None:
    with ManualKernel() as kernel:
        bridge = connect(kernel.connection)
        kernel.become_ready()
        bridge.wait_ready(DEADLINE)
        execution = bridge.execute("a")
        kernel.play(handle(stdout("x")), parent=kernel.take(execute_request("a")))
        assert execution.result(DEADLINE).content["status"] == "ok"
        bridge.close()


def test_a_script_that_was_not_played_to_its_end() -> None:
    script = on(execute_request("a"), handle(stdout("x")), on(execute_request("b"), stdout("y")))
    with (
        pytest.raises(ProtocolFailure) as failure,
        ScriptedKernel(script, on(request("interrupt"))) as kernel,
        connect(kernel.connection) as bridge,
    ):
        bridge.execute("a").result(DEADLINE)
    assert failure.value.headline == "shell: what was expected did not come"
    report = str(failure.value).splitlines()
    assert report[1] == "  the test has ended"
    assert report[-9:] == [
        "= on execute_request 'a'",
        "=    handle",
        "=       busy",
        "=       stdout 'x'",
        "=       reply",
        "=       idle",
        ">    on execute_request 'b'",
        "        stdout 'y'",
        "  on interrupt_request",
    ]


def test_a_request_that_no_step_expects() -> None:
    with (
        pytest.raises(ProtocolFailure) as failure,
        ScriptedKernel() as kernel,
        connect(kernel.connection) as bridge,
    ):
        bridge.execute("a")
    assert failure.value.headline == "shell: a message that no step expects"
    assert "execute_request 'a'" in str(failure.value)
