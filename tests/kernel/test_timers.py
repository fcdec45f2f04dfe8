"""The kernel's timers, by virtual time. When a message was sent is what its date says."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import zmq

from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.kernel.registration import ANSWER_SECONDS
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    VirtualClock,
    busy,
    execute_input,
    execute_reply,
    idle,
    message,
    stdout,
)
from kernelbridge.wire.connection import ConnectionInfo, RegistrationInfo, random_key
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.messages import Message
from tests.support.kernels import Cell, Cells, Serving, serving


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def inproc() -> ConnectionInfo:
    return ConnectionInfo(transport="inproc", ip="timers", key=random_key())


def sent_at(shown: Message) -> float:
    """Return when a message was sent, in seconds of a virtual clock."""
    return (datetime.fromisoformat(shown.header.date) - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds()


def shown_by(cell: Cell, clock: VirtualClock, *texts: str) -> list[float]:
    """Run a cell, hold that it shows these texts, and return when each was shown after the cell had begun."""
    with ProtocolClient(Cells(cell=cell), clock=clock) as client:
        request = client.execute("cell")
        first, *_ = client.iopub.expect(busy(), execute_input(), parent=request)
        shown = client.iopub.expect(*map(stdout, texts), parent=request)
        client.iopub.expect(idle(), parent=request)
        client.shell.expect(execute_reply("ok", parent=request))
    return [round(sent_at(text) - sent_at(first), 6) for text in shown]


class TestStreams:
    def test_a_line_is_shown_40_ms_after_it_was_written(self, clock: VirtualClock) -> None:
        """K3: no buffer is older than 80 ms; half of that is the interval at which it is looked at."""

        def cell(kernel: Kernel) -> None:
            kernel.write("stdout", "line\n")
            clock.advance(30)

        assert shown_by(cell, clock, "line\n") == [0.04]

    def test_a_line_that_was_begun_is_held_back_once(self, clock: VirtualClock) -> None:
        """K3."""

        def cell(kernel: Kernel) -> None:
            kernel.write("stdout", "line\nbegun")
            clock.advance(30)

        assert shown_by(cell, clock, "line\n", "begun") == [0.04, 0.08]

    def test_writes_of_one_interval_are_one_text(self, clock: VirtualClock) -> None:
        def cell(kernel: Kernel) -> None:
            for number in range(8):
                kernel.write("stdout", f"{number}\n")
                clock.advance(0.01)
            kernel.flush()

        # 40 ms after the first write of each.
        assert shown_by(cell, clock, "0\n1\n2\n3\n", "4\n5\n6\n7\n") == [0.04, 0.08]

    def test_what_follows_does_not_wait_for_a_timer(self, clock: VirtualClock) -> None:
        """K3: order never depends on a timer, only the age of a text does."""

        def cell(kernel: Kernel) -> None:
            kernel.write("stdout", "line\nbegun")
            kernel.publish("custom", {})
            kernel.write("stdout", "last")

        with ProtocolClient(Cells(cell=cell), clock=clock) as client:
            client.execute("cell")
            shown = client.iopub.expect(
                busy(), execute_input(), stdout("line\nbegun"), message("custom"), stdout("last"), idle()
            )
            client.shell.expect(execute_reply("ok"))
        assert {sent_at(each) for each in shown} == {0.0}

    def test_the_age_can_be_chosen(self, clock: VirtualClock) -> None:
        """K3."""

        def cell(kernel: Kernel) -> None:
            kernel.write("stdout", "begun")
            clock.advance(30)

        context: Context
        with (
            zmq.Context() as context,
            serving(
                Cells(cell=cell), inproc(), context=context, options=Options(stream_seconds=10), clock=clock
            ) as kernel,
            ProtocolClient(kernel, context=context) as client,
        ):
            client.execute("cell")
            _, _, shown, _ = client.iopub.expect(busy(), execute_input(), stdout("begun"), idle())
            client.shell.expect(execute_reply("ok"))
        assert sent_at(shown) == 10.0


class TestBusy:
    def test_what_a_request_that_runs_on_has_shown_is_sent_without_an_end_of_it(self, clock: VirtualClock) -> None:
        """Most requests end within 2 ms and are sent as one; who runs longer is seen to run."""
        shown, go_on = threading.Event(), threading.Event()

        def cell(kernel: Kernel) -> None:
            kernel.publish("custom", {})
            shown.set()
            assert go_on.wait(DEADLINE)

        with ProtocolClient(Cells(cell=cell), clock=clock) as client:
            client.execute("cell")
            assert shown.wait(DEADLINE)
            clock.advance(0.002)
            client.iopub.expect(busy(), execute_input(), message("custom"))
            go_on.set()
            client.iopub.expect(idle())
            client.shell.expect(execute_reply("ok"))


class TestInterrupts:
    def test_one_that_goes_unheard_is_sent_again_each_100_ms(
        self, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock
    ) -> None:
        sent: list[float] = []
        monkeypatch.setattr(signal, "pthread_kill", lambda ident, number: sent.append(round(clock.monotonic(), 6)))

        def cell(kernel: Kernel) -> None:
            bell = kernel._execution.interrupts._bell
            assert bell is not None
            # What C writes when a signal comes, and Python's handler does not run.
            bell.send(bytes([signal.SIGINT]))
            clock.advance(0.35)

        context: Context
        with zmq.Context() as context:
            cells = Cells(cell=cell)
            kernel = Kernel(cells, inproc(), context=context, clock=clock)

            def ask() -> None:
                try:
                    assert cells.started.wait(DEADLINE)
                    with ProtocolClient(kernel, context=context) as client:
                        client.execute("cell")
                        client.iopub.expect(busy(), execute_input(), idle())
                        client.shell.expect(execute_reply("ok"))
                finally:
                    kernel.end()

            with ThreadPoolExecutor(1) as pool:
                asking = pool.submit(ask)
                # On this thread, which is the main one: signals come nowhere else.
                kernel.serve()
                asking.result(DEADLINE)
        assert sent == [0.1, 0.2, 0.3]


class TestRegistration:
    def test_a_launcher_that_does_not_answer_is_given_up_after_30_s(self, clock: VirtualClock) -> None:
        """JEP 66."""
        with zmq.Context() as context, context.socket(zmq.ROUTER) as launcher:
            launcher.linger = 0
            launcher.rcvtimeo = int(DEADLINE * 1000)
            port = launcher.bind_to_random_port("tcp://127.0.0.1")
            place = RegistrationInfo(
                kernel_id="k", registration_ip="127.0.0.1", registration_port=port, key=random_key()
            )
            kernel = Kernel(Cells(), place, clock=clock)
            thread = Serving(kernel)
            thread.start()
            # Its report.
            launcher.recv_multipart()
            clock.advance(ANSWER_SECONDS - 0.001)
            assert thread.is_alive()
            clock.advance(0.001)
            failure = thread.end()
        assert isinstance(failure, WireError)
        assert str(failure) == f"no answer from tcp://127.0.0.1:{port} to the registration, 30 s long"
