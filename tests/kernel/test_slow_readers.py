"""A subscriber that does not read loses alone, and a kernel that has shown much goes on showing (K8)."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.wire.messages import Message
from tests.support.client import DEADLINE, Client, is_idle
from tests.support.kernels import Cells, serving


def test_k8_a_subscriber_that_never_reads_loses_alone_and_sees_it(caplog: pytest.LogCaptureFixture) -> None:
    """Past the budget its loss is confined to it, logged, and visible to it as a gap in the numbers."""
    count, size, budget = 3000, 10_000, 1_000_000
    flooded, enough = threading.Event(), threading.Event()
    # The other subscriber reads as fast as the kernel puts, so only one of the two is ever slow.
    read = threading.Semaphore(20)

    def flood(kernel: Kernel) -> None:
        number = 0
        while number < count or not enough.is_set():
            assert read.acquire(timeout=DEADLINE)
            kernel.publish("custom", {"number": number, "text": "x" * size})
            number += 1
            if number == count:
                flooded.set()

    with (
        serving(Cells(flood=flood), options=Options(backlog_bytes=budget)) as kernel,
        Client(kernel.connection) as reader,
        Client(kernel.connection, identity=b"stalled", channels=("iopub",), receive_limit=10) as stalled,
        ThreadPoolExecutor(1) as pool,
        caplog.at_level(logging.WARNING, "kernelbridge"),
    ):

        def read_all(request: Message) -> list[int]:
            found: list[int] = []
            while True:
                message = reader.receive("iopub")
                if message.msg_type == "custom":
                    found.append(message.content["number"])
                    read.release()
                elif is_idle(message) and message.parent_id == request.msg_id:
                    return found

        reading = pool.submit(read_all, reader.execute("flood"))
        assert flooded.wait(DEADLINE)
        assert "a subscriber does not read" in caplog.text
        # It wakes up while the kernel goes on: what was kept for it comes, and then, behind a gap, what is new.
        numbers = [stalled.receive("iopub").seq or 0]
        while len(numbers) < 2 or numbers[-1] == numbers[-2] + 1:
            numbers.append(stalled.receive("iopub").seq or 0)
        enough.set()
        found = reading.result(DEADLINE)
    assert found == list(range(len(found)))
    assert numbers[-1] > numbers[-2] + 1
    # What was kept is the budget and what the system's own socket buffers hold, and by far not all.
    assert len(numbers) * size < 20 * budget


def test_k8_a_reader_that_keeps_up_loses_nothing_when_messages_become_large() -> None:
    """However much was shown before: what was read does not count as waiting."""
    small, large = 1000, 200
    read = threading.Semaphore(2)

    def cell(kernel: Kernel) -> None:
        for number in range(small + large):
            assert read.acquire(timeout=DEADLINE)
            kernel.publish("custom", {"number": number, "text": "x" * (0 if number < small else 100_000)})

    with (
        serving(Cells(cell=cell), options=Options(backlog_bytes=1_000_000)) as kernel,
        Client(kernel.connection) as client,
    ):
        request = client.execute("cell")
        found: list[int] = []
        while not (is_idle(message := client.receive("iopub")) and message.parent_id == request.msg_id):
            if message.msg_type == "custom":
                found.append(message.content["number"])
                read.release()
        assert found == list(range(small + large))
