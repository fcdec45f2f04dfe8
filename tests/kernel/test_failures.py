"""Whatever the work of a request raises, the request is answered between its brackets, and the kernel goes on (K5)."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.messages import Message
from tests.support.client import DEADLINE, Client, lines
from tests.support.kernels import ROOT, Cells, process, serving, tcp


class OwnError(BaseException):
    """What is no Exception, as pytest's and trio's outcomes are none."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


def raising(failure: BaseException) -> Callable[[Kernel], None]:
    def cell(kernel: Kernel) -> None:
        raise failure

    return cell


async def cancels_itself(kernel: Kernel) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


def fine(kernel: Kernel) -> None:
    kernel.write("stdout", "fine\n")


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (raising(ValueError("x")), "ValueError"),
        (raising(OwnError("x")), "OwnError"),
        (raising(SystemExit(3)), "SystemExit"),
        (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
        (raising(GeneratorExit()), "RuntimeError"),
        (raising(asyncio.CancelledError()), "CancelledError"),
        (raising(Unspeakable()), "Unspeakable"),
        (cancels_itself, "CancelledError"),
    ],
    ids=["Exception", "BaseException", "exit", "interrupt", "GeneratorExit", "cancelled", "no str()", "cancels itself"],
)
def test_what_a_handler_raises_is_the_requests_failure(cell: Callable[[Kernel], None], name: str) -> None:
    with serving(Cells(cell=cell, fine=fine)) as kernel, Client(kernel.connection) as client:
        for _ in range(2):
            reply, messages = client.run("cell")
            assert (reply.content["status"], reply.content["ename"]) == ("error", name)
            assert lines(messages) == ["busy", "execute_input cell", f"error {name}", "idle"]
            assert lines(client.run("fine")[1]) == ["busy", "execute_input fine", "stdout 'fine\\n'", "idle"]


def test_an_error_that_is_too_large_to_show_is_shown_as_such() -> None:
    options = Options(limits=Limits(message_bytes=100_000))
    cells = Cells(fail=raising(ValueError("x" * 200_000)), fine=fine)
    with serving(cells, options=options) as kernel, Client(kernel.connection) as client:
        reply, messages = client.run("fail")
        assert reply.content["ename"] == "MessageTooLarge"
        assert lines(messages) == ["busy", "execute_input fail", "error ValueError", "idle"]
        assert "100,000 bytes" in messages[2].content["evalue"]
        assert lines(client.run("fine")[1])[-1] == "idle"


def test_a_long_write_goes_in_pieces_below_the_limit() -> None:
    text = "é\U0001f600x" * 100_000
    options = Options(limits=Limits(message_bytes=100_000))
    cells = Cells(write=lambda kernel: kernel.write("stdout", text))
    with serving(cells, options=options) as kernel, Client(kernel.connection) as client:
        _, messages = client.run("write")
        pieces = [message.content["text"] for message in messages if message.msg_type == "stream"]
        assert "".join(pieces) == text and len(pieces) > 1


@pytest.mark.parametrize("failure", [ValueError(), OwnError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_k6_a_target_that_raises_anything_refuses_the_comm(failure: BaseException) -> None:
    def target(comm: Comm, message: Message) -> None:
        raise failure

    cells = Cells(register=lambda kernel: kernel.comms.register_target("t", target), fine=fine)
    with serving(cells) as kernel, Client(kernel.connection) as client:
        client.run("register")
        request = client.send("comm_open", {"comm_id": "c", "target_name": "t", "data": {}})
        assert lines(client.until_idle(request)) == ["busy", "comm_close {}", "idle"]
        assert client.ask("comm_info_request")[0].content["comms"] == {}
        assert lines(client.run("fine")[1])[-1] == "idle"


def test_an_interrupt_that_the_awaited_task_swallows_still_ends_the_request() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async def waits(kernel: Kernel) -> None:
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        kernel.write("stdout", "waits\n")
        kernel.flush()
        await task

    with serving(Cells(waits=waits, fine=fine)) as kernel, Client(kernel.connection) as client:
        request = client.execute("waits")
        while client.receive("iopub").msg_type != "stream":
            continue
        client.ask("interrupt_request", channel="control")
        assert client.reply(request).content["ename"] == "KeyboardInterrupt"
        assert client.run("fine")[0].content["status"] == "ok"


def test_who_cancels_the_task_that_serves_ends_the_kernel() -> None:
    """Also while a request runs; what the request's own code cancels does not (above)."""

    async def main(kernel: Kernel, begun: asyncio.Event) -> None:
        serves = asyncio.create_task(kernel.aserve())
        await begun.wait()
        serves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serves

    begun = asyncio.Event()

    async def waits(kernel: Kernel) -> None:
        begun.set()
        await asyncio.Event().wait()

    info_came = threading.Event()

    class Told(Cells):
        def start(self) -> None:
            info_came.set()

    kernel = Kernel(Told(waits=waits), tcp())

    def ask() -> None:
        assert info_came.wait(DEADLINE)
        with Client(kernel.connection) as client:
            client.execute("waits")
            kernel.wait(DEADLINE)

    frontend = threading.Thread(target=ask)
    frontend.start()
    asyncio.run(main(kernel, begun))
    frontend.join(DEADLINE)
    assert kernel.wait(0)


def test_k4_what_a_thread_prints_belongs_to_the_cell_that_ran_last() -> None:
    """And not to a completion that was asked for since: no frontend shows that anywhere."""
    go, gone = threading.Event(), threading.Event()

    def start(kernel: Kernel) -> None:
        def late() -> None:
            assert go.wait(DEADLINE)
            kernel.write("stdout", "late\n")
            kernel.flush()
            gone.set()

        threading.Thread(target=late).start()

    with serving(Cells(start=start)) as kernel, Client(kernel.connection) as client:
        request = client.execute("start")
        client.reply(request)
        client.until_idle(request)
        client.ask("complete_request", {"code": "x", "cursor_pos": 1})
        go.set()
        assert gone.wait(DEADLINE)
        late = client.receive("iopub")
        assert (lines([late]), late.parent_id) == (["stdout 'late\\n'"], request.msg_id)


OWN_SIGNALS = f"""
import signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.support.kernels import Cells
from kernelbridge.kernel.kernel import Kernel

def takes(kernel):
    signal.signal(signal.SIGINT, signal.default_int_handler)

def says(kernel):
    kernel.write("stdout", "alive\\n")

Kernel(Cells(takes=takes, says=says), sys.argv[1]).serve()
"""


def test_a_cell_that_sets_sigints_handler_sets_it_for_itself_alone(tmp_path: Path) -> None:
    """Else the next Ctrl-C at rest would end the kernel."""
    program = tmp_path / "kernel.py"
    program.write_text(OWN_SIGNALS, encoding="utf-8")
    with process((sys.executable, str(program)), tmp_path) as (started, info, _), Client(info) as client:
        client.run("takes")
        started.send_signal(signal.SIGINT)
        assert "stdout 'alive\\n'" in lines(client.run("says")[1])
        client.ask("shutdown_request", {"restart": False}, channel="control")
        assert started.wait(DEADLINE) == 0


def test_a_stopped_kernel_serves_no_more() -> None:
    kernel = Kernel(Cells(), tcp())
    kernel.stop()
    with pytest.raises(RuntimeError, match="serves once"):
        kernel.serve()
