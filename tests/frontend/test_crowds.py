"""Many readers of one kernel, many bridges in one process, and a reader that never reads (F1, F5). Kernels are real.

What is asserted is order and completeness; how fast that goes is measured by the benchmarks (`deliver-100`,
`beside-floods`, `frontend-memory`).
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from kernelbridge.frontend.bridge import connect, launch
from kernelbridge.frontend.execution import Request
from kernelbridge.frontend.subscribers import Backlog, Resync, Subscription
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.messages import Message
from tests.benchmarks import usage


def read_of(subscription: Subscription, request: Request, deadline: float = DEADLINE) -> list[Message]:
    """Return what a request has caused, up to its idle."""
    read: list[Message] = []
    while not (read and read[-1].is_idle):
        message = subscription.get(deadline)
        if message.parent_id == request.msg_id:
            read.append(message)
    return read


def text_of(messages: list[Message]) -> str:
    return "".join(message.content["text"] for message in messages if message.msg_type == "stream")


def numbered(count: int) -> str:
    return "".join(f"{number}\n" for number in range(count))


def test_a_hundred_subscribers_see_the_same_in_the_same_order() -> None:
    """F1. Half of them are called, half read; every tenth wants one execution's messages only."""
    with launch() as bridge:
        called: list[list[Message]] = [[] for _ in range(50)]
        for seen in called:
            bridge.subscribe(seen.append, backlog=None)
        execution = bridge.execute("for number in range(500): print(number, flush=True)")
        reading = [bridge.subscribe(backlog=None, request=None if at % 10 else execution) for at in range(50)]
        execution.result(DEADLINE)
        last = bridge.execute("print('last')")
        last.result(DEADLINE)
    # The bridge has ended: all that they will ever see is there, and the callbacks have been called with it.
    whole = called[0]
    assert text_of(whole) == numbered(500) + "last\n"
    numbers = [message.seq for message in whole if message.seq is not None]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for seen in called:
        assert [message.msg_id for message in seen] == [message.msg_id for message in whole]
    for at, subscription in enumerate(reading):
        seen = list(subscription)
        wanted = [message for message in whole if at % 10 or message.parent_id == execution.msg_id]
        # They may have come when the first messages were there already.
        assert 0 < len(seen) <= len(wanted)
        assert [message.msg_id for message in seen] == [message.msg_id for message in wanted[-len(seen) :]]


def test_64_bridges_in_one_process_do_not_disturb_one_another(folder: Path) -> None:
    """Of 64, 63 are flooded while one runs cell after cell."""
    over = folder / "over"
    flood = f"""if True:
        import os, time
        for number in range(2000):
            print(number, flush=True)
            # Else most of what is published would wait for those who read it 63 times.
            time.sleep(0.001)
            if os.path.exists({str(over)!r}):
                break
    """
    with launch() as flooding, launch() as quiet, ExitStack() as stack:
        assert flooding.connection is not None
        flooded = [stack.enter_context(connect(flooding.connection)) for _ in range(62)]
        flooded.append(flooding)
        subscriptions = [bridge.subscribe(backlog=None) for bridge in flooded]
        own = quiet.subscribe()
        execution = flooding.execute(flood)
        next(message for message in execution if message.msg_type == "stream")
        for number in range(5):
            cell = quiet.execute(f"print({number})")
            cell.result(DEADLINE)
            assert text_of(read_of(own, cell)) == f"{number}\n"
        over.touch()
        execution.result(DEADLINE)
        whole = execution.messages
        assert text_of(whole) == numbered(sum(message.msg_type == "stream" for message in whole))
        for subscription in subscriptions:
            assert [message.seq for message in read_of(subscription, execution)] == [message.seq for message in whole]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="the memory that was used at the most is read from /proc")
@pytest.mark.parametrize(
    ("name", "end", "bound"),
    [
        # Each line is a message.
        ("kernelbridge", "flush=True", Backlog()),
        # ipykernel drops messages of its own accord when more than 1,000 wait (nbconvert#659): here many lines are one.
        ("python3", "", Backlog(size=2**16)),
    ],
)
def test_f5_who_never_reads_while_200000_lines_are_printed_gets_one_resync(name: str, end: str, bound: Backlog) -> None:
    """Others read all of it, in order. What waits for it is dropped when it is over the bound, and not kept."""
    count, deadline = 200_000, 10 * DEADLINE
    with launch(name) as bridge:
        never = bridge.subscribe(backlog=bound)
        called: list[str] = []
        calls = bridge.subscribe(lambda message: called.append(message.content["text"]), types=["stream"], backlog=None)
        reading = bridge.subscribe(backlog=None)
        # The highest so far begins anew.
        Path("/proc/self/clear_refs").write_text("5")
        before = usage.peak(os.getpid())
        # It is not held: whoever holds an execution holds its messages.
        request = bridge.execute(f"for number in range({count}): print(number, {end})").running
        most, text = [0, 0], []
        for message in reading:
            if message.msg_type == "stream":
                text.append(message.content["text"])
                most = [max(pair) for pair in zip(most, never._put, strict=True)]
            if message.is_idle and message.parent_id == request.msg_id:
                break
        after = usage.peak(os.getpid())
        request.result(deadline)
        assert "".join(text) == numbered(count)
        print(f"{name}: {len(text)} messages, {(after - before) / 1e6:.0f} MB more at the most")
        # What was put into its queue before it was over the bound, of which nothing is left: where it was is a mark.
        assert 0 < most[0] <= bound.messages
        assert 0 < most[1] <= bound.size
        assert never._batches.sync_q.qsize() == 1

        last = bridge.execute("print('last')")
        # Whoever comes back gets the present state, and all from there on.
        first = never.get(deadline)
        assert isinstance(first, Resync)
        assert all(not isinstance(message, Resync) for message in read_of(never, last, deadline))
    assert calls.closed
    assert "".join(called) == numbered(count) + "last\n"
