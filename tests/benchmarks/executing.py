"""How long a frontend takes to execute `pass`, one at a time and many at once, until reply and idle are there."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient

from kernelbridge.frontend.bridge import connect

from .client import QUIET_S, READY_S
from .ingest import Face
from .process import Running

CODE = "pass"

WARM_UP = 3


def one_at_a_time(count: int, once: Callable[[], object]) -> list[float]:
    """The seconds that each of `count` calls takes, after some that warm up."""
    for _ in range(WARM_UP):
        once()
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - started)
    return seconds


async def awaited_one_at_a_time(count: int, once: Callable[[], Awaitable[object]]) -> list[float]:
    """What `one_at_a_time` is, of coroutines."""
    for _ in range(WARM_UP):
        await once()
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        await once()
        seconds.append(time.perf_counter() - started)
    return seconds


def raw(kernel: Running, count: int) -> list[float]:
    """A raw ZMQ client."""
    client = kernel.client
    return one_at_a_time(count, lambda: client.ask(client.execute(CODE), "execute_reply", "idle"))


def bridge(kernel: Running, count: int) -> list[float]:
    """kernelbridge's Bridge, in a thread."""
    with connect(kernel.connection_file, timeout=READY_S) as held:
        return one_at_a_time(count, lambda: held.execute(CODE).result(QUIET_S))


def async_bridge(kernel: Running, count: int) -> list[float]:
    """kernelbridge's Bridge, in an event loop."""

    async def execute() -> list[float]:
        async with connect(kernel.connection_file, timeout=READY_S) as held:
            return await awaited_one_at_a_time(count, lambda: held.execute(CODE))

    return asyncio.run(execute())


def blocking_client(kernel: Running, count: int) -> list[float]:
    """jupyter_client's BlockingKernelClient, reading until both are there."""

    def execute() -> None:
        request = client.execute(CODE)
        while not _answers(client.get_shell_msg(timeout=QUIET_S), request, "execute_reply"):
            pass
        while not _answers(client.get_iopub_msg(timeout=QUIET_S), request, "idle"):
            pass

    client = BlockingKernelClient(connection_file=str(kernel.connection_file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=READY_S)
        return one_at_a_time(count, execute)
    finally:
        client.stop_channels()


def async_client(kernel: Running, count: int) -> list[float]:
    """jupyter_client's AsyncKernelClient, reading until both are there."""

    async def run() -> list[float]:
        async def execute() -> None:
            request = client.execute(CODE)
            while not _answers(await client.get_shell_msg(timeout=QUIET_S), request, "execute_reply"):
                pass
            while not _answers(await client.get_iopub_msg(timeout=QUIET_S), request, "idle"):
                pass

        client = AsyncKernelClient(connection_file=str(kernel.connection_file))
        client.load_connection_file()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=READY_S)
            return await awaited_one_at_a_time(count, execute)
        finally:
            client.stop_channels()

    return asyncio.run(run())


def raw_at_once(kernel: Running, count: int) -> float:
    """A raw ZMQ client that sends all, then reads: the seconds."""
    client = kernel.client
    client.ask(client.execute(CODE), "execute_reply", "idle")
    requests = [client.execute(CODE) for _ in range(count)]
    return client.gather(requests, {"execute_reply": count, "idle": count}).seconds


def bridge_at_once(kernel: Running, count: int) -> float:
    """A Bridge that is asked for all, and then for each reply: the seconds."""
    with connect(kernel.connection_file, timeout=READY_S) as held:
        held.execute(CODE).result(QUIET_S)
        started = time.perf_counter()
        for execution in [held.execute(CODE) for _ in range(count)]:
            execution.result(QUIET_S)
        return time.perf_counter() - started


def client_at_once(kernel: Running, count: int) -> float:
    """An AsyncKernelClient that sends all, then reads all replies, then IOPub up to the last idle: the seconds."""

    async def run() -> float:
        client = AsyncKernelClient(connection_file=str(kernel.connection_file))
        client.load_connection_file()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=READY_S)
            started = time.perf_counter()
            requests = [client.execute(CODE) for _ in range(count)]
            for request in requests:
                while not _answers(await client.get_shell_msg(timeout=QUIET_S), request, "execute_reply"):
                    pass
            while not _answers(await client.get_iopub_msg(timeout=QUIET_S), requests[-1], "idle"):
                pass
            return time.perf_counter() - started
        finally:
            client.stop_channels()

    return asyncio.run(run())


def _answers(message: dict[str, Any], request: str, what: str) -> bool:
    if message["parent_header"].get("msg_id") != request:
        return False
    return what in (message["msg_type"], message["content"].get("execution_state"))


ONE_AT_A_TIME: dict[tuple[Face, str], Callable[[Running, int], list[float]]] = {
    ("sync", "kernelbridge"): bridge,
    ("sync", "ipykernel"): blocking_client,
    ("sync", "floor"): raw,
    ("async", "kernelbridge"): async_bridge,
    ("async", "ipykernel"): async_client,
    ("async", "floor"): raw,
}

AT_ONCE: dict[str, Callable[[Running, int], float]] = {
    "kernelbridge": bridge_at_once,
    "ipykernel": client_at_once,
    "floor": raw_at_once,
}
