"""The frontend's timers, by virtual time: nothing happens before its time, and what is due happens at it."""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.errors import KernelStartError
from kernelbridge.testing import DEADLINE, ManualKernel, ScriptedKernel, VirtualClock, handle, on, reply, request


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def inproc(protocol_version: str = "5.5", welcome: bool | None = None) -> ManualKernel:
    """Return a kernel of whose messages the clock knows whether they have arrived."""
    return ManualKernel(transport="inproc", protocol_version=protocol_version, welcome=welcome)


def connected(
    kernel: ManualKernel, clock: VirtualClock, timeout: float | None = None
) -> AbstractContextManager[Bridge]:
    return closing(connect(kernel.connection, context=kernel.context, clock=clock, timeout=timeout))


@pytest.fixture
def mute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that says nothing, named mute: the pipe through which it tells that it has been started."""
    spec = folder / "jupyter" / "kernels" / "mute"
    spec.mkdir(parents=True)
    pipe = folder / "started"
    os.mkfifo(pipe)
    program = f"import signal; open({str(pipe)!r}, 'w').close(); signal.pause()"
    argv = [sys.executable, "-c", program]
    # It knows registration files (JEP 66).
    fields = {"argv": argv, "display_name": "mute", "language": "python", "kernel_protocol_version": "5.6"}
    (spec / "kernel.json").write_text(json.dumps(fields))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    return pipe


class TestStart:
    def test_a_kernel_that_never_answers_is_given_up_when_its_time_is_up(self, clock: VirtualClock) -> None:
        with inproc() as kernel, connected(kernel, clock, timeout=60) as bridge:
            kernel.take(request("kernel_info"))
            execution = bridge.execute("1")
            clock.advance(59.999)
            assert (bridge.status, execution.done) == ("starting", False)
            clock.advance(0.001)
            assert (bridge.status, execution.done) == ("dead", True)
            for wait in (bridge.wait_ready, execution.result):
                with pytest.raises(
                    KernelStartError, match=r"was not ready after 60 s: it has not answered .* on Shell"
                ):
                    wait(0)

    def test_a_kernel_that_is_ready_in_time_is_not_given_up_later(self, clock: VirtualClock) -> None:
        with inproc() as kernel, connected(kernel, clock, timeout=60) as bridge:
            clock.advance(59.999)
            kernel.become_ready()
            bridge.wait_ready(DEADLINE)
            clock.advance(1)
            assert bridge.status == "idle"

    def test_a_kernel_that_promises_a_welcome_is_asked_again_after_a_second(self, clock: VirtualClock) -> None:
        """JEP 65: a kernel of 5.5 sends iopub_welcome; one that only promises it is not waited for for ever."""
        with inproc(welcome=False) as kernel, connected(kernel, clock) as bridge:
            # The reply alone does not say that anything would come on IOPub.
            kernel.play(reply(), parent=kernel.take(request("kernel_info")))
            clock.advance(0.999)
            assert kernel.waiting() == []
            clock.advance(0.001)
            kernel.play(handle(), parent=kernel.take(request("kernel_info")))
            bridge.wait_ready(DEADLINE)

    def test_an_older_kernel_is_asked_more_and_more_seldom_until_something_comes(self, clock: VirtualClock) -> None:
        """JEP 65."""
        with inproc("5.3") as kernel, connected(kernel, clock) as bridge:
            for wait in (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1, 0.1):
                kernel.play(reply(), parent=kernel.take(request("kernel_info")))
                clock.advance(wait - 0.001)
                assert kernel.waiting() == []
                clock.advance(0.001)
            kernel.play(handle(), parent=kernel.take(request("kernel_info")))
            bridge.wait_ready(DEADLINE)

    def test_a_start_is_made_while_the_clock_flows(self, clock: VirtualClock) -> None:
        """An older kernel is asked as often as it takes, and nothing else has to advance the clock for it."""
        script = (on(request("kernel_info"), reply()) for _ in range(3))
        with ScriptedKernel(*script, protocol_version="5.3") as kernel:
            bridge = connect(kernel.connection, clock=clock)
            with closing(bridge), clock.flowing():
                bridge.wait_ready(DEADLINE)
            # After 2, 4 and 8 ms: the fourth request got an idle as well.
            assert clock.monotonic() >= 0.014

    def test_a_kernel_that_never_registers_is_given_up_when_its_time_is_up(
        self, mute: Path, clock: VirtualClock
    ) -> None:
        """JEP 66."""
        with closing(launch("mute", transport="tcp", timeout=30, clock=clock)) as bridge:
            mute.read_bytes()
            clock.advance(29.999)
            assert bridge.status == "starting"
            clock.advance(0.001)
            with pytest.raises(KernelStartError, match=r"was not ready after 30 s: it has not reported its ports"):
                bridge.wait_ready(DEADLINE)


class TestEnd:
    def test_a_process_that_does_not_obey_is_killed_when_its_grace_is_over(
        self, mute: Path, clock: VirtualClock
    ) -> None:
        """F11."""
        with closing(launch("mute", transport="tcp", timeout=None, clock=clock)) as bridge:
            mute.read_bytes()
            bridge.shutdown(grace=5)
            clock.advance(4.999)
            assert bridge.status == "starting"
            clock.advance(0.001)
            with pytest.raises(KernelStartError, match="'mute' was ended by SIGKILL while starting"):
                bridge.wait_ready(DEADLINE)

    def test_the_shortest_grace_counts(self, mute: Path, clock: VirtualClock) -> None:
        with closing(launch("mute", transport="tcp", timeout=None, clock=clock)) as bridge:
            mute.read_bytes()
            for grace in (3600, 5, 600):
                bridge.shutdown(grace=grace)
            clock.advance(5)
            with pytest.raises(KernelStartError, match="'mute' was ended by SIGKILL while starting"):
                bridge.wait_ready(DEADLINE)


class TestHeartbeat:
    def test_the_last_beat_is_when_the_echo_came(self, clock: VirtualClock) -> None:
        with inproc() as kernel, connected(kernel, clock) as bridge:
            clock.advance(2.5)
            assert bridge.last_beat is None
            # It echoes, and the frontend reads the echo.
            kernel.become_ready()
            clock.advance(0)
            assert bridge.last_beat == 2.5
            clock.advance(10)
            assert bridge.last_beat == 2.5


class TestCallers:
    def test_the_waits_of_a_caller_are_in_real_time(self, clock: VirtualClock) -> None:
        """A test's own deadline is met also where the clock stands."""
        with inproc() as kernel, connected(kernel, clock) as bridge:
            kernel.become_ready()
            bridge.wait_ready(DEADLINE)
            execution = bridge.execute("1")
            kernel.take()
            for wait in (execution.result, bridge.subscribe().get):
                with pytest.raises(TimeoutError):
                    wait(0.001)
            assert clock.monotonic() == 0
