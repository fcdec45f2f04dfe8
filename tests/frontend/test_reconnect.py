"""A frontend that comes back to its kernel finds its state, its comms and its history, by asking the kernel."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.comms import OpenComm
from kernelbridge.frontend.readiness import Readiness
from kernelbridge.testing import DEADLINE, ManualKernel, VirtualClock, busy, handle, idle, request, stdout
from kernelbridge.wire.messages import Header, Message

KERNELS = ["python3", "kernelbridge"]

WAITS = """
print("here", flush=True)
try:
    while True:
        pass
except KeyboardInterrupt:
    print("interrupted")
"""
COMM = "from comm import create_comm; opened = create_comm(target_name='t', comm_id='c')"


def streams(bridge: Bridge, code: str) -> list[str]:
    execution = bridge.execute(code)
    execution.result(DEADLINE)
    return [message.content["text"] for message in execution.messages if message.msg_type == "stream"]


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_computes_is_connected_to(name: str, runtime: Path) -> None:
    with launch(name) as first:
        streams(first, f"{COMM}; x = 1")
        running = first.execute(WAITS)
        next(message for message in running if message.msg_type == "stream")
        (file,) = runtime.glob("*.json")
        with connect(file) as second:
            assert second.status == "busy"
            subscription = second.subscribe()
            held = second.execute("print(x)")
            assert first.interrupt() is None
            held.result(DEADLINE)
            assert [one.content["text"] for one in held.messages if one.msg_type == "stream"] == ["1\n"]
            # What was running when it came is on the stream, though it is another frontend's.
            while (message := subscription.get(DEADLINE)).msg_type != "stream":
                pass
            assert message.content["text"] == "interrupted\n"
            assert not second.open_comms
            second.comm_info().result(DEADLINE)
            assert second.open_comms == (OpenComm("c", "t"),)
            lines = second.history("tail", n=10).result(DEADLINE).content["history"]
            assert f"{COMM}; x = 1" in [line for _, _, line in lines]
            # A reply may come before the idle; an execution is done when both have.
            assert streams(second, "print('on')") == ["on\n"]
            assert second.status == "idle"
        # The kernel is not the second bridge's: it goes on.
        assert streams(first, "print('on')") == ["on\n"]


def test_a_kernel_that_says_nothing_on_shell_is_asked_on_control() -> None:
    clock = VirtualClock()
    with (
        ManualKernel(transport="inproc", clock=clock) as kernel,
        closing(connect(kernel.connection, context=kernel.context, clock=clock)) as bridge,
    ):
        kernel.take_subscription()
        probe = kernel.take(request("kernel_info"))
        clock.advance(1)
        kernel.play(handle(), parent=kernel.take(request("kernel_info"), channel="control"))
        bridge.wait_ready(DEADLINE)
        assert bridge.status == "busy"
        # The cell ends, and what Shell was asked is answered at last: nobody takes it for something else.
        kernel.play(stdout("on"), handle(), parent=probe)
        kernel.play(busy(), idle(), parent=None)
        bridge.kernel_info()
        kernel.play(handle(), parent=kernel.take(request("kernel_info")))
    assert bridge.counters == {}


class TestReadiness:
    """Times in seconds."""

    def test_a_kernel_that_may_be_busy_is_asked_on_control_after_a_second(self) -> None:
        readiness = Readiness(0.0, None, may_be_busy=True)
        readiness.can_ask()
        readiness.probed("p1")
        assert readiness.due() == 1.0
        assert readiness.wants_probe(1.0)
        assert readiness.channel == "control"
        readiness.probed("p2")
        assert readiness.due() is None
        readiness.replied(info("p2"), 1.1)
        readiness.heard(["p2"], 1.2)
        assert (readiness.ready, readiness.busy) == (True, True)

    def test_it_is_asked_nothing_more_when_it_is_ready(self) -> None:
        """The busy and the idle of a late answer on Control would tell that nothing runs."""
        readiness = Readiness(0.0, None, may_be_busy=True)
        readiness.can_ask()
        readiness.probed("p1")
        assert readiness.wants_probe(1.0)
        readiness.probed("p2")
        readiness.replied(info("p2"), 1.1)
        readiness.probed("p3")
        readiness.heard(["p2"], 1.2)
        assert not readiness.ready
        readiness.replied(info("p3"), 1.3)
        readiness.heard(["p3"], 1.4)
        assert (readiness.ready, readiness.busy) == (True, True)

    def test_one_that_answers_on_shell_is_not_busy(self) -> None:
        readiness = Readiness(0.0, None, may_be_busy=True)
        readiness.can_ask()
        readiness.probed("p1")
        readiness.replied(info("p1"), 0.1)
        assert not readiness.wants_probe(1.0)
        readiness.heard(["p1"], 1.1)
        assert (readiness.ready, readiness.busy, readiness.channel) == (True, False, "shell")

    def test_one_that_starts_is_not_asked_there(self) -> None:
        readiness = Readiness(0.0, None)
        readiness.can_ask()
        readiness.probed("p1")
        assert readiness.due() is None


def info(msg_id: str) -> Message:
    header = Header("r", "kernel_info_reply")
    return Message(header, {"protocol_version": "5.5"}, Header(msg_id, "kernel_info_request"))
