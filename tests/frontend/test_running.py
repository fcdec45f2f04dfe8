"""Executions as a frontend holds them: their states, their turn, cancelling, interrupts, time (F2, F6, F7)."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.errors import BridgeClosedError
from kernelbridge.frontend.execution_queue import ANSWER_WAIT
from kernelbridge.frontend.execution_states import State
from kernelbridge.testing import (
    DEADLINE,
    ManualKernel,
    Scriptable,
    VirtualClock,
    busy,
    comm_msg,
    error,
    execute_input,
    execute_request,
    handle,
    idle,
    message,
    reply,
    request,
)
from tests.support.bridges import played
from tests.support.running import running

FAILS = (busy(), error("E", "", []), reply(status="error"), idle())


@pytest.fixture(scope="module", params=["kernelbridge", "python3"])
def bridge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A kernel that runs: the built-in one, and ipykernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("i")))
        with running(request.param) as bridge:
            yield bridge


class TestTurns:
    def test_the_kernel_is_asked_when_the_one_before_has_ended(self) -> None:
        with played() as (kernel, bridge):
            first, second = bridge.execute("1"), bridge.execute("2")
            asked = kernel.take(execute_request("1"))
            assert [str(first.state), str(second.state)] == ["running", "queued"]
            kernel.play(busy(), reply(), parent=asked)
            assert kernel.waiting() == []
            kernel.play(idle(), parent=asked)
            assert first.wait(DEADLINE) is State.OK
            kernel.play(*FAILS, parent=kernel.take(execute_request("2")))
            assert second.wait(DEADLINE) is State.ERROR

    def test_who_has_read_the_error_can_ask_for_more(self) -> None:
        """K11: what waited before is aborted, also by a failure whose reply is still on its way."""
        with played() as (kernel, bridge):
            failing, waiting = bridge.execute("1"), bridge.execute("2")
            asked = kernel.take(execute_request("1"))
            kernel.play(busy(), error("E", "", []), parent=asked)
            next(message for message in failing if message.msg_type == "error")
            after = bridge.execute("3")
            kernel.play(reply(status="error"), idle(), parent=asked)
            kernel.play(handle(), parent=kernel.take(execute_request("3")))
            states = [execution.wait(DEADLINE) for execution in (failing, waiting, after)]
            assert states == [State.ERROR, State.ABORTED, State.OK]

    def test_the_kernel_gets_everything_in_the_order_in_which_it_was_asked_for(self) -> None:
        with played() as (kernel, bridge):
            bridge.execute("1")
            bridge.complete("at once")
            last = bridge.execute("2")
            bridge.send_comm("comm_msg", {"comm_id": "c", "data": {}})
            for expected in (execute_request("1"), request("complete"), execute_request("2"), comm_msg(comm_id="c")):
                kernel.play(handle(), parent=kernel.take(expected))
            assert last.wait(DEADLINE) is State.OK

    def test_completion_and_inspection_change_no_cells_state(self) -> None:
        with played() as (kernel, bridge):
            execution = bridge.execute("1")
            asked = kernel.take(execute_request("1"))
            kernel.play(busy(), execute_input("1"), parent=asked)
            for question, kind in ((bridge.complete("a"), "complete"), (bridge.inspect("a"), "inspect")):
                kernel.play(handle(), parent=kernel.take(request(kind)))
                question.result(DEADLINE)
                assert execution.state is State.RUNNING
            kernel.play(reply(), idle(), parent=asked)
            assert execution.wait(DEADLINE) is State.OK

    def test_its_number_is_the_kernels(self) -> None:
        with played() as (kernel, bridge):
            execution, silent = bridge.execute("1"), bridge.execute("2", silent=True)
            assert execution.execution_count is None
            kernel.play(handle(execute_input("1", execution_count=7)), parent=kernel.take(execute_request("1")))
            kernel.play(handle(), parent=kernel.take(execute_request("2")))
            assert silent.wait(DEADLINE) is State.OK
            assert [execution.execution_count, silent.execution_count] == [7, None]


class TestAborts:
    def test_a_cancelled_one_is_never_sent_and_its_reply_says_aborted(self) -> None:
        with played() as (kernel, bridge):
            running, waiting = bridge.execute("1"), bridge.execute("2")
            assert waiting.cancel()
            assert not waiting.cancel()
            assert not running.cancel()
            assert waiting.result(0).content == {"status": "aborted"}
            assert waiting.result(0).parent == waiting.header
            assert list(waiting) == []
            kernel.play(handle(), parent=kernel.take(execute_request("1")))
            assert running.wait(DEADLINE) is State.OK

    def test_one_can_be_cancelled_before_the_kernel_is_ready(self) -> None:
        bridge = launch("kernelbridge")
        with bridge:
            cancelled, kept = bridge.execute("1"), bridge.execute("2")
            assert cancelled.cancel() or cancelled.state is not State.QUEUED
            assert kept.wait(DEADLINE) is State.OK

    def test_a_failure_aborts_what_waits(self) -> None:
        with played() as (kernel, bridge):
            failing, waiting = bridge.execute("1"), bridge.execute("2")
            kernel.play(*FAILS, parent=kernel.take(execute_request("1")))
            assert [failing.wait(DEADLINE), waiting.wait(DEADLINE)] == [State.ERROR, State.ABORTED]
            after = bridge.execute("3", stop_on_error=False)
            behind = bridge.execute("4")
            kernel.play(*FAILS, parent=kernel.take(execute_request("3")))
            kernel.play(handle(), parent=kernel.take(execute_request("4")))
            assert [after.wait(DEADLINE), behind.wait(DEADLINE)] == [State.ERROR, State.OK]

    def test_what_is_open_dies_when_the_bridge_closes(self) -> None:
        with played() as (kernel, bridge):
            running, waiting = bridge.execute("1"), bridge.execute("2")
            kernel.take(execute_request("1"))
            bridge.close()
            refused = bridge.execute("3")
            for execution in (running, waiting, refused):
                assert execution.wait(DEADLINE) is State.DIED
                with pytest.raises(BridgeClosedError):
                    execution.result(0)


class TestInterrupts:
    """F7, with kernels that run."""

    def test_f7_what_runs_ends_what_waits_is_aborted_and_what_comes_afterwards_runs(self, bridge: Bridge) -> None:
        running = bridge.execute("import time; print('here'); time.sleep(1000)")
        before = bridge.execute("'never'")
        assert next(message for message in running if message.msg_type == "stream")
        bridge.interrupt()
        after = bridge.execute("print('runs')")
        assert running.wait(DEADLINE) is State.INTERRUPTED
        assert running.result(0).content["ename"] == "KeyboardInterrupt"
        assert before.wait(DEADLINE) is State.ABORTED
        assert after.wait(DEADLINE) is State.OK
        assert [output["text"] for output in after.outputs] == ["runs\n"]

    def test_f7_one_that_was_sent_and_has_not_begun_ends_too(self, bridge: Bridge) -> None:
        """ipykernel sends no reply to what is interrupted before its first line."""
        for _ in range(20):
            running, before = bridge.execute("import time; time.sleep(1000)"), bridge.execute("'never'")
            bridge.interrupt()
            after = bridge.execute("1")
            states = [execution.wait(DEADLINE) for execution in (running, before, after)]
            assert states == [State.INTERRUPTED, State.ABORTED, State.OK]

    def test_a_timeout_interrupts_what_runs_too_long_and_nothing_else(self, bridge: Bridge) -> None:
        slow = bridge.execute("import time; time.sleep(1000)", timeout=0.2, stop_on_error=False)
        quick = bridge.execute("1", timeout=DEADLINE)
        assert (slow.wait(DEADLINE), slow.timed_out) == (State.INTERRUPTED, True)
        assert (quick.wait(DEADLINE), quick.timed_out) == (State.OK, False)

    def test_f9_an_unanswered_question_blocks_no_interrupt(self, bridge: Bridge) -> None:
        asked: list[str] = []

        async def main() -> None:
            waits = asyncio.Event()

            async def on_input(prompt: str, password: bool) -> str:
                asked.append(prompt)
                waits.set()
                await asyncio.Event().wait()
                return "never"

            execution = bridge.execute("input('? ')", on_input=on_input)
            await waits.wait()
            bridge.interrupt()
            assert await execution.ended() is State.INTERRUPTED

        asyncio.run(main())
        assert asked == ["? "]
        for thread in threading.enumerate():
            if thread.name == "kernelbridge-frontend-input":
                thread.join(DEADLINE)

    def test_an_interrupt_waits_for_the_beginning_of_what_was_sent(self) -> None:
        with played() as (kernel, bridge):
            execution = bridge.execute("1")
            asked = kernel.take(execute_request("1"))
            interrupt = bridge.interrupt()
            assert interrupt is not None
            kernel.play(busy(), execute_input("1"), parent=asked)
            kernel.play(reply(), parent=kernel.take(request("interrupt")))
            interrupt.result(DEADLINE)
            kernel.play(error("KeyboardInterrupt", "", []), reply(status="error"), idle(), parent=asked)
            assert execution.wait(DEADLINE) is State.INTERRUPTED

    def test_nothing_is_sent_until_the_kernel_has_answered_the_interrupt(self) -> None:
        with played() as (kernel, bridge):
            interrupt = bridge.interrupt()
            assert interrupt is not None
            after = bridge.execute("1")
            asked = kernel.take(request("interrupt"))
            assert kernel.waiting() == []
            kernel.play(reply(), parent=asked)
            kernel.play(handle(), parent=kernel.take(execute_request("1")))
            assert after.wait(DEADLINE) is State.OK

    def test_one_that_is_asked_for_before_the_kernel_is_ready_hits_nothing_that_comes_after_it(self) -> None:
        """However long the kernel takes."""
        clock = VirtualClock()
        with (
            ManualKernel(transport="inproc") as kernel,
            closing(connect(kernel.connection, context=kernel.context, clock=clock, beat_seconds=None)) as bridge,
        ):
            interrupt, after = bridge.interrupt(), bridge.execute("1")
            assert interrupt is not None
            clock.advance(10 * ANSWER_WAIT)
            kernel.become_ready()
            asked = kernel.take(request("interrupt"))
            assert kernel.waiting() == []
            kernel.play(reply(), parent=asked)
            kernel.play(handle(), parent=kernel.take(execute_request("1")))
            assert after.wait(DEADLINE) is State.OK

    @pytest.mark.parametrize(("half", "state"), [(idle(), State.INTERRUPTED), (reply(), State.OK)])
    def test_one_whose_other_half_was_lost_ends_when_it_is_interrupted(self, half: Scriptable, state: State) -> None:
        """By an interrupt from elsewhere, for instance: no bridge knew of that one."""
        with played() as (kernel, bridge):
            execution = bridge.execute("1")
            kernel.play(busy(), half, parent=kernel.take(execute_request("1")))
            # The one ends with its idle, the other with its reply: both channels have been read up to there.
            for sign in (bridge.send_comm("comm_msg", {"comm_id": "c", "data": {}}), bridge.complete("a")):
                kernel.play(handle(), parent=kernel.take(message(sign.header.msg_type)))
                sign.result(DEADLINE)
            bridge.interrupt()
            kernel.play(reply(), parent=kernel.take(request("interrupt")))
            kernel.play(handle(), parent=kernel.take(request("kernel_info")))
            assert execution.wait(DEADLINE) is state

    def test_a_request_for_an_interrupt_ends_with_the_bridge_wherever_it_is(self) -> None:
        with played() as (kernel, bridge):
            bridge.execute("1")
            interrupt = bridge.interrupt()
            kernel.take(execute_request("1"))
            bridge.close()
            assert interrupt is not None
            with pytest.raises(BridgeClosedError):
                interrupt.result(DEADLINE)


def test_the_time_is_the_clocks_and_counts_from_when_the_execution_was_sent() -> None:
    clock = VirtualClock()
    with (
        ManualKernel(transport="inproc") as kernel,
        closing(connect(kernel.connection, context=kernel.context, clock=clock, beat_seconds=None)) as bridge,
    ):
        kernel.become_ready()
        bridge.wait_ready(DEADLINE)
        first, second = bridge.execute("1"), bridge.execute("2", timeout=10)
        clock.advance(100)
        kernel.play(handle(), parent=kernel.take(execute_request("1")))
        assert first.wait(DEADLINE) is State.OK
        asked = kernel.take(execute_request("2"))
        kernel.play(busy(), execute_input("2"), parent=asked)
        clock.advance(9.999)
        assert kernel.waiting("control") == []
        clock.advance(0.001)
        kernel.play(reply(), parent=kernel.take(request("interrupt")))
        kernel.play(error("KeyboardInterrupt", "", []), reply(status="error"), idle(), parent=asked)
        assert (second.wait(DEADLINE), second.timed_out) == (State.INTERRUPTED, True)


def test_who_waits_for_the_end_of_one_that_dies_has_heard_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio logs an exception that nobody has looked at."""

    async def main() -> None:
        execution = bridge.execute("1")
        kernel.take(execute_request("1"))
        waiting = asyncio.ensure_future(execution.ended())
        await asyncio.sleep(0)
        await bridge.aclose()
        assert await waiting is State.DIED

    with played() as (kernel, bridge):
        asyncio.run(main())
    gc.collect()
    assert caplog.records == []


def test_a_wait_that_is_too_short_says_what_the_execution_does() -> None:
    with played() as (kernel, bridge):
        execution = bridge.execute("1")
        with pytest.raises(TimeoutError, match="not ended within 0 s: it is running"):
            execution.wait(0)
        kernel.play(handle(), parent=kernel.take(execute_request("1")))
        assert execution.wait(DEADLINE) is State.OK
