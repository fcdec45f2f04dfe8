"""The life of a kernel: how it ends, what its crash does, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
import zmq

from kernelbridge.bridges.socket_bridge import SocketBridge
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    execute_input,
    execute_reply,
    idle,
    message,
    reply,
    stdout,
)
from kernelbridge.wire.connection import (
    Channel,
)
from tests.support.exchange import run
from tests.support.kernels import Cells, Serving, encoded, serving, tcp

MILLISECONDS = int(DEADLINE * 1000)


def hello(kernel: Kernel) -> None:
    kernel.write("stdout", "hello\n")


HELLO = stdout("hello\n")


# --- the end --------------------------------------------------------------------------------------------------------


def test_a_kernel_that_never_served_stops() -> None:
    Kernel(Cells(), tcp()).stop()
    with Kernel(Cells(), tcp()):
        """Leaving the block stops it."""


@pytest.mark.parametrize("channel", ["shell", "control"])
@pytest.mark.parametrize("restart", [True, False])
def test_a_shutdown_is_answered_shown_and_done(channel: Channel, restart: bool) -> None:
    handler = Cells(hello=hello)
    with serving(handler) as kernel, ProtocolClient(kernel) as client:
        run(client, "hello", HELLO)
        request = client.send("shutdown_request", restart=restart, channel=channel)
        done = reply("shutdown", status="ok", restart=restart, parent=request)
        client.iopub.expect(busy(), done, idle(), parent=request)
        (client.shell if channel == "shell" else client.control).expect(done)
        client.expect_end()
    assert handler.stopped == [restart]


def test_stop_does_not_wait_for_a_stalled_peer() -> None:
    """One that reads neither its replies nor the 20 MB that wait for it on IOPub."""
    flooded = threading.Event()

    def flood(kernel: Kernel) -> None:
        for _ in range(200):
            kernel.display({"text/plain": "x" * 100_000})
        kernel.flush()
        flooded.set()

    with (
        serving(Cells(flood=flood)) as kernel,
        zmq.Context() as context,
        context.socket(zmq.SUB) as iopub,
        context.socket(zmq.DEALER) as shell,
    ):
        iopub.rcvhwm = 1
        iopub.subscribe(b"")
        iopub.connect(kernel.connection.endpoint("iopub"))
        # It is welcome.
        assert iopub.poll(MILLISECONDS)
        shell.connect(kernel.connection.endpoint("shell"))
        shell.send_multipart(encoded(kernel, "execute_request", code="flood"))
        assert flooded.wait(DEADLINE)
        kernel.stop()
        assert kernel.wait(0)


def test_stop_may_be_called_again_and_from_many_threads() -> None:
    handler = Cells(hello=hello)
    kernel = Kernel(handler, tcp())
    thread = Serving(kernel)
    thread.start()
    assert handler.started.wait(DEADLINE)
    stoppers = [threading.Thread(target=kernel.stop) for _ in range(4)]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join(DEADLINE)
        assert not stopper.is_alive()
    kernel.stop()
    assert thread.end() is None
    assert kernel.wait(0)


def test_what_was_put_before_the_stop_is_sent() -> None:
    """Nothing that was put is lost by the end of the kernel."""

    def last_words(kernel: Kernel) -> None:
        for number in range(1000):
            kernel.publish("custom", {"number": number})
        kernel.write("stdout", "the end")
        kernel.end()

    with serving(Cells(last_words=last_words)) as kernel, ProtocolClient(kernel) as client:
        run(client, "last_words", *(message("custom", number=number) for number in range(1000)), stdout("the end"))
        client.expect_end()


def test_iopub_ends_when_nobody_is_left_who_puts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Shell, Control and Stdin put at their end is sent."""
    alive: list[str] = []
    with serving(Cells()) as kernel:
        stop = kernel._iopub.stop

        def watched() -> bool:
            alive.extend(one.name for one in (kernel._shell, kernel._control, kernel._stdin) if one.alive)
            return stop()

        monkeypatch.setattr(kernel._iopub, "stop", watched)
    assert alive == []


def test_puts_after_the_end_are_let_go() -> None:
    """Nobody waits and nothing is raised: a thread of the program may outlive its kernel."""
    with serving(Cells()) as kernel:
        comm = kernel.comms.open("target")
    kernel.write("stdout", "too late")
    kernel.display({"text/plain": "too late"})
    comm.send({})
    kernel.flush()


def test_a_flood_of_flushes_does_not_outlive_the_stop() -> None:
    """A thread that flushes while the kernel stops is let go, whenever the stop comes."""
    for _ in range(20):
        with serving(Cells()) as kernel:
            begun, end = threading.Event(), threading.Event()

            def work(kernel: Kernel = kernel, begun: threading.Event = begun, end: threading.Event = end) -> None:
                while not end.is_set():
                    kernel.write("stdout", "x")
                    kernel.flush()
                    begun.set()

            worker = threading.Thread(target=work)
            worker.start()
            assert begun.wait(DEADLINE)
        end.set()
        worker.join(DEADLINE)
        assert not worker.is_alive()


def test_a_kernel_serves_inside_a_running_event_loop() -> None:
    async def main() -> None:
        handler = Cells(hello=hello)
        kernel = Kernel(handler, tcp())
        serve = asyncio.create_task(kernel.aserve())
        while not handler.started.is_set():
            await asyncio.sleep(0)

        def talk() -> None:
            with ProtocolClient(kernel) as client:
                run(client, "hello", HELLO)
                request = client.send("shutdown_request", restart=False)
                client.iopub.expect(busy(), reply("shutdown"), idle(), parent=request)
                client.control.expect(reply("shutdown", parent=request))

        await asyncio.to_thread(talk)
        await asyncio.wait_for(serve, DEADLINE)

    asyncio.run(main())


# --- crashes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["shell", "control", "stdin", "iopub"])
def test_a_crash_of_a_channels_thread_surfaces_to_the_owner(
    channel: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `serve` and in `wait`, with its traceback in the log; all other threads end with it."""
    handler = Cells()
    kernel = Kernel(handler, tcp())
    thread = Serving(kernel)
    thread.start()
    assert handler.started.wait(DEADLINE)
    channels: dict[str, SocketBridge[Any]] = {
        "shell": kernel._shell,
        "control": kernel._control,
        "stdin": kernel._stdin,
        "iopub": kernel._iopub,
    }
    service = channels[channel]

    def crash(item: object) -> None:
        raise ArithmeticError("a fault of this library")

    monkeypatch.setattr(service, "deliver", crash)
    with caplog.at_level(logging.CRITICAL, "kernelbridge"):
        service.put(None)
        assert isinstance(thread.end(), ArithmeticError)
    with pytest.raises(ArithmeticError):
        kernel.wait(DEADLINE)
    assert f"{channel} thread crashed" in caplog.text
    assert "Traceback" in caplog.text


def test_what_the_handlers_start_raises_serve_raises() -> None:
    class Broken(Cells):
        def start(self) -> None:
            raise ValueError("no language")

    with pytest.raises(ValueError, match="no language"):
        Kernel(Broken(), tcp()).serve()


def test_kernel_info_is_answered_while_a_cell_runs() -> None:
    """On Control also while Shell is busy; on Shell when its turn comes."""
    go = threading.Event()

    def wait(kernel: Kernel) -> None:
        assert go.wait(DEADLINE)

    with ProtocolClient(Cells(wait=wait)) as client:
        cell = client.execute("wait")
        queued = client.send("kernel_info_request")
        info = client.send("kernel_info_request", channel="control")
        client.control.expect(reply("kernel_info", implementation="cells", parent=info))
        go.set()
        client.shell.expect(execute_reply(parent=cell), reply("kernel_info", parent=queued))
        client.iopub.of(info).expect(busy(), idle())
        client.iopub.expect(busy(), execute_input("wait"), idle(), parent=cell)
        client.iopub.expect(busy(), idle(), parent=queued)
