"""What a frontend reads in: stream messages that a publisher (the floor kernel) sends as fast as it goes.

A reader asks the publisher for `count` messages and tells how many it got and in what time, counted from the first:
what comes before that is the publisher's encoding. In these rows the columns are frontends: `kernelbridge` is its
Bridge, `ipykernel` is jupyter_client's client, `floor` is a raw loop that looks at nothing but the topic.
"""

import asyncio
import queue
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient

from kernelbridge.frontend.bridge import connect

from .client import DEADLINE_S, QUIET_S, READY_S
from .process import Running

Face = Literal["sync", "async"]


class Read(NamedTuple):
    """How many messages came, and the seconds from the first to the last."""

    messages: int
    seconds: float


class Tally:
    """Counts stream messages as they come, and notes when the first and the last one did."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.first = self.last = 0.0
        self.seen = 0

    def add(self) -> bool:
        """Count one; True while more are awaited."""
        self.last = time.perf_counter()
        if not self.seen:
            self.first = self.last
        self.seen += 1
        return self.seen < self._count

    def read(self) -> Read:
        """The result."""
        return Read(self.seen, self.last - self.first)


def raw_loop(publisher: Running, count: int) -> Read:
    """A blocking recv_multipart on a SUB socket, and nothing else."""
    tally = Tally(count)
    client = publisher.client
    client.send(client.execute(f"publish {count}"))
    client.iopub.rcvtimeo = int(QUIET_S * 1000)
    try:
        while client.iopub.recv_multipart()[0] != b"stream" or tally.add():
            pass
    except zmq.Again:
        # Nothing more comes: the tally says how many are missing.
        return tally.read()
    return tally.read()


def blocking_client(publisher: Running, count: int) -> Read:
    """jupyter_client's BlockingKernelClient, get_iopub_msg in a loop."""
    tally = Tally(count)
    client = BlockingKernelClient(connection_file=str(publisher.connection_file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=READY_S)
        client.execute(f"publish {count}")
        while not _is_stream(client.get_iopub_msg(timeout=QUIET_S)) or tally.add():
            pass
    except queue.Empty:
        return tally.read()
    finally:
        client.stop_channels()
    return tally.read()


def async_client(publisher: Running, count: int) -> Read:
    """jupyter_client's AsyncKernelClient, get_iopub_msg in a loop."""

    async def read() -> Read:
        tally = Tally(count)
        client = AsyncKernelClient(connection_file=str(publisher.connection_file))
        client.load_connection_file()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=READY_S)
            client.execute(f"publish {count}")
            while not _is_stream(await client.get_iopub_msg(timeout=QUIET_S)) or tally.add():
                pass
        except queue.Empty:
            return tally.read()
        finally:
            client.stop_channels()
        return tally.read()

    return asyncio.run(read())


def bridge(publisher: Running, count: int) -> Read:
    """kernelbridge's Bridge, one subscription in a thread."""
    tally = Tally(count)
    with connect(publisher.connection_file, timeout=READY_S) as held:
        subscription = held.subscribe()
        held.execute(f"publish {count}")
        try:
            while subscription.get(QUIET_S).msg_type != "stream" or tally.add():
                pass
        except TimeoutError:
            return tally.read()
    return tally.read()


def async_bridge(publisher: Running, count: int) -> Read:
    """kernelbridge's Bridge, one subscription in an event loop."""

    async def read() -> Read:
        tally = Tally(count)
        async with connect(publisher.connection_file, timeout=READY_S) as held:
            subscription = held.subscribe()
            held.execute(f"publish {count}")
            try:
                async with asyncio.timeout(DEADLINE_S):
                    async for message in subscription:
                        if message.msg_type == "stream" and not tally.add():
                            break
            except TimeoutError:
                return tally.read()
        return tally.read()

    return asyncio.run(read())


def _is_stream(message: dict[str, Any]) -> bool:
    return bool(message["msg_type"] == "stream")


READERS: dict[tuple[Face, str], Callable[[Running, int], Read]] = {
    ("sync", "kernelbridge"): bridge,
    ("sync", "ipykernel"): blocking_client,
    ("sync", "floor"): raw_loop,
    ("async", "kernelbridge"): async_bridge,
    ("async", "ipykernel"): async_client,
    ("async", "floor"): raw_loop,
}
