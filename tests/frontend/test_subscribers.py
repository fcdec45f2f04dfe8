"""Readers of one stream: the same order for all, late and slow ones, filters and callbacks (F1, F3, F5)."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import closing

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.frontend.channels import Settings
from kernelbridge.frontend.execution import Execution
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.subscribers import Backlog, Batch, Filter, Resync, Snapshot, Subscribers, Subscription
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.messages import Header, Message
from kernelbridge.wire.signing import Signer


def message(number: int, msg_type: str = "display_data", parent: str = "cell") -> Message:
    return Message(Header(str(number), msg_type), {}, Header(parent, "execute_request"))


class Stream:
    """A stream with its lock, whose snapshots tell by their status how much was published before."""

    def __init__(self) -> None:
        self.published = 0
        self.ordering = threading.Lock()
        self.subscribers = Subscribers(self.ordering)
        self.subscribers.snapshot = lambda: Snapshot(str(self.published))

    def add(self, backlog: Backlog | None = None, only: Filter | None = None, late: bool = False) -> Subscription:
        with self.ordering:
            return self.subscribers.add(backlog=backlog, only=only, begin_with_snapshot=late)

    def publish(self, count: int = 1, size: int = 0, msg_type: str = "display_data") -> None:
        batch = Batch()
        batch += [message(self.published + number, msg_type) for number in range(1, count + 1)]
        batch.size = size
        with self.ordering:
            self.published += count
            self.subscribers.hand(batch)

    def end(self) -> None:
        with self.ordering:
            self.subscribers.end()
        self.subscribers.join()


def seen(subscription: Subscription) -> list[str]:
    """What there is to read, by its number; a Resync by what it replaces."""
    found: list[str] = []
    while True:
        try:
            read = subscription.get(0)
        except (TimeoutError, EOFError):
            return found
        found.append(f"<= {read.snapshot.status}" if isinstance(read, Resync) else read.msg_id)


def test_f1_who_leaves_takes_nothing_from_the_others() -> None:
    stream = Stream()
    all_of_them = [stream.add() for _ in range(4)]
    leaving, staying = all_of_them[::2], all_of_them[1::2]
    for subscription in leaving:
        subscription.close()
    stream.publish(2)
    stream.publish()
    for subscription in staying:
        assert seen(subscription) == ["1", "2", "3"]
        subscription.close()


def test_f2_who_is_told_that_an_execution_is_done_finds_its_outputs_handed_out() -> None:
    context: Context = zmq.Context()
    link = Link(
        Settings(
            name="kernel",
            signer=Signer(b""),
            context=context,
            clock=SystemClock(),
            limits=Limits(),
            timeout=None,
            beat_seconds=None,
            may_be_busy=False,
        )
    )
    execution = Execution(link.session.header("execute_request"), "1", link.home)
    subscription = link.subscribers.add()
    link.tracker.add(execution.running)
    link.tracker.queue.open()
    link.tracker.ask(execution.running, [])
    link._replied("shell", Message(Header("r", "execute_reply"), {"status": "ok"}, execution.header))
    found: list[str] = []

    def done(future: Future[Message]) -> None:
        found.extend(subscription.get(0).msg_type for _ in range(2))

    execution._future.add_done_callback(done)
    text = Message(Header("s", "stream"), {"name": "stdout", "text": "1"}, execution.header)
    idle = Message(Header("i", "status"), {"execution_state": "idle"}, execution.header)
    link._published([text, idle])
    assert found == ["stream", "status"]
    subscription.close()
    link.close(0)
    context.term()


class TestLateReaders:
    """F3: snapshot, then live: no gap, no repeat."""

    def test_one_begins_with_what_was_before_and_sees_all_that_is_after(self) -> None:
        stream = Stream()
        stream.publish(3)
        late = stream.add(late=True)
        stream.publish(2)
        assert seen(late) == ["<= 3", "4", "5"]

    def test_without_being_asked_for_nothing_is_told_of_what_was_before(self) -> None:
        stream = Stream()
        stream.publish(3)
        reader = stream.add()
        stream.publish()
        assert seen(reader) == ["4"]


class TestSlowReaders:
    """F5: one Resync in place of the backlog, for this reader alone."""

    def test_one_that_reads_in_time_loses_nothing(self) -> None:
        stream = Stream()
        reader = stream.add(Backlog(messages=4))
        for _ in range(10):
            stream.publish(2)
            stream.publish(2)
            assert len(seen(reader)) == 4

    def test_one_that_never_reads_gets_one_resync_and_the_others_get_everything(self) -> None:
        stream = Stream()
        slow, quick = stream.add(Backlog(messages=10)), stream.add()
        for _ in range(100):
            stream.publish(5)
        assert seen(slow) == ["<= 500"]
        assert seen(quick) == [str(number) for number in range(1, 501)]
        stream.publish(2)
        assert seen(slow) == ["501", "502"]

    def test_what_was_taken_out_of_the_queue_before_is_read_before(self) -> None:
        stream = Stream()
        reader = stream.add(Backlog(messages=3))
        stream.publish(3)
        assert reader.get(0).msg_id == "1"
        stream.publish(3)
        stream.publish(3)
        assert seen(reader) == ["2", "3", "<= 9"]

    def test_a_backlog_is_bounded_in_bytes_too_and_a_single_batch_is_always_taken(self) -> None:
        stream = Stream()
        reader = stream.add(Backlog(size=100))
        stream.publish(size=1000)
        assert seen(reader) == ["1"]
        stream.publish(size=60)
        stream.publish(size=60)
        assert seen(reader) == ["<= 3"]

    def test_one_without_a_bound_keeps_all(self) -> None:
        stream = Stream()
        reader = stream.add()
        for _ in range(1000):
            stream.publish(100, size=2**20)
        assert len(seen(reader)) == 100_000

    def test_in_an_event_loop(self) -> None:
        async def main() -> None:
            stream = Stream()
            reader = stream.add(Backlog(messages=2))
            for _ in range(3):
                stream.publish(2)
            resync = await reader.aget()
            assert isinstance(resync, Resync)
            assert resync.snapshot.status == "6"
            stream.publish()
            stream.end()
            assert [read.msg_id async for read in reader] == ["7"]

        asyncio.run(main())

    def test_the_resync_is_there_to_read_after_the_end(self) -> None:
        stream = Stream()
        reader = stream.add(Backlog(messages=1))
        for _ in range(3):
            stream.publish()
        stream.end()
        assert [type(read) for read in reader] == [Resync]

    def test_one_that_overran_and_leaves_is_forgotten(self) -> None:
        stream = Stream()
        reader = stream.add(Backlog(messages=1))
        for _ in range(3):
            stream.publish()
        reader.close()
        stream.publish()
        assert stream.subscribers._subscriptions == []

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(["publish", "read one", "read all"]), st.integers(1, 4))))
    def test_whatever_a_reader_does_it_sees_each_message_or_a_snapshot_behind_it(
        self, program: list[tuple[str, int]]
    ) -> None:
        """F3, F5: no gap, no repeat, in whatever pace it is read."""
        stream = Stream()
        reader = stream.add(Backlog(messages=5))
        read: list[str] = []
        for action, count in program:
            if action == "publish":
                stream.publish(count)
            elif action == "read all":
                read += seen(reader)
            else:
                try:
                    one = reader.get(0)
                except TimeoutError:
                    continue
                read.append(f"<= {one.snapshot.status}" if isinstance(one, Resync) else one.msg_id)
        read += seen(reader)
        known = 0
        for entry in read:
            if entry.startswith("<= "):
                assert int(entry[3:]) > known + 5
                known = int(entry[3:])
            else:
                known += 1
                assert int(entry) == known
        assert known == stream.published


class TestFilters:
    def test_a_reader_gets_what_it_asked_for(self) -> None:
        stream = Stream()
        types = stream.add(only=Filter(types=frozenset({"stream"})))
        same_types = stream.add(only=Filter(types=frozenset({"stream"})))
        parent = stream.add(only=Filter(parent_id="another"))
        stream.publish(2)
        stream.publish(1, msg_type="stream")
        with stream.ordering:
            stream.subscribers.hand([message(9, parent="another"), Message(Header("10", "status"), {})])
        assert [seen(types), seen(same_types), seen(parent)] == [["3"], ["3"], ["9"]]

    def test_only_what_passes_counts_for_the_bound(self) -> None:
        stream = Stream()
        reader = stream.add(Backlog(messages=3), Filter(types=frozenset({"stream"})))
        stream.publish(1, msg_type="stream")
        for _ in range(10):
            stream.publish(10)
        stream.publish(1, msg_type="stream")
        assert seen(reader) == ["1", "102"]

    def test_one_that_wants_nothing_and_leaves_is_forgotten(self) -> None:
        stream = Stream()
        reader = stream.add(only=Filter(types=frozenset()))
        stream.publish()
        reader.close()
        stream.publish()
        assert stream.subscribers._subscriptions == []


class TestCallbacks:
    def test_one_is_called_with_everything_in_order_until_the_end(self, caplog: pytest.LogCaptureFixture) -> None:
        stream = Stream()
        called: list[str] = []

        def on_message(read: Message) -> None:
            called.append(read.msg_id)
            if read.msg_id == "2":
                raise ValueError("the callback's own")

        stream.subscribers.call(stream.add(), on_message)
        stream.publish(2)
        stream.publish()
        stream.end()
        assert called == ["1", "2", "3"]
        assert [record.message for record in caplog.records] == [
            "a subscriber's callback failed; it is called again with the next message"
        ]

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_one_that_ends_its_thread_is_read_no_more(self) -> None:
        stream = Stream()

        def on_message(_: Message) -> None:
            raise SystemExit

        stream.subscribers.call(stream.add(), on_message)
        (thread,) = stream.subscribers._calls
        stream.publish()
        thread.join(DEADLINE)
        stream.publish()
        assert stream.subscribers._subscriptions == []

    def test_two_that_begin_at_once_are_both_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither is known before it runs, or the other would take it for one that has ended."""
        stream = Stream()
        start = threading.Thread.start
        alone: list[bool] = []

        def start_alone(thread: threading.Thread) -> None:
            alone.append(stream.subscribers._calling.locked())
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_alone)
        for _ in range(2):
            stream.subscribers.call(stream.add(), lambda _: None)
        assert alone == [True, True]
        stream.end()
        assert [thread.is_alive() for thread in stream.subscribers._calls] == [False, False]


def test_a_reader_whose_event_loop_closes_at_this_moment_keeps_nobody_from_the_end() -> None:
    stream = Stream()
    leaving, staying = stream.add(), stream.add()

    def too_late(*_: object) -> None:
        raise RuntimeError("Event loop is closed")

    with closing(asyncio.new_event_loop()) as loop:
        waiting = loop.create_task(leaving.aget())
        loop.call_soon(loop.stop)
        loop.run_forever()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", too_late)
            stream.end()
        assert list(staying) == []
        waiting.cancel()
        loop.run_until_complete(asyncio.wait([waiting]))
