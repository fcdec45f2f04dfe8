"""jupyter_client's managers and clients on a bridge, as programs use them that know jupyter_client only."""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.multikernelmanager import AsyncMultiKernelManager, MultiKernelManager

from kernelbridge.jupyter import AsyncKernelClient, AsyncKernelManager, KernelClient, KernelManager
from kernelbridge.testing import DEADLINE

EACH_IN_TURN = "import comm, sys; print('one'); c = comm.create_comm(target_name='t'); print('two', file=sys.stderr)"


@pytest.fixture(params=["kernelbridge", "python3"])
def name(request: pytest.FixtureRequest) -> str:
    kernel: str = request.param
    return kernel


@pytest.fixture
def manager(name: str) -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name=name)
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture
def client(manager: KernelManager) -> Iterator[KernelClient]:
    client = manager.client()
    assert isinstance(client, KernelClient)
    client.start_channels()
    client.wait_for_ready(DEADLINE)
    yield client
    client.stop_channels()


def shown(client: KernelClient, msg_id: str) -> list[str]:
    """What a request has shown, by type, once its reply is there: all of it is there by then (F2)."""
    messages = client.iopub_channel.get_msgs()
    return [message["msg_type"] for message in messages if message["parent_header"].get("msg_id") == msg_id]


class TestBlocking:
    def test_a_life(self, manager: KernelManager, client: KernelClient, name: str) -> None:
        assert manager.transport == "ipc"
        assert manager.is_alive() and client.is_alive()

        reply = client.execute("6 * 7", reply=True, timeout=DEADLINE)
        assert reply["content"]["status"] == "ok"
        types = shown(client, reply["parent_header"]["msg_id"])
        assert types == ["status", "execute_input", "execute_result", "status"]

        said: list[dict[str, Any]] = []
        reply = client.execute_interactive(
            "print(input('who? '))",
            timeout=DEADLINE,
            output_hook=said.append,
            stdin_hook=lambda asked: client.input(asked["content"]["prompt"].upper()),
        )
        assert reply["content"]["status"] == "ok"
        assert "".join(one["content"]["text"] for one in said if one["msg_type"] == "stream") == "WHO? \n"

        msg_id = client.execute("print('works', flush=True)\nwhile True: pass")
        while client.get_iopub_msg(DEADLINE)["msg_type"] != "stream":
            continue
        manager.interrupt_kernel()
        assert client.get_shell_msg(DEADLINE)["content"]["ename"] == "KeyboardInterrupt"

        manager.restart_kernel()
        reply = client.execute("msg_id", reply=True, timeout=DEADLINE)
        assert reply["content"]["ename"] == "NameError"
        assert reply["parent_header"]["msg_id"] != msg_id

        client.execute("import os; os._exit(3)")
        with pytest.raises(RuntimeError, match=f"kernel '{name}' ended with exit status 3"):
            client.get_shell_msg()
        assert not manager.is_alive() and not client.is_alive()
        manager.start_kernel()
        assert manager.is_alive()

    def test_a_question_is_read_and_answered_by_channel(self, client: KernelClient) -> None:
        client.execute("input('name? ')")
        question = client.get_stdin_msg(DEADLINE)
        assert (question["msg_type"], question["content"]["prompt"]) == ("input_request", "name? ")
        client.input("Ada")
        assert client.get_shell_msg(DEADLINE)["content"]["status"] == "ok"
        with pytest.raises(queue.Empty):
            client.get_stdin_msg(0)


def test_messages_come_in_one_order() -> None:
    """K2, F1: a comm stands between the prints that it stands between in the program."""
    manager = KernelManager(kernel_name="kernelbridge")
    manager.start_kernel()
    client = manager.client()
    assert isinstance(client, KernelClient)
    client.start_channels()
    msg_id = client.execute(EACH_IN_TURN, reply=True, timeout=DEADLINE)["parent_header"]["msg_id"]
    assert shown(client, msg_id) == ["status", "execute_input", "stream", "comm_open", "stream", "status"]
    client.stop_channels()
    manager.shutdown_kernel()


def test_a_client_from_a_connection_file() -> None:
    """It connects a bridge of its own, and leaves the kernel running."""
    manager = KernelManager(kernel_name="kernelbridge")
    manager.start_kernel()
    client = KernelClient(connection_file=manager.connection_file)
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(DEADLINE)
    assert client.hb_channel.is_beating()
    assert client.kernel_info(reply=True, timeout=DEADLINE)["content"]["language_info"]["name"] == "python"
    client.stop_channels()
    assert manager.is_alive()
    manager.shutdown_kernel(now=True)


def test_a_start_that_fails_says_why(kernel_that: Any) -> None:
    manager = KernelManager(kernel_name=kernel_that("import sys; sys.exit('no licence')"))
    with pytest.raises(Exception, match="while starting: no licence"):
        manager.start_kernel()
    assert not manager.has_kernel


def test_the_environment_that_is_given_is_the_whole_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for jupyter_client's own managers."""
    given = {**os.environ, "GIVEN": "yes"}
    monkeypatch.setenv("NOT_GIVEN", "no")
    manager = KernelManager(kernel_name="kernelbridge")
    manager.start_kernel(env=given)
    client = manager.client()
    client.start_channels()
    asked = "import os; assert os.environ['GIVEN'] == 'yes'; assert 'NOT_GIVEN' not in os.environ"
    assert client.execute(asked, reply=True, timeout=DEADLINE)["content"]["status"] == "ok"
    client.stop_channels()
    manager.shutdown_kernel(now=True)


async def a_life(name: str) -> None:
    manager = AsyncKernelManager(kernel_name=name)
    await manager.start_kernel()
    client = manager.client()
    assert isinstance(client, AsyncKernelClient)
    client.start_channels()
    await client.wait_for_ready(timeout=DEADLINE)
    said: list[dict[str, Any]] = []

    async def answer(asked: dict[str, Any]) -> None:
        client.input(asked["content"]["prompt"].upper())

    reply = await client.execute_interactive(
        "print(input('who? '))", timeout=DEADLINE, output_hook=said.append, stdin_hook=answer
    )
    assert reply["content"]["status"] == "ok"
    assert "".join(one["content"]["text"] for one in said if one["msg_type"] == "stream") == "WHO? \n"
    with pytest.raises(queue.Empty):
        await client.get_shell_msg(timeout=0)

    client.execute("print('works', flush=True)\nwhile True: pass")
    while (await client.get_iopub_msg(timeout=DEADLINE))["msg_type"] != "stream":
        continue
    await manager.interrupt_kernel()
    assert (await client.get_shell_msg(timeout=DEADLINE))["content"]["ename"] == "KeyboardInterrupt"
    await manager.restart_kernel(now=True)
    assert await client.is_alive()
    client.execute("import os; os._exit(3)")
    with pytest.raises(RuntimeError, match="ended with exit status 3"):
        await client.get_shell_msg()
    assert not await client.is_alive()
    client.stop_channels()
    await manager.cleanup_resources()


def test_in_an_event_loop(name: str) -> None:
    asyncio.run(a_life(name))


def test_a_multi_kernel_manager_takes_them_by_name() -> None:
    many = MultiKernelManager(kernel_manager_class="kernelbridge.jupyter.KernelManager")
    kernel_id = many.start_kernel(kernel_name="kernelbridge")
    assert many.is_alive(kernel_id)
    many.restart_kernel(kernel_id, now=True)
    many.shutdown_kernel(kernel_id)
    assert kernel_id not in many
    many.context.destroy(0)

    async def in_a_loop() -> None:
        many = AsyncMultiKernelManager(kernel_manager_class="kernelbridge.jupyter.AsyncKernelManager")
        kernel_id = await many.start_kernel(kernel_name="kernelbridge")
        assert await many.is_alive(kernel_id)
        await many.shutdown_all(now=True)
        assert kernel_id not in many
        many.context.destroy(0)

    asyncio.run(in_a_loop())
