"""F6: a death is seen by whichever detector is first, and has its consequences once."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.comms import OpenComm, OpenComms
from kernelbridge.frontend.errors import KernelDiedError, KernelStartError
from kernelbridge.frontend.heartbeat import Heartbeat
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.liveness import STABLE_SECONDS, Pulse, Restarts
from kernelbridge.frontend.process import KernelProcess
from kernelbridge.frontend.subscribers import Subscription
from kernelbridge.testing import (
    DEADLINE,
    ManualKernel,
    VirtualClock,
    busy,
    comm_close,
    comm_msg,
    comm_open,
    execute_request,
    handle,
    idle,
    reply,
    stdout,
)
from kernelbridge.wire.frames import Frame
from kernelbridge.wire.messages import Message
from tests.support.bridges import played


def states(subscription: Subscription) -> list[str]:
    """Return the states that a stream tells of up to its end, of which ``dead`` and the like are said by the bridge."""
    return [message.content["execution_state"] for message in subscription if message.msg_type == "status"]


def until(subscription: Subscription, state: str) -> list[Message]:
    """Read up to the status of this state, and return what came before."""
    found: list[Message] = []
    while (message := subscription.get(DEADLINE)).content.get("execution_state") != state:
        found.append(message)
    return found


class TestPulse:
    """Times in seconds."""

    def test_a_kernel_that_never_echoed_is_mute_and_pinged_once(self) -> None:
        pulse = Pulse(1.5)
        pulse.begin(0.0)
        assert [pulse.beat(at) for at in (1.5, 3.0, 4.5, 6.0)] == ["wait", "wait", "mute", "mute"]
        pulse.echoed()
        assert [pulse.beat(at) for at in (7.5, 9.0, 10.5, 12.0)] == ["ping", "ping", "ping", "hung"]

    def test_a_kernel_that_is_not_to_be_watched_is_not(self) -> None:
        pulse = Pulse(None)
        pulse.begin(0.0)
        pulse.echoed()
        assert pulse.due() is None

    def test_three_misses_in_a_row_are_a_hung_kernel_at_most_6_s_after_its_last_echo(self) -> None:
        pulse = Pulse(1.5)
        pulse.begin(0.0)
        pulse.echoed()
        said = []
        while (due := pulse.due()) is not None and "hung" not in said:
            said.append(pulse.beat(due))
        assert (said, due) == (["ping", "ping", "ping", "hung"], 6.0 + 1.5)

    def test_an_echo_of_any_ping_begins_the_count_anew(self) -> None:
        pulse = Pulse(1.5)
        pulse.begin(0.0)
        pulse.echoed()
        assert [pulse.beat(at) for at in (1.5, 3.0, 4.5)] == ["ping"] * 3
        pulse.echoed()
        assert [pulse.beat(at) for at in (6.0, 7.5, 9.0, 10.5)] == ["ping", "ping", "ping", "hung"]

    def test_a_hung_kernel_is_hung_until_it_echoes(self) -> None:
        pulse = Pulse(1.5)
        pulse.begin(0.0)
        pulse.echoed()
        assert [pulse.beat(at) for at in (1.5, 3.0, 4.5, 6.0, 7.5)][3:] == ["hung", "hung"]
        pulse.echoed()
        assert pulse.beat(9.0) == "ping"

    def test_a_frontend_that_was_stopped_itself_counts_one_miss(self) -> None:
        """SIGSTOP, or a laptop that slept: it is late, and what has come meanwhile is told first."""
        pulse = Pulse(1.5)
        pulse.begin(0.0)
        pulse.echoed()
        pulse.beat(1.5)
        assert pulse.beat(100.0) == "ping"
        assert pulse.due() == 101.5


class TestRestarts:
    def test_there_are_so_many_in_a_row(self) -> None:
        restarts = Restarts(2)
        assert [restarts.allows(None), restarts.allows(0.5), restarts.allows(None)] == [True, True, False]

    def test_a_kernel_that_started_well_is_none_in_the_row(self) -> None:
        restarts = Restarts(1)
        assert [restarts.allows(None), restarts.allows(STABLE_SECONDS), restarts.allows(STABLE_SECONDS - 1)] == [
            True,
            True,
            False,
        ]


class TestHeartbeat:
    """By virtual time, and with a kernel that echoes while it waits for something."""

    def test_a_kernel_that_stops_echoing_is_dead_after_three_misses_and_what_is_open_ends(self) -> None:
        clock = VirtualClock()
        with ManualKernel(transport="inproc", clock=clock) as kernel:
            with closing(connect(kernel.connection, context=kernel.context, clock=clock)) as bridge:
                kernel.become_ready()
                bridge.wait_ready(DEADLINE)
                subscription = bridge.subscribe()
                running, waiting = bridge.execute("1"), bridge.execute("2")
                kernel.play(busy(), stdout("x"), parent=kernel.take(execute_request("1")))
                clock.advance(5.999)
                assert (bridge.status, running.done) == ("busy", False)
                clock.advance(0.001)
                assert bridge.status == "dead"
                for ended in (running, waiting):
                    with pytest.raises(KernelDiedError, match=r"hangs: it has not echoed for 4\.5 s"):
                        ended.result(0)
                clock.advance(60)
            assert states(subscription).count("dead") == 1

    def test_a_kernel_that_echoes_again_in_time_goes_on(self) -> None:
        clock = VirtualClock()
        with (
            ManualKernel(transport="inproc", clock=clock) as kernel,
            closing(connect(kernel.connection, context=kernel.context, clock=clock)) as bridge,
        ):
            kernel.become_ready()
            bridge.wait_ready(DEADLINE)
            for _ in range(5):
                clock.advance(4.4)
                assert bridge.status == "idle"
                # It echoes what has come.
                kernel.settle()
                clock.advance(0)

    def test_a_bridge_that_does_not_watch_wakes_for_nothing(self) -> None:
        clock = VirtualClock()
        with ManualKernel(transport="inproc", clock=clock) as kernel:
            options: dict[str, Any] = {"context": kernel.context, "clock": clock}
            with closing(connect(kernel.connection, beat_seconds=None, **options)) as bridge:
                kernel.become_ready()
                bridge.wait_ready(DEADLINE)
                clock.advance(3600)
                assert bridge.status == "idle"


STOPS = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print('went on')"


def test_a_stopped_process_is_dead_and_does_not_go_on_when_it_is_continued() -> None:
    """It is killed: nobody would listen to it."""
    with launch(beat_seconds=None) as bridge:
        subscription = bridge.subscribe()
        execution, waiting = bridge.execute(STOPS), bridge.execute("1")
        process = bridge._link.process
        assert process is not None
        assert process._group is not None
        os.waitid(os.P_PID, process._group, os.WSTOPPED | os.WNOWAIT)
        bridge._link._silent()
        for ended in (execution, waiting):
            with pytest.raises(KernelDiedError, match="kernel 'kernelbridge' was stopped: it has not echoed"):
                ended.result(DEADLINE)
        process.wait()
    assert states(subscription).count("dead") == 1
    assert not any(message.msg_type == "stream" for message in execution.messages)


def test_a_process_that_was_stopped_before_it_could_echo_is_dead(kernel_that: Callable[..., str]) -> None:
    """It need not have shown that it knows how to."""
    name = kernel_that("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    bridge = launch(name, transport="tcp", timeout=None, beat_seconds=0.05)
    with pytest.raises(KernelStartError, match=f"kernel '{name}' was stopped: it has not echoed"):
        bridge.wait_ready(DEADLINE)
    bridge.close()


def test_a_kernel_that_does_not_know_how_to_echo_lives() -> None:
    clock = VirtualClock()
    with ManualKernel(transport="inproc", clock=clock) as kernel:
        silent = attrs.evolve(kernel.connection, hb_port=kernel.connection.hb_port + 100)
        with closing(connect(silent, context=kernel.context, clock=clock)) as bridge:
            kernel.become_ready()
            bridge.wait_ready(DEADLINE)
            clock.advance(60)
            assert (bridge.status, bridge.counters) == ("idle", {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["python3", "kernelbridge"])
def test_a_stopped_process_is_found_by_its_heartbeat(name: str) -> None:
    with launch(name) as bridge, pytest.raises(KernelDiedError, match=f"kernel '{name}' was stopped"):
        bridge.execute(STOPS).result(DEADLINE)


@pytest.mark.parametrize("name", ["python3", "kernelbridge"])
def test_a_kernel_in_a_long_call_of_c_echoes(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the GIL. Its heartbeat does not need that, and so it is not taken for dead."""
    beaten, read = threading.Semaphore(0), Heartbeat.read

    def read_and_tell(heartbeat: Heartbeat, frames: list[Frame]) -> None:
        read(heartbeat, frames)
        beaten.release()

    monkeypatch.setattr(Heartbeat, "read", read_and_tell)
    fifo, here = folder / "fifo", folder / "here"
    os.mkfifo(fifo)
    os.mkfifo(here)
    # The C library's read, called without letting go of the GIL: what was printed might wait for that.
    call = "ctypes.PyDLL(None).read(file, ctypes.create_string_buffer(1), 1)"
    code = f"import ctypes, os; file = os.open({str(fifo)!r}, os.O_RDWR); open({str(here)!r}, 'w').close(); {call}"
    with launch(name, beat_seconds=None) as bridge:
        # The kernel's thread needs the GIL to begin, which may be later than the kernel is ready.
        assert beaten.acquire(timeout=DEADLINE)
        execution = bridge.execute(code)
        here.read_bytes()
        assert bridge._link.outbox.channels is not None
        # One may still be read that was sent at the start.
        for _ in range(20):
            bridge._link.outbox.channels.heartbeat.ping()
            assert beaten.acquire(timeout=DEADLINE)
        assert not execution.done
        fifo.write_bytes(b"x")
        execution.result(DEADLINE)


@pytest.mark.parametrize(
    ("seen", "says", "dead"),
    [("runs", "busy", False), ("runs", "idle", True), ("traced", "idle", False), ("stopped", "busy", True)],
)
def test_what_is_seen_of_the_process_decides_what_its_silence_means(
    seen: Any, says: str, dead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that echoes on the thread that computes, or that a debugger holds, is not killed for it."""
    with launch(beat_seconds=None) as bridge:
        monkeypatch.setattr(KernelProcess, "state", lambda process: seen)
        bridge._link.tracker.status = says
        bridge._link._silent()
        process = bridge._link.process
        assert process is not None
        # What is decided is decided at once, and its consequences come later.
        assert ("hb: no echo" in bridge.counters) is not dead
        if dead:
            process.wait()
        assert (bridge.status == "dead") is dead


class TestOnce:
    def test_a_kernel_that_is_found_hung_and_exits_dies_once(self) -> None:
        with launch(beat_seconds=None) as bridge:
            subscription = bridge.subscribe()
            died: list[Link] = []
            bridge._link._on_death = died.append
            process = bridge._link.process
            assert process is not None
            bridge._link._silent()
            process.end(0)
            process.wait()
            bridge._link._silent()
            assert died == [bridge._link]
        assert states(subscription) == ["dead"]

    def test_open_comms_close_in_the_queue_before_the_dead_status(self) -> None:
        with played() as (kernel, bridge):
            subscription = bridge.subscribe()
            execution = bridge.execute("1")
            opened = [comm_open("t", comm_id="a"), comm_open("t", comm_id="b"), comm_close(comm_id="a")]
            kernel.play(handle(*opened), parent=kernel.take(execute_request("1")))
            execution.result(DEADLINE)
            bridge.send_comm("comm_open", {"comm_id": "mine", "target_name": "u", "data": {}})
            kernel.take(comm_open())
            assert bridge.open_comms == (OpenComm("b", "t"), OpenComm("mine", "u"))
            bridge._link._die(None)
            said = [(one.msg_type, one.content.get("comm_id")) for one in until(subscription, "dead")]
            assert said[-2:] == [("comm_close", "b"), ("comm_close", "mine")]
            assert not bridge.open_comms


class TestPolicies:
    def test_a_kernel_stays_dead_unless_something_else_is_said(self) -> None:
        with launch() as bridge:
            with pytest.raises(KernelDiedError):
                bridge.execute("import os; os._exit(3)").result(DEADLINE)
            assert bridge._lives._guard is None
            assert bridge.status == "dead"

    def test_a_kernel_is_restarted_as_often_as_it_dies(self) -> None:
        with launch(on_death="restart") as bridge:
            subscription = bridge.subscribe()
            for _ in range(2):
                with pytest.raises(KernelDiedError):
                    bridge.execute("import os; os._exit(3)").result(DEADLINE)
                until(subscription, "dead")
                until(subscription, "restarting")
                assert bridge.execute("x = 1").result(DEADLINE).content["execution_count"] == 1

    def test_a_kernel_that_never_starts_is_given_up_after_so_many_restarts(
        self, kernel_that: Callable[[str], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """No restart loop."""
        name = kernel_that("raise SystemExit('boom')")
        given_up = threading.Event()

        def notice(record: logging.LogRecord) -> bool:
            if "any more" in record.msg:
                given_up.set()
            return True

        caplog.handler.addFilter(notice)
        bridge = launch(name, transport="tcp", on_death="restart", restart_limit=2)
        subscription = bridge.subscribe()
        assert given_up.wait(DEADLINE)
        with pytest.raises(KernelStartError, match="boom"):
            bridge.wait_ready(DEADLINE)
        bridge.close()
        assert states(subscription).count("restarting") == 2

    @pytest.mark.parametrize("ends_by", ["shutdown", "close"])
    def test_a_kernel_that_was_told_to_end_has_not_died(self, ends_by: str) -> None:
        told: list[Bridge] = []
        with launch(on_death=told.append) as bridge:
            if ends_by == "shutdown":
                subscription = bridge.subscribe()
                bridge.shutdown().result(DEADLINE)
                until(subscription, "dead")
        assert told == []

    @pytest.mark.parametrize("does", [Bridge.restart, Bridge.close])
    def test_a_function_is_called_and_may_restart_or_close(self, does: Callable[[Bridge], None]) -> None:
        done = threading.Event()

        def on_death(dead: Bridge) -> None:
            does(dead)
            done.set()

        with launch(on_death=on_death) as bridge:
            with pytest.raises(KernelDiedError):
                bridge.execute("import os; os._exit(3)").result(DEADLINE)
            assert done.wait(DEADLINE)
            assert bridge.status == ("idle" if does is Bridge.restart else "closed")

    def test_a_function_that_fails_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        def on_death(_: Bridge) -> None:
            raise ZeroDivisionError("in the callback")

        with played(on_death=on_death) as (_, bridge):
            bridge._link._die(None)
        assert "in the callback" in caplog.text


def test_a_comm_that_is_closed_is_not_opened_again_by_an_older_answer() -> None:
    """As often as the kernel is asked."""
    with played() as (kernel, bridge):
        for closed in ("a", "c"):
            request = bridge.comm_info()
            asked = kernel.take()
            execution = bridge.execute("1")
            kernel.play(handle(comm_close(comm_id=closed)), parent=kernel.take(execute_request("1")))
            execution.result(DEADLINE)
            comms = {closed: {"target_name": "t"}, "b": {"target_name": "u"}}
            kernel.play(busy(), reply(comms=comms), idle(), parent=asked)
            request.result(DEADLINE)
            assert bridge.open_comms == (OpenComm("b", "u"),)
        bridge.send_comm("comm_msg", {"comm_id": "b", "data": {}})
        kernel.take(comm_msg(comm_id="b"))


class TestOpenComms:
    """What the kernel says of all of its comms may be older than what has been heard since it was asked."""

    @pytest.fixture
    def comms(self) -> OpenComms:
        comms = OpenComms()
        for comm_id in ("a", "b"):
            comms.passed("comm_open", {"comm_id": comm_id, "target_name": "t"})
        comms.asked("q")
        return comms

    def test_one_that_somebody_else_has_closed_is_closed(self, comms: OpenComms) -> None:
        comms.answered("q", {"comms": {"b": {"target_name": "t"}, "c": {"target_name": "u"}}})
        assert comms.all() == (OpenComm("b", "t"), OpenComm("c", "u"))

    def test_one_that_has_opened_since_stays_open_and_one_that_has_closed_since_stays_closed(
        self, comms: OpenComms
    ) -> None:
        for _ in range(2):
            comms.passed("comm_open", {"comm_id": "new", "target_name": "t"})
            comms.passed("comm_close", {"comm_id": "a"})
            comms.answered("q", {"comms": {"a": {"target_name": "t"}, "b": {"target_name": "t"}}})
            assert comms.all() == (OpenComm("b", "t"), OpenComm("new", "t"))
            # Asked again: the answer to that may be older, too.
            comms.passed("comm_open", {"comm_id": "a", "target_name": "t"})
            comms.passed("comm_close", {"comm_id": "new"})
            comms.asked("q")
