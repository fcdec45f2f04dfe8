"""The put side: no put is left lying, whoever else is at work, and nobody waits for himself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from kernelbridge.kernel.outputs import FULL_TEXTS, STREAM_CHARACTERS, Flush, Item, Outputs, StreamText
from kernelbridge.testing import DEADLINE


def _into(seen: list[Any], which: int) -> Callable[[Item, bool], bool]:
    """Return a queue that keeps of each put the item (0), or whether it rings (1)."""

    def enqueue(*put: Item | bool) -> bool:
        seen.append(put[which])
        return True

    return enqueue


def test_a_put_that_meets_the_end_of_the_hush_is_rung_for() -> None:
    """The hush ends after the putter looked and before its item is there: that ring comes too early for it."""
    seen: list[str] = []

    def enqueue(item: Item, ring: bool) -> bool:
        outputs.end_hush()
        seen.append(f"put, ring {ring}")
        return True

    outputs = Outputs(enqueue, lambda: seen.append("ring"))
    outputs.hush()
    outputs.publish("custom", b"{}", None)
    assert seen == ["ring", "put, ring False", "ring"]


def test_while_hushed_only_what_asks_for_it_rings() -> None:
    rings: list[bool] = []
    outputs = Outputs(_into(rings, 1), lambda: rings.append(True))
    outputs.hush()
    outputs.publish("custom", b"{}", None)
    outputs.write("stdout", "text", None)
    assert rings == [False, False]
    outputs.publish("custom", b"{}", None, ring=True)
    assert rings[2:] == [True]


def test_what_the_reader_itself_puts_waits_for_nobody() -> None:
    """A log or a __del__ on the IOPub thread: who holds the order may wait for room, which only that thread makes."""
    items: list[Item] = []
    inside, leave = threading.Event(), threading.Event()
    reader = threading.get_ident()

    def enqueue(item: Item, ring: bool) -> bool:
        if threading.get_ident() != reader:
            inside.set()
            assert leave.wait(DEADLINE)
        items.append(item)
        return True

    outputs = Outputs(enqueue, lambda: None, on_reader=lambda: threading.get_ident() == reader)
    other = threading.Thread(target=outputs.publish, args=("theirs", b"{}", None))
    other.start()
    assert inside.wait(DEADLINE)
    outputs.write("stderr", "logged", None)
    outputs.flush()
    leave.set()
    other.join(DEADLINE)
    assert [type(item).__name__ for item in items] == ["StreamText", "Publication"]


def test_k2_no_text_joins_one_that_the_reader_put_before_another_put() -> None:
    items: list[Item] = []
    on_reader = [True]
    outputs = Outputs(_into(items, 0), lambda: None, on_reader=lambda: on_reader[0])
    outputs.write("stdout", "the reader's", None)
    on_reader[0] = False
    outputs.publish("display_data", b"{}", None)
    outputs.write("stdout", "after the display", None)
    texts = [item.close() if isinstance(item, StreamText) else "-" for item in items]
    assert texts == ["the reader's", "-", "after the display"]


def test_what_is_put_in_the_middle_of_a_put_comes_behind_it() -> None:
    """The garbage collector runs finalizers anywhere, also while an item takes its place."""
    items: list[Item] = []

    def enqueue(item: Item, ring: bool) -> bool:
        if not items:
            items.append(item)
            outputs.write("stdout", "from a __del__", None)
        else:
            items.append(item)
        return True

    outputs = Outputs(enqueue, lambda: None)
    outputs.publish("custom", b"{}", None)
    assert [type(item).__name__ for item in items] == ["Publication", "StreamText"]


class Parts(list[str]):
    """The parts of a text. When a writer adds the next one, somebody else comes first, or comes next."""

    def __init__(self, parts: list[str], before: Callable[[], object], after: Callable[[], object]) -> None:
        super().__init__(parts)
        self._before, self._after = before, after

    def append(self, part: str) -> None:
        self._before()
        super().append(part)
        self._after()


def _nobody() -> None:
    return None


@pytest.mark.parametrize("same", [False, True], ids=["another text", "the same text"])
@pytest.mark.parametrize("comes", ["before", "after"])
@pytest.mark.parametrize("taken_by", ["close", "take"])
def test_k2_what_is_written_while_its_text_is_taken_is_shown_once(taken_by: str, comes: str, same: bool) -> None:
    """A writer has looked whether the text is open, and has not added its own yet, or not looked again."""
    text = StreamText("stdout", None, "first\n")
    shown: list[str] = []

    def taken() -> None:
        shown.append(text.close() if taken_by == "close" else text.take(0)[0])

    text._parts = Parts(text._parts, *((taken, _nobody) if comes == "before" else (_nobody, taken)))
    late = "first\n" if same else "second\n"
    accepted = text.add(late)
    assert accepted == (comes == "after")
    assert "".join(shown) == ("first\n" + late if accepted else "first\n")
    assert text.close() == ""


def test_k3_a_line_that_is_begun_while_all_is_taken_is_held_back() -> None:
    """The timer has found whole lines only; before it is done, a thread begins the next line."""
    text = StreamText("stdout", None, "whole\n")

    class Begun(list[str]):
        def __getitem__(self, index: Any) -> Any:
            found = super().__getitem__(index)
            if len(self) == 1:
                text.add("beg")
            return found

    text._parts = Begun(text._parts)
    assert text.take(0) == ("whole\n", 3)
    assert text.add("un\n")
    assert text.take(3) == ("begun\n", 0)


def test_what_is_printed_faster_than_it_is_sent_waits_in_the_program() -> None:
    """Not in memory: the queue holds some full texts, and then the writer waits until they are on the socket."""
    waiting: list[int] = []
    texts: list[StreamText] = []

    def enqueue(item: Item, ring: bool) -> bool:
        if isinstance(item, Flush):
            waiting.append(len(texts))
            texts.clear()
            item.done()
        elif isinstance(item, StreamText):
            texts.append(item)
        return True

    outputs = Outputs(enqueue, lambda: None)
    for _ in range(2 * FULL_TEXTS + 1):
        outputs.write("stdout", "x" * (STREAM_CHARACTERS - 1), None)
        outputs.write("stdout", "\n", None)
    assert waiting == [FULL_TEXTS, FULL_TEXTS]
    outputs.write("stdout", "x" * STREAM_CHARACTERS * (FULL_TEXTS + 1), None)
    assert waiting == [FULL_TEXTS] * 3
