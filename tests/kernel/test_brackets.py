"""What one thread of the kernel must do before another can notice (K5, K8, K11), held where it is done.

Seen from outside, these are matters of microseconds, and a test would see a fault now and then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import ProtocolClient, busy, error, execute_input, execute_reply, idle, reply
from tests.support.kernels import Cells, serving

DEADLINE = 60.0


def test_k5_idle_is_put_behind_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """On both channels, for what runs and for what is answered on the channel's own thread."""
    done: list[str] = []

    with serving(Cells(cell=lambda kernel: None)) as kernel, ProtocolClient(kernel) as client:
        publish, outputs = kernel.outputs.publish, kernel.outputs

        def watched(msg_type: str, content: Any, *others: Any, **options: Any) -> None:
            if msg_type == "status":
                done.append("busy" if b"busy" in content else "idle")
            publish(msg_type, content, *others, **options)

        monkeypatch.setattr(outputs, "publish", watched)
        for channel in (kernel._shell, kernel._control):
            _watch_replies(channel, done, monkeypatch)

        request = client.execute("cell")
        client.shell.expect(execute_reply("ok", parent=request))
        client.iopub.expect(busy(), execute_input("cell"), idle(), parent=request)
        assert done == ["busy", "reply", "idle"]
        for answering in (client.shell, client.control):
            done.clear()
            asked = client.send("kernel_info_request", channel=answering.name)
            answering.expect(reply("kernel_info", parent=asked))
            client.iopub.expect(busy(), idle(), parent=asked)
            assert done == ["busy", "reply", "idle"]
        monkeypatch.undo()


def _watch_replies(channel: Any, done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    send_reply = channel.send_reply

    def watched(reply: Any) -> None:
        done.append("reply")
        send_reply(reply)

    monkeypatch.setattr(channel, "send_reply", watched)


def test_k8_iopub_ends_when_nobody_is_left_who_puts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Shell, Control and Stdin put at their end is sent."""
    alive: list[str] = []
    with serving(Cells()) as kernel:
        stop = kernel._iopub.stop

        def watched() -> bool:
            alive.extend(one.name for one in (kernel._shell, kernel._control, kernel._stdin) if one.alive)
            return stop()

        monkeypatch.setattr(kernel._iopub, "stop", watched)
    assert alive == []


@contextmanager
def held_up() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold the thread that logs next. Gives what is set when it is held, and what lets it go."""
    held, go = threading.Event(), threading.Event()

    class Hold(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            held.set()
            assert go.wait(DEADLINE)

    hold = Hold()
    logging.getLogger("kernelbridge").addHandler(hold)
    try:
        yield held, go
    finally:
        go.set()
        logging.getLogger("kernelbridge").removeHandler(hold)


def test_k11_what_has_arrived_when_an_execution_fails_is_aborted_although_it_is_unread() -> None:
    """More of it than Shell reads in a row. Shell is held up until the execution has failed, by what it must log."""
    count = 150
    go, failed = threading.Event(), threading.Event()

    def wait_and_fail(kernel: Kernel) -> None:
        # Called when this execution is over, and Shell has been told.
        asyncio.get_running_loop().call_soon(failed.set)
        assert go.wait(DEADLINE)
        raise ValueError("stop")

    handler = Cells(wait_and_fail=wait_and_fail, cell=lambda kernel: None)
    with held_up() as (held, release), ProtocolClient(handler) as client:
        failing = client.execute("wait_and_fail")
        client.iopub.expect(busy(), execute_input("wait_and_fail"), parent=failing)
        client.send_frames("shell", [b"no message"])
        assert held.wait(DEADLINE)
        waiting = [client.execute("cell") for _ in range(count)]
        go.set()
        assert failed.wait(DEADLINE)
        release.set()
        client.iopub.expect(error("ValueError"), idle(), parent=failing)
        client.shell.expect(execute_reply("error", parent=failing))
        for request in waiting:
            client.shell.expect(execute_reply("aborted", parent=request))
            client.iopub.expect(busy(), idle(), parent=request)
        assert len(handler.requests) == 1
