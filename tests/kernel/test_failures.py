"""Whatever the work of a request raises, the request is answered between its brackets, and the kernel goes on (K5)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    comm_close,
    error,
    execute_input,
    execute_reply,
    idle,
    message,
    regex,
    reply,
    stdout,
)
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.messages import Message
from tests.support.exchange import ask, run
from tests.support.kernels import ROOT, Cells, process, serving, tcp

SMALL = Options(limits=Limits(message_bytes=100_000))


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
    with ProtocolClient(Cells(cell=cell, fine=fine)) as client:
        for _ in range(2):
            run(client, "cell", error(name), replied=execute_reply("error", ename=name))
            run(client, "fine", stdout("fine\n"))


def test_an_error_that_is_too_large_to_show_is_shown_as_such() -> None:
    cells = Cells(fail=raising(ValueError("x" * 200_000)), fine=fine)
    with serving(cells, options=SMALL) as kernel, ProtocolClient(kernel) as client:
        shown = error("ValueError", regex("100,000 bytes"))
        run(client, "fail", shown, replied=execute_reply("error", ename="MessageTooLarge"))
        run(client, "fine", stdout("fine\n"))


def test_a_long_write_goes_in_pieces_below_the_limit() -> None:
    text = "é\U0001f600x" * 100_000
    cells = Cells(write=lambda kernel: kernel.write("stdout", text))
    with serving(cells, options=SMALL) as kernel, ProtocolClient(kernel) as client:
        run(client, "write", stdout(text))
        shown = [each.message.content["text"] for each in client.time_line.events if each.message.msg_type == "stream"]
    assert "".join(shown) == text and len(shown) > 1


@pytest.mark.parametrize("failure", [ValueError(), OwnError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_k6_a_target_that_raises_anything_refuses_the_comm(failure: BaseException) -> None:
    def target(comm: Comm, message: Message) -> None:
        raise failure

    cells = Cells(fine=fine)
    with ProtocolClient(cells) as client:
        cells.kernel.comms.register_target("t", target)
        request = client.send("comm_open", comm_id="c", target_name="t", data={})
        client.iopub.expect(busy(), comm_close(comm_id="c"), idle(), parent=request)
        assert ask(client, "comm_info").content["comms"] == {}
        run(client, "fine", stdout("fine\n"))


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

    with ProtocolClient(Cells(waits=waits, fine=fine)) as client:
        request = client.execute("waits")
        client.iopub.expect(busy(), execute_input("waits"), stdout("waits\n"), parent=request)
        interrupt = client.send("interrupt_request")
        client.control.expect(reply("interrupt", parent=interrupt))
        client.shell.expect(execute_reply("error", ename="KeyboardInterrupt", parent=request))
        # The two are handled on two threads at the same time.
        client.iopub.of(interrupt).expect(busy(), idle())
        client.iopub.of(request).expect(error("KeyboardInterrupt"), idle())
        run(client, "fine", stdout("fine\n"))


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

    cells = Cells(waits=waits)
    kernel = Kernel(cells, tcp())

    def ask_to_wait() -> None:
        assert cells.started.wait(DEADLINE)
        with ProtocolClient(kernel) as client:
            request = client.execute("waits")
            client.expect_end()
            client.iopub.expect(busy(), execute_input("waits"), parent=request)

    with ThreadPoolExecutor(1) as pool:
        frontend = pool.submit(ask_to_wait)
        asyncio.run(main(kernel, begun))
        frontend.result(DEADLINE)
    assert kernel.wait(0)


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
    with process((sys.executable, str(program)), tmp_path) as (started, info, _), ProtocolClient(info) as client:
        run(client, "takes")
        started.send_signal(signal.SIGINT)
        run(client, "says", stdout("alive\n"))
        shutdown = client.send("shutdown_request", restart=False)
        client.control.expect(reply("shutdown"))
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=shutdown)
        assert started.wait(DEADLINE) == 0


def test_a_stopped_kernel_serves_no_more() -> None:
    kernel = Kernel(Cells(), tcp())
    kernel.stop()
    with pytest.raises(RuntimeError, match="serves once"):
        kernel.serve()
