"""Kernels that die at each step of their work: nothing that they have said is lost, nothing is taken for more (F2, F6).

The kernels play scripts in processes of their own.
"""

from __future__ import annotations

from typing import Any

import pytest

from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.errors import KernelDiedError, KernelStartError
from kernelbridge.testing import (
    DEADLINE,
    Scriptable,
    busy,
    die,
    execute_input,
    execute_request,
    flood,
    handle,
    hang,
    idle,
    input_request,
    on,
    reply,
    request,
    result,
    scripted_kernelspec,
    stdout,
)

STEPS: list[Scriptable] = [busy(), execute_input(), stdout("x"), result("y"), reply(), idle()]
TYPES = ["status", "execute_input", "stream", "execute_result", "status"]


@pytest.mark.parametrize("place", range(len(STEPS)))
def test_a_kernel_that_dies_before_it_is_done(place: int) -> None:
    with scripted_kernelspec(on(execute_request("a"), *STEPS[:place], die(7))) as name, launch(name) as bridge:
        execution, waiting = bridge.execute("a"), bridge.complete("b")
        for open_request in (execution, waiting):
            with pytest.raises(KernelDiedError, match=f"kernel '{name}' ended with exit status 7"):
                open_request.result(DEADLINE)
        # The reply, the fifth, comes on another channel.
        assert [message.msg_type for message in execution] == TYPES[: min(place, 4)]
        assert bridge.status == "dead"


@pytest.mark.parametrize("steps", [STEPS, [busy(), *STEPS[1:4], idle(), reply()]], ids=["reply, idle", "idle, reply"])
def test_a_kernel_that_dies_when_it_is_done_has_answered(steps: list[Any]) -> None:
    with scripted_kernelspec(on(execute_request("a"), *steps, die(0))) as name, launch(name) as bridge:
        subscription = bridge.subscribe()
        execution = bridge.execute("a")
        assert execution.result(DEADLINE).content["status"] == "ok"
        assert [message.msg_type for message in execution] == TYPES
        while (last := subscription.get(DEADLINE)).content.get("execution_state") != "dead":
            pass
        assert (last.msg_type, last.parent) == ("status", None)
        with pytest.raises(KernelDiedError, match="ended with exit status 0"):
            bridge.execute("b").result(DEADLINE)


def test_what_it_said_last_is_read_however_much_it_is() -> None:
    script = on(execute_request("a"), busy(), flood(20_000, stdout("x")), die(-9))
    with scripted_kernelspec(script) as name, launch(name) as bridge:
        execution = bridge.execute("a")
        with pytest.raises(KernelDiedError, match="was ended by SIGKILL"):
            execution.result(DEADLINE)
        assert len(execution.messages) == 20_001


def test_a_kernel_that_dies_while_it_is_asked_who_it_is_has_not_started() -> None:
    with scripted_kernelspec(on(request("kernel_info"), busy(), die(3))) as name:
        bridge = launch(name, transport="ipc")
        held = bridge.execute("a")
        with pytest.raises(KernelStartError, match="ended with exit status 3 while starting"):
            held.result(DEADLINE)
        bridge.close()


def test_a_kernel_that_dies_with_an_open_question() -> None:
    """F9."""
    script = on(execute_request("a"), busy(), input_request("?"), on(request("interrupt"), die(4)))
    with scripted_kernelspec(script) as name, launch(name) as bridge:

        def on_input(prompt: str, password: bool) -> str:
            bridge.interrupt()
            with pytest.raises(KernelDiedError):
                execution.result(DEADLINE)
            return "to nobody"

        execution = bridge.execute("a", on_input=on_input)
        with pytest.raises(KernelDiedError, match="ended with exit status 4"):
            execution.result(DEADLINE)


def test_a_kernel_that_answers_a_shutdown_and_stays_is_killed() -> None:
    """F11."""
    script = [on(execute_request("a"), handle()), on(request("shutdown"), handle(), hang())]
    with scripted_kernelspec(*script) as name, launch(name) as bridge:
        bridge.execute("a").result(DEADLINE)
        shutdown = bridge.shutdown(grace=0.1)
        assert shutdown.result(DEADLINE).content == {"status": "ok", "restart": False}
        with pytest.raises(KernelDiedError, match="was ended by SIGKILL"):
            bridge.execute("b").result(DEADLINE)
