"""One object for both worlds: a thread and an event loop, also at the same time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.errors import BridgeClosedError, KernelStartError
from kernelbridge.frontend.execution import Execution
from kernelbridge.testing import (
    DEADLINE,
    ScriptedKernel,
    always,
    execute_request,
    handle,
    input_reply,
    input_request,
    on,
    request,
    stdout,
)
from tests.support.bridges import connected, played


def test_a_thread() -> None:
    with launch("python3") as bridge:
        execution = bridge.execute("print(1); 1 + 1")
        types = [message.msg_type for message in execution]
        assert types == ["status", "execute_input", "stream", "execute_result", "status"]
        assert execution.result(DEADLINE).content["status"] == "ok"
        assert "print" in bridge.complete("prin").result(DEADLINE).content["matches"]
        assert bridge.inspect("print").result(DEADLINE).content["found"] is True
        assert bridge.is_complete("for").result(DEADLINE).content["status"] == "invalid"
        assert bridge.history(n=1).result(DEADLINE).content["status"] == "ok"
        assert bridge.comm_info().result(DEADLINE).content["comms"] == {}
        assert bridge.kernel_info().result(DEADLINE).content["implementation"] == "ipython"
        asked = bridge.execute("print(input('name? '))", on_input=lambda prompt, password: prompt + "bob")
        asked.result(DEADLINE)
        assert "name? bob\n" in [message.content.get("text") for message in asked.messages]


def test_an_event_loop() -> None:
    async def main() -> None:
        async with launch("python3") as bridge:
            subscription = bridge.subscribe()
            execution = bridge.execute("print(1); 1 + 1")
            types = [message.msg_type async for message in execution]
            assert types == ["status", "execute_input", "stream", "execute_result", "status"]
            assert (await execution).content["status"] == "ok"
            assert "print" in (await bridge.complete("prin")).content["matches"]
            assert [(await subscription.aget()).msg_type for _ in types] == types

            loop = asyncio.get_running_loop()

            async def on_input(prompt: str, password: bool) -> str:
                assert asyncio.get_running_loop() is loop
                return prompt + "bob"

            asked = bridge.execute("print(input('name? '))", on_input=on_input)
            await asked
            assert "name? bob\n" in [message.content.get("text") for message in asked.messages]
        assert [message.msg_type async for message in subscription][-1] == "status"

    asyncio.run(main())


def test_a_coroutine_answers_input_without_a_loop() -> None:
    async def on_input(prompt: str, password: bool) -> str:
        await asyncio.sleep(0)
        return prompt

    with connected(on(execute_request("1"), input_request("echo"), on(input_reply("echo")), handle())) as bridge:
        bridge.execute("1", on_input=on_input).result(DEADLINE)


def test_a_coroutine_that_waits_for_input_is_cancelled_when_the_execution_ends() -> None:
    with played() as (kernel, bridge):

        async def main() -> None:
            asked, cancelled = asyncio.Event(), asyncio.Event()

            async def on_input(prompt: str, password: bool) -> str:
                asked.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()
                return "never"

            execution = bridge.execute("1", on_input=on_input)
            request = kernel.take(execute_request("1"))
            kernel.play(input_request("?"), parent=request)
            await asked.wait()
            kernel.play(handle(), parent=request)
            await execution
            await asyncio.wait_for(cancelled.wait(), DEADLINE)

        asyncio.run(main())
        for thread in threading.enumerate():
            if thread.name == "kernelbridge-frontend-input":
                thread.join(DEADLINE)


def test_who_stops_waiting_ends_nothing() -> None:
    with played() as (kernel, bridge):

        async def main() -> None:
            execution = bridge.execute("1")
            request = kernel.take(execute_request("1"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.ensure_future(_await(execution)), 0)
            assert not execution.done
            kernel.play(handle(), parent=request)
            assert (await execution).msg_type == "execute_reply"

        asyncio.run(main())


async def _await(execution: Execution) -> None:
    await execution


def test_a_thread_and_two_event_loops_hold_one_bridge() -> None:
    with played() as (kernel, bridge):
        execution = bridge.execute("1")
        results: list[list[str]] = []

        async def read() -> None:
            results.append([message.msg_type async for message in execution])
            await execution

        threads = [threading.Thread(target=asyncio.run, args=(read(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        kernel.play(handle(stdout("a"), stdout("b")), parent=kernel.take(execute_request("1")))
        results.append([message.msg_type for message in execution])
        for thread in threads:
            thread.join(DEADLINE)
        assert results == [["status", "stream", "stream", "status"]] * 3


def test_a_subscription_whose_loop_is_gone_hurts_nobody() -> None:
    with played() as (kernel, bridge):
        subscription = bridge.subscribe()

        async def read_one() -> None:
            kernel.play(stdout("1"))
            assert (await subscription.aget()).content["text"] == "1"

        asyncio.run(read_one())
        execution = bridge.execute("1")
        kernel.play(handle(), parent=kernel.take(execute_request("1")))
        execution.result(DEADLINE)
        assert bridge.counters == {}


def test_entering_and_leaving_raise_in_either_world() -> None:
    async def main(bridge: Bridge) -> None:
        async with bridge:
            raise AssertionError("it was never ready")

    with ScriptedKernel(always(request("kernel_info"))) as kernel:
        with pytest.raises(KernelStartError):
            asyncio.run(main(connect(kernel.connection, timeout=0.05)))
        with pytest.raises(KernelStartError):
            connect(kernel.connection, timeout=0.05).__enter__()


def test_closing_in_an_event_loop_lets_it_go_on_and_ends_what_is_open() -> None:
    async def main() -> None:
        bridge = launch("python3")
        await bridge.ready()
        execution = bridge.execute("import signal; signal.pause()")
        closing = asyncio.ensure_future(bridge.aclose(grace=0.1))
        with pytest.raises(BridgeClosedError):
            await execution
        await closing

    asyncio.run(main())
