"""A subscriber that does not read loses alone, and a kernel that has shown much goes on showing (K8)."""

from __future__ import annotations

import logging
import threading

import pytest

from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.testing import (
    ANY,
    DEADLINE,
    ProtocolClient,
    ProtocolFailure,
    busy,
    execute_input,
    execute_reply,
    idle,
    iopub_welcome,
    message,
)
from tests.support.exchange import run
from tests.support.kernels import Cells, serving


class Flood(Cells):
    """Shows texts of these sizes, in bytes, each as soon as a reader that may be so many messages behind has read."""

    def __init__(self, sizes: list[int], behind: int) -> None:
        self.sizes = sizes
        self._read = threading.Semaphore(behind)
        super().__init__(flood=self._flood, more=lambda kernel: None)

    def _flood(self, kernel: Kernel) -> None:
        for number, size in enumerate(self.sizes):
            assert self._read.acquire(timeout=DEADLINE)
            kernel.publish("custom", {"number": number, "text": "x" * size})

    def read_all(self, client: ProtocolClient) -> None:
        """Execute the flood, and read it as it comes."""
        request = client.execute("flood")
        client.iopub.expect(busy(), execute_input("flood"), parent=request)
        for number in range(len(self.sizes)):
            client.iopub.expect(message("custom", number=number), parent=request)
            self._read.release()
        client.iopub.expect(idle(parent=request))
        client.shell.expect(execute_reply(parent=request))


def test_k8_a_subscriber_that_never_reads_loses_alone_and_sees_it(caplog: pytest.LogCaptureFixture) -> None:
    """Past the budget its loss is confined to it, logged, and visible to it as a gap in the numbers.

    A gap that the other one saw would leave it with messages that it has not read.
    """
    count, size, budget = 3000, 10_000, 1_000_000
    # The reader reads as fast as the kernel puts, so only one of the two is ever slow.
    flood = Flood([size] * count, 20)
    with (
        serving(flood, options=Options(backlog_bytes=budget)) as kernel,
        ProtocolClient(kernel) as reader,
        caplog.at_level(logging.WARNING, "kernelbridge"),
        pytest.raises(ProtocolFailure, match="came behind number"),
        ProtocolClient(kernel, receive_limit=10) as stalled,
    ):
        reader.iopub.expect(iopub_welcome())
        flood.read_all(reader)
        assert "a subscriber does not read" in caplog.text
        # It wakes up while the kernel goes on: what was kept for it comes, and then, behind a gap, what is new.
        while True:
            run(reader, "more")
            stalled.iopub.expect(message(ANY))
    # What was kept is the budget and what the system's own socket buffers hold, and by far not all.
    assert len(stalled.time_line.events) * size < 20 * budget


def test_k8_a_reader_that_keeps_up_loses_nothing_when_messages_become_large() -> None:
    """However much was shown before: what was read does not count as waiting."""
    flood = Flood([0] * 1000 + [100_000] * 200, 2)
    with serving(flood, options=Options(backlog_bytes=1_000_000)) as kernel, ProtocolClient(kernel) as client:
        flood.read_all(client)
