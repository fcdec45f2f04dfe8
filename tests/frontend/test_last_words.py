"""What a kernel had said when its process ended is read before what is open ends (F6), however late it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from kernelbridge.frontend.process import Exit
from kernelbridge.testing import DEADLINE, busy, execute_request, idle, reply, stdout
from kernelbridge.wire.messages import Message
from tests.support.bridges import played


def test_an_execution_is_done_whose_last_words_have_arrived_and_were_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, heard, go_on = threading.Event(), threading.Event(), threading.Event()
    # Over inproc, what was sent has arrived.
    with played(transport="inproc") as (kernel, bridge):
        link = bridge._link
        assert link.outbox.channels is not None
        iopub = link.outbox.channels.iopub
        hand_on, drained = iopub._on_batch, iopub.drained

        def hand_on_later(batch: list[Message]) -> None:
            reading.set()
            assert go_on.wait(DEADLINE)
            hand_on(batch)

        def drain_and_tell(then: Callable[[], None]) -> None:
            drained(then)
            heard.set()

        monkeypatch.setattr(iopub, "_on_batch", hand_on_later)
        monkeypatch.setattr(iopub, "drained", drain_and_tell)
        execution = bridge.execute("1")
        # Or it ends at once, and nobody asks for what has arrived.
        execution._future.add_done_callback(lambda _: heard.set())
        asked = kernel.take(execute_request("1"))
        kernel.play(busy(), parent=asked)
        assert reading.wait(DEADLINE)
        kernel.play(stdout("last words"), reply(), idle(), parent=asked)
        ending = threading.Thread(target=link.exited, args=(Exit(0),))
        ending.start()
        assert heard.wait(DEADLINE)
        go_on.set()
        ending.join(DEADLINE)
        assert execution.result(DEADLINE).content["status"] == "ok"
        assert [message.msg_type for message in execution] == ["status", "stream", "status"]
        assert bridge.status == "dead"
