"""What leaves when (K3): a flush and the end let all out that was put, and a hush ends for all of it.

Where a test needs a text that nobody shows by itself, it lets texts grow as old as an hour.
"""

from __future__ import annotations

import threading

import pytest

from kernelbridge.kernel import outputs as outputs_module
from kernelbridge.kernel.iopub import IOPubCore
from kernelbridge.kernel.kernel import Options
from kernelbridge.kernel.outputs import Flush, Item, Outputs, Publication, StreamText
from kernelbridge.testing import ProtocolClient, busy, execute_input, execute_reply, idle, stdout
from tests.support.kernels import Cells, serving

UNHURRIED = Options(stream_seconds=3600)


def test_k3_a_flush_is_confirmed_behind_the_text_that_was_put_before_it() -> None:
    core = IOPubCore()
    told = Flush(lambda: None)
    assert core.feed(StreamText("stdout", None, "before"), 0.0) == []
    (_, text), flush = core.feed(told, 0.0)  # type: ignore[misc]
    assert text.content == b'{"name":"stdout","text":"before"}'
    assert flush is told


def test_k3_a_long_text_is_not_cut_in_the_middle_of_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs_module, "STREAM_CHARACTERS", 8)
    items: list[Item] = []

    def enqueue(item: Item, ring: bool) -> bool:
        items.append(item)
        return True

    Outputs(enqueue, lambda: None).write("stdout", "1234567\ud83d\ude00rest", None)
    assert [item.close() for item in items if isinstance(item, StreamText)] == ["1234567\ud83d\ude00", "rest"]


def test_k3_the_timer_does_not_part_a_pair_whose_other_half_may_come() -> None:
    """It strikes when the line before the pair has been held back long enough, and the pair has just begun."""
    text = StreamText("stdout", None, "a line")
    shown, held = text.take(0)
    assert (shown, held) == ("", 6)
    text.add("\ud83d")
    shown, held = text.take(held)
    assert (shown, held) == ("a line", 1)
    text.add("\ude00\n")
    assert text.take(held) == ("\ud83d\ude00\n", 0)


def test_k2_all_that_finalizers_put_in_the_middle_of_a_put_is_there_when_it_returns() -> None:
    items: list[str] = []

    def enqueue(item: Item, ring: bool) -> bool:
        assert isinstance(item, Publication)
        if not items:
            outputs.publish("second", b"{}", None)
            outputs.publish("third", b"{}", None)
        items.append(item.msg_type)
        return True

    outputs = Outputs(enqueue, lambda: None)
    outputs.publish("first", b"{}", None)
    assert items == ["first", "second", "third"]


def test_what_is_put_while_a_hush_ends_is_rung_for() -> None:
    """Another thread may put between the two things that end a hush."""
    seen: list[str] = []

    def enqueue(item: Item, ring: bool) -> bool:
        seen.append("put")
        return True

    def ring() -> None:
        seen.append("ring")
        if seen == ["ring"]:
            outputs.publish("custom", b"{}", None)

    outputs = Outputs(enqueue, ring)
    outputs.hush()
    outputs.end_hush()
    assert seen == ["ring", "put", "ring"]


def test_k8_the_end_of_a_kernel_lets_out_what_was_put_before() -> None:
    """Also what a thread has written when nothing runs any more."""
    with serving(Cells(cell=lambda kernel: None), options=UNHURRIED) as kernel, ProtocolClient(kernel) as client:
        request = client.execute("cell")
        client.iopub.expect(busy(), execute_input("cell"), idle(), parent=request)
        client.shell.expect(execute_reply("ok", parent=request))
        writer = threading.Thread(target=kernel.write, args=("stdout", "the end"))
        writer.start()
        writer.join()
        kernel.stop()
        client.iopub.expect(stdout("the end", parent=request))
        client.expect_end()
