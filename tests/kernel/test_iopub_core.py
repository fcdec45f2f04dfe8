"""The order contract, without a thread or a socket: any program of puts comes out as K1-K4 and K9 say.

The machine below is the specification. It keeps the list of what was put, and what came out of the put side and the
core; at each step what has come out must be a beginning of what was put, once neighbouring texts of one stream and one
parent are joined on both sides.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, MutableSequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby, pairwise

import attrs
import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernelbridge.kernel import outputs as outputs_module
from kernelbridge.kernel.iopub import STREAM_SECONDS, IOPubCore
from kernelbridge.kernel.outputs import Flush, Item, Outputs, Publication
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.messages import Header

PARENTS = [Header("cell-1", "execute_request"), Header("cell-2", "execute_request"), None]
TYPES = ["status", "execute_input", "display_data", "comm_open", "comm_msg", "comm_close", "error", "custom"]
INTERVAL = STREAM_SECONDS / 2
MICROSECOND = 1e-6
"""What sums of times may be wrong by."""
HALVES = "\ud83d\ude00"


@attrs.frozen
class Shown:
    """One thing that was put, or came out: a text of a stream, or a message that is known by its number."""

    msg_type: str
    parent: Header | None
    stream: str = ""
    text: str = ""
    number: int = 0


def halves(text: str) -> str:
    """Return `text` with each character beyond the basic plane as a surrogate pair: the two spellings of one text."""
    units = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(units[at] + 256 * units[at + 1]) for at in range(0, len(units), 2))


def shown(publication: Publication) -> Shown:
    content = orjson.loads(publication.content)
    if publication.msg_type == "stream":
        return Shown("stream", publication.parent, content["name"], halves(content["text"]))
    return Shown(publication.msg_type, publication.parent, number=content["number"])


def joined(items: list[Shown]) -> list[Shown]:
    """Join neighbouring texts of one stream and one parent."""
    found: list[Shown] = []
    for (msg_type, parent, stream), group in groupby(items, lambda item: (item.msg_type, item.parent, item.stream)):
        if msg_type == "stream":
            found.append(Shown(msg_type, parent, stream, "".join(item.text for item in group)))
        else:
            found.extend(group)
    return found


@contextmanager
def texts_of(characters: int) -> Iterator[None]:
    """Let a text take no more than this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs_module, "STREAM_CHARACTERS", characters)
        yield


class IOPubMachine(RuleBasedStateMachine):
    """Puts from several contexts, a reader that takes them at once or late, and a clock that ticks in between."""

    def __init__(self) -> None:
        super().__init__()
        self.core = IOPubCore()
        self.queue: deque[Item] = deque()
        self.outputs = Outputs(self.enqueue, self.deliver_all)
        self.now = 0.0
        self.put: list[Shown] = []
        self.out: list[Shown] = []
        self.numbers: list[int] = []
        self.messages = 0
        self.written: list[tuple[float, int]] = []
        """When each text was written, and how many characters there were of text altogether then."""
        self.unsplit: list[range] = []
        """Between which characters of all text no message may end."""
        self.size_patch = pytest.MonkeyPatch()

    @initialize(prompt=st.booleans(), small=st.booleans())
    def begin(self, prompt: bool, small: bool) -> None:
        self.prompt = prompt
        self.small = small
        if small:
            self.size_patch.setattr(outputs_module, "STREAM_CHARACTERS", 8)

    def teardown(self) -> None:
        self.size_patch.undo()
        self.deliver_all()
        self.emit(self.core.close())
        assert joined(self.out) == joined(self.put)

    # The two ends of the queue

    def enqueue(self, item: Item, ring: bool) -> bool:
        self.queue.append(item)
        if self.prompt:
            self.deliver_all()
        return True

    def deliver_all(self) -> None:
        while self.queue:
            self.emit(self.core.feed(self.queue.popleft(), self.now))

    def emit(self, steps: list[tuple[int, Publication] | Flush]) -> None:
        for step in steps:
            if isinstance(step, Flush):
                step.done()
            else:
                self.numbers.append(step[0])
                self.out.append(shown(step[1]))

    def pass_time(self, seconds: float) -> None:
        """Let time pass as the thread does: it wakes at each deadline."""
        end = self.now + seconds
        while self.core.deadline is not None and self.core.deadline <= end:
            self.now = self.core.deadline
            self.emit(self.core.tick(self.now))
        self.now = end

    # What a program does

    def write_text(self, stream: str, parent: Header | None, text: str) -> None:
        self.put.append(Shown("stream", parent, stream, halves(text)))
        self.written.append((self.now, self.characters_written() + len(halves(text))))
        self.outputs.write(stream, text, parent)

    def characters_written(self) -> int:
        return self.written[-1][1] if self.written else 0

    @rule(msg_type=st.sampled_from(TYPES), parent=st.sampled_from(PARENTS))
    def publish(self, msg_type: str, parent: Header | None) -> None:
        self.messages += 1
        self.put.append(Shown(msg_type, parent, number=self.messages))
        self.outputs.publish(msg_type, {"number": self.messages}, parent)

    @rule(
        stream=st.sampled_from(["stdout", "stderr"]),
        parent=st.sampled_from(PARENTS),
        text=st.text(alphabet="ab\n\u20ac\U0001f600", max_size=10),
    )
    def write(self, stream: str, parent: Header | None, text: str) -> None:
        if text:
            self.write_text(stream, parent, text)
        else:
            self.outputs.write(stream, text, parent)

    @rule(parent=st.sampled_from(PARENTS), gap=st.floats(0, INTERVAL * 0.99))
    def write_a_pair_in_halves(self, parent: Header | None, gap: float) -> None:
        start = self.characters_written()
        self.write_text("stdout", parent, HALVES[0])
        self.pass_time(gap)
        self.write_text("stdout", parent, HALVES[1])
        self.unsplit.append(range(start + 1, start + 2))

    @precondition(lambda self: not self.small)
    @rule(parent=st.sampled_from(PARENTS), text=st.text(alphabet="ab", min_size=1), gap=st.floats(0, INTERVAL * 0.99))
    def print_a_line(self, parent: Header | None, text: str, gap: float) -> None:
        """Do as print does: two writes, and the timer may strike between them."""
        begun = bool(self.put) and self.put[-1].msg_type == "stream" and not self.put[-1].text.endswith("\n")
        start = self.characters_written()
        self.write_text("stdout", parent, text)
        self.pass_time(gap)
        self.write_text("stdout", parent, "\n")
        if not begun:
            self.unsplit.append(range(start + 1, start + len(text) + 1))

    @rule()
    def flush(self) -> None:
        """A flush returns when all that was put before it is out, and not without a reader that takes it."""
        if self.prompt:
            self.outputs.flush()
            assert joined(self.out) == joined(self.put)

    @rule(seconds=st.sampled_from([0.001, INTERVAL / 2, INTERVAL, STREAM_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule()
    def take(self) -> None:
        self.deliver_all()

    # What holds at each step

    @invariant()
    def what_came_out_is_a_beginning_of_what_was_put(self) -> None:
        """K1-K4: the order of the puts, their parents, their text letter for letter, merged between neighbours only."""
        out, put = joined(self.out), joined(self.put)
        if not out:
            return
        assert out[:-1] == put[: len(out) - 1]
        last, begun = out[-1], put[len(out) - 1]
        assert attrs.evolve(last, text="") == attrs.evolve(begun, text="")
        assert begun.text.startswith(last.text)

    @invariant()
    def numbers_are_gapless(self) -> None:
        """K9."""
        assert self.numbers == list(range(1, len(self.out) + 1))

    @invariant()
    def no_text_is_older_than_its_age(self) -> None:
        """K3: what was written 80 ms ago is out, where the reader takes what is there."""
        if not getattr(self, "prompt", False):
            return
        old = max((total for when, total in self.written if when < self.now - STREAM_SECONDS - MICROSECOND), default=0)
        assert sum(len(item.text) for item in self.out) >= old

    @invariant()
    def no_message_is_empty_and_none_splits_what_belongs_together(self) -> None:
        """K3: no half of a surrogate pair, and no piece of a line that was printed as one."""
        ends, total = set(), 0
        for item in self.out:
            assert item.msg_type != "stream" or item.text
            total += len(item.text)
            ends.add(total)
        pieces = [span for span in self.unsplit if span.stop <= total and ends & set(span)]
        assert not pieces


IOPubMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestIOPub = IOPubMachine.TestCase


# --- one line of the contract at a time -----------------------------------------------------------------------------


class Reader:
    """The put side and the core with nothing in between: what is put is fed at once."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.core = IOPubCore()
        self.out: list[Shown] = []
        self.now = 0.0
        self.outputs = Outputs(self._enqueue, lambda: None, limits or Limits())

    def _enqueue(self, item: Item, ring: bool) -> bool:
        self._emit(self.core.feed(item, self.now))
        return True

    def _emit(self, steps: list[tuple[int, Publication] | Flush]) -> None:
        for step in steps:
            if isinstance(step, Flush):
                step.done()
            else:
                self.out.append(shown(step[1]))

    def tick(self, now: float) -> None:
        self.now = now
        self._emit(self.core.tick(now))

    @property
    def texts(self) -> list[str]:
        return [item.text for item in self.out]


def collect(queue: MutableSequence[Item]) -> Callable[[Item, bool], bool]:
    """Return the putting end of a queue that nobody reads yet."""

    def enqueue(item: Item, ring: bool) -> bool:
        queue.append(item)
        return True

    return enqueue


def test_neighbouring_writes_are_one_message() -> None:
    reader = Reader()
    for _ in range(1000):
        reader.outputs.write("stdout", "x", None)
    reader.outputs.flush()
    assert reader.texts == ["x" * 1000]


def test_a_begun_line_is_held_for_one_interval_and_shown_after_the_next() -> None:
    reader = Reader()
    reader.outputs.write("stdout", "whole\nbegun", None)
    reader.tick(INTERVAL)
    assert reader.texts == ["whole\n"]
    reader.tick(STREAM_SECONDS)
    assert reader.texts == ["whole\n", "begun"]
    assert reader.core.deadline is None


def test_a_tick_before_the_deadline_shows_nothing() -> None:
    reader = Reader()
    reader.outputs.write("stdout", "whole\n", None)
    reader.tick(INTERVAL * 0.9)
    assert reader.texts == []


def test_an_idle_reader_has_no_deadline() -> None:
    """A kernel at rest does not wake up."""
    reader = Reader()
    assert reader.core.deadline is None
    reader.outputs.write("stdout", "x", None)
    assert reader.core.deadline == INTERVAL
    reader.outputs.publish("status", {"number": 1}, None)
    assert reader.core.deadline is None


def test_a_pair_is_not_split_where_a_text_is_full() -> None:
    """K3: the text that has grown to its size takes the other half all the same."""
    reader = Reader()
    with texts_of(8):
        reader.outputs.write("stdout", "1234567" + HALVES[0], None)
        reader.outputs.write("stdout", HALVES[1] + "rest", None)
        reader.outputs.flush()
        reader.outputs.write("stdout", "1234", None)
        reader.outputs.write("stdout", "567" + HALVES[0], None)
        reader.outputs.write("stdout", HALVES[1] + "rest", None)
        reader.outputs.flush()
    assert [text.count(HALVES) for text in reader.texts] == [1, 1]


def test_content_says_what_was_true_at_the_put() -> None:
    """Also where it waits: what is changed afterwards is not seen."""
    queue: list[Item] = []
    outputs = Outputs(collect(queue), lambda: None)
    content, metadata, buffer = {"a": 1}, {"m": {"n": 1}}, bytearray(b"abc")
    outputs.publish("comm_msg", content, None, metadata, [buffer])
    content["a"], metadata["m"]["n"], buffer[0] = 2, 2, 0
    (publication,) = queue
    assert isinstance(publication, Publication)
    assert publication.content == b'{"a":1}'
    assert publication.buffers == [b"abc"]
    assert publication.metadata == b'{"m":{"n":1}}'


def test_a_message_over_the_limit_is_refused_with_its_size_and_the_limit() -> None:
    reader = Reader(Limits(100))
    with pytest.raises(WireError, match=r"comm_msg is not sent: message of 1\d\d bytes is over the limit of 100 bytes"):
        reader.outputs.publish("comm_msg", {"number": 1}, None, None, [bytes(100)])
    assert reader.out == []


def test_what_a_finalizer_prints_while_an_item_takes_its_place_comes_behind_it() -> None:
    """The garbage collector may run anywhere, also on the thread that holds the lock."""
    queue: list[Item] = []

    def enqueue(item: Item, ring: bool) -> bool:
        if not queue:
            outputs.publish("display_data", {"number": 2}, None)
            outputs.flush()
        queue.append(item)
        return True

    outputs = Outputs(enqueue, lambda: None)
    outputs.publish("display_data", {"number": 1}, None)
    numbers = [shown(item).number for item in queue if isinstance(item, Publication)]
    assert numbers == [1, 2]


def test_a_flush_returns_at_once_where_nobody_reads_any_more() -> None:
    Outputs(lambda item, ring: False, lambda: None).flush()


def test_many_threads_lose_nothing_and_keep_their_own_order() -> None:
    """K2: what one thread puts arrives in its program order, whatever the mix; nothing is lost, nothing twice."""
    threads, rounds = 4, 500
    arrived: deque[Item] = deque()
    outputs = Outputs(collect(arrived), lambda: None)
    start = threading.Barrier(threads + 1)

    def put(thread: int) -> None:
        start.wait()
        for number in range(rounds):
            outputs.write("stdout", f"<{thread}.{3 * number}>", None)
            outputs.write("stdout", f"<{thread}.{3 * number + 1}>", None)
            if number % 3 == 0:
                outputs.publish("comm_msg", {"thread": thread, "number": 3 * number + 2}, None)

    core, order = IOPubCore(), list[str]()

    def read(steps: list[tuple[int, Publication] | Flush]) -> None:
        for step in steps:
            assert not isinstance(step, Flush)
            content = orjson.loads(step[1].content)
            order.append(content["text"] if "text" in content else f"<{content['thread']}.{content['number']}>")

    with ThreadPoolExecutor(threads) as pool:
        done = [pool.submit(put, thread) for thread in range(threads)]
        start.wait()
        # A reader that takes while they put, and ticks whenever it has something: texts are closed under their hands.
        while not all(one.done() for one in done) or arrived:
            if arrived:
                read(core.feed(arrived.popleft(), 0.0))
                read(core.tick(1e9))
    read(core.close())
    found = [name.split(".") for name in "".join(order).strip("<>").split("><")]
    for thread in range(threads):
        own = [int(number) for who, number in found if who == str(thread)]
        expected = sorted(
            3 * number + offset for number in range(rounds) for offset in range(3 if number % 3 == 0 else 2)
        )
        assert own == expected
        assert all(before < after for before, after in pairwise(own))
