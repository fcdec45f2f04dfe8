"""Subshells, as a frontend holds them (JEP 91): what they are asked runs beside the main shell's requests."""

from __future__ import annotations

import asyncio

import pytest

from kernelbridge import Bridge, Execution, SubshellError, connect, launch
from kernelbridge.testing import (
    DEADLINE,
    ScriptedKernel,
    always,
    execute_request,
    handle,
    on,
    reply,
    request,
)
from kernelbridge.wire.messages import SUBSHELL_FEATURE
from tests.support.bridges import connected

KERNELS = pytest.mark.parametrize("kernel_name", ["kernelbridge", "python3"])

WAITS = "import threading; go = threading.Event(); print('begun', flush=True); print('go' if go.wait() else 'no')"


def listed(bridge: Bridge) -> list[str]:
    ids: list[str] = bridge.list_subshells().result(DEADLINE).content["subshell_id"]
    return ids


def texts(execution: Execution) -> str:
    return "".join(one.content["text"] for one in execution.messages if one.msg_type == "stream")


@KERNELS
def test_a_thread(kernel_name: str) -> None:
    """The main shell's cell ends only when one in the subshell has run beside it."""
    with launch(kernel_name) as bridge:
        with bridge.create_subshell() as subshell:
            assert listed(bridge) == [subshell.subshell_id]
            main = bridge.execute(WAITS)
            next(one for one in main if one.msg_type == "stream")
            beside = subshell.execute("print('beside'); go.set()")
            assert beside.result(DEADLINE).content["status"] == "ok"
            assert main.result(DEADLINE).content["status"] == "ok"
            assert (texts(main), texts(beside)) == ("begun\ngo\n", "beside\n")
            assert "print" in subshell.complete("prin").result(DEADLINE).content["matches"]
            asked = subshell.execute("print(input('name? '))", on_input=lambda prompt, password: prompt + "bob")
            asked.result(DEADLINE)
            assert "name? bob\n" in texts(asked)
        assert listed(bridge) == []
        assert subshell.execute("1").result(DEADLINE).content["status"] == "error"


@KERNELS
def test_an_event_loop(kernel_name: str) -> None:
    async def main() -> None:
        async with launch(kernel_name) as bridge:
            async with bridge.create_subshell() as subshell:
                cell = bridge.execute(WAITS)
                async for one in cell:
                    if one.msg_type == "stream":
                        break
                await subshell.execute("go.set()")
                await cell
                assert texts(cell) == "begun\ngo\n"
            assert (await bridge.list_subshells()).content["subshell_id"] == []

    asyncio.run(main())


def test_a_kernel_without_subshells_is_said_and_not_asked() -> None:
    with connected() as bridge:
        for ask in (bridge.create_subshell, bridge.list_subshells):
            with pytest.raises(SubshellError, match="has no subshells"):
                ask()


def test_before_the_kernel_is_ready_it_is_not_known_whether_it_has_subshells() -> None:
    with ScriptedKernel() as kernel:
        bridge = connect(kernel.connection)
        try:
            with pytest.raises(SubshellError, match="not ready"):
                bridge.create_subshell()
        finally:
            bridge.close()


def test_a_subshell_is_asked_for_nothing_until_it_is_there_and_a_refusal_is_said() -> None:
    info = always(request("kernel_info"), handle(reply("kernel_info", supported_features=[SUBSHELL_FEATURE])))
    refusal = reply("create_subshell", status="error", ename="RuntimeError", evalue="the kernel ends")
    with connected(info, on(request("create_subshell_request"), on(execute_request("now")), refusal)) as bridge:
        subshell = bridge.create_subshell()
        with pytest.raises(SubshellError, match="not there yet"):
            subshell.execute("1")
        bridge.execute("now")
        with pytest.raises(SubshellError, match="made no subshell: the kernel ends"):
            subshell.wait_ready(DEADLINE)
        with pytest.raises(SubshellError, match="made no subshell"):
            subshell.execute("1")


def test_the_end_of_the_kernel_is_that_of_its_subshells() -> None:
    with launch("kernelbridge") as bridge, bridge.create_subshell():
        bridge.shutdown().result(DEADLINE)
