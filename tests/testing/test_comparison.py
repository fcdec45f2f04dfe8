"""What makes two transcripts the same. Each kind of report is provoked and read."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelbridge.testing import (
    ProtocolFailure,
    Record,
    Transcript,
)
from kernelbridge.testing.transcripts.records import from_lines, to_lines
from kernelbridge.wire.connection import Channel
from tests.testing.talk import Talk, said


def first(report: str) -> str:
    return report.splitlines()[0]


def why(report: str) -> str:
    return report.splitlines()[1].strip()


# What is the same


def test_an_id_may_differ_but_not_what_it_is_the_id_of() -> None:
    def session(*order: int) -> Transcript:
        talk = Talk()
        request = talk.execute("x")
        comms = [uuid.uuid4().hex, "a", uuid.uuid4().hex]
        for comm in comms[:2]:
            talk.publish("comm_open", request, comm_id=comm, data={"model": f"IPY_MODEL_{comm}"})
        for place in order:
            talk.publish("comm_msg", request, comm_id=comms[place], data={"shown": [comms[0]]})
        return talk.transcript

    session(0, 1, 0).assert_same(session(0, 1, 0))
    report = session(0, 1, 1).difference(session(0, 1, 0))
    assert why(report) == "message 5: content.comm_id is '<comm 2>', not '<comm 1>'"
    report = session(0, 2).difference(session(0, 1))
    assert why(report) == "message 4: content.comm_id is '<comm 3>', not '<comm 2>'"


def test_the_order_between_channels_and_between_requests_is_free() -> None:
    def session(*order: int) -> Transcript:
        talk = Talk()
        for code in ("x", "y"):
            request = talk.execute(code)
            talk.add("<-", "shell", "execute_reply", {"status": "ok"}, request)
            talk.write(code, request)
            talk.publish("clear_output", request)
        return Transcript([talk.records[place] for place in order])

    one = session(0, 1, 2, 3, 4, 5, 6, 7)
    session(0, 4, 6, 7, 2, 3, 1, 5).assert_same(one)
    report = session(0, 1, 3, 2, 4, 5, 6, 7).difference(one)
    assert first(report) == "this session is not the stored transcript: iopub, from shell 1 (execute_request 'x')"
    assert why(report) == "message 1: its type is clear_output, not stream"


def test_how_a_stream_is_cut_is_free_but_not_across_another_message() -> None:
    def session(*texts: str) -> Transcript:
        talk = Talk()
        request = talk.execute("x")
        for text in texts:
            if text == "|":
                talk.publish("clear_output", request)
            else:
                talk.write(text, request)
        return talk.transcript

    session("o", "ne", "|", "two").assert_same(session("one", "|", "t", "wo"))
    report = session("on", "|", "etwo").difference(session("one", "|", "two"))
    assert why(report) == "message 1: content.text is 'on', not 'one'"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<object object at 0x7f0011223344>", "<object object at 0x7f0055667788>"),
        ("<environment: 0x55d5c8a0>", "<environment: 0x55d5c8b0>"),
        ("/tmp/ipykernel_12/345.py:1", "/tmp/ipykernel_67/345.py:1"),
        (f"run {uuid.UUID(int=1)}", f"run {uuid.UUID(int=2)}"),
    ],
)
def test_what_differs_each_time_is_not_compared(one: str, other: str) -> None:
    said(one).assert_same(said(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0xdeadbeef", "0xdeadbeee"),
        ("2026-01-01", "2026-01-02"),
        ("at 12", "at 13"),
        ("3 s", "4 s"),
        # A digest is no id.
        ("0123456789abcdef" * 2, "0123456789abcdee" * 2),
    ],
)
def test_what_a_program_says_is_compared(one: str, other: str) -> None:
    with pytest.raises(ProtocolFailure, match="is not the stored transcript"):
        said(one).assert_same(said(other))


def test_a_suite_may_name_more_of_what_differs_each_time() -> None:
    said("took 3 s").assert_same(said("took 4 s"), replace={r"took \d+ s": "took a while"})


def test_metadata_is_compared_but_for_dates_ids_and_durations() -> None:
    def session(**metadata: Any) -> Transcript:
        talk = Talk()
        talk.publish("clear_output", talk.execute("x"), metadata)
        return talk.transcript

    first, second = "2026-01-01T10:00:00.5Z", "2026-01-02T11:00:00+00:00"
    one = session(started=first, pid=12, username="ada", elapsed=0.3, engine=str(uuid.uuid4()), tag="blue")
    session(started=second, pid=34, username="eve", elapsed=4, engine=str(uuid.uuid4()), tag="blue").assert_same(one)
    assert why(session(tag="red").difference(session(tag="blue"))) == "message 1: metadata.tag is 'red', not 'blue'"


def test_a_process_id_is_compared_where_a_program_says_it() -> None:
    def session(msg_type: str, pid: int) -> Transcript:
        talk = Talk()
        talk.add("<-", "iopub", msg_type, {"data": {"pid": pid}})
        return talk.transcript

    session("usage_reply", 12).assert_same(session("usage_reply", 34))
    assert session("comm_msg", 12).difference(session("comm_msg", 34))


def test_numbers_of_iopub_messages_have_to_grow() -> None:
    """Contract K9."""

    def session(*numbers: int) -> Transcript:
        talk = Talk()
        request = talk.execute("x")
        for number in numbers:
            talk.publish("clear_output", request, {"kernelbridge": {"seq": number}})
        return talk.transcript

    session(7, 8, 11).assert_same(session(1, 2, 3))
    report = session(7, 8, 8).difference(session(1, 2, 3))
    assert why(report) == "message 3: metadata.kernelbridge.seq is '+0', not 'next'"


def test_the_tip_of_a_banner_is_not_compared() -> None:
    def session(tip: str, banner: str = "Python 3") -> Transcript:
        talk = Talk()
        talk.add("<-", "shell", "kernel_info_reply", {"banner": f"{banner}\nTip: {tip}\n"})
        return talk.transcript

    session("Use it.").assert_same(session("Do not."))
    assert session("Use it.", "Python 2").difference(session("Use it."))


# Whatever a session is, it is as itself with other ids, cut and mixed in another way

LANES = [("iopub", 0), ("iopub", 1), ("shell", 0), ("shell", 1), ("stdin", 0)]
WORDS = st.sampled_from(["comm a", "comm b", "text", "x", "IPY_MODEL_comm a"])
CONTENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
SAID = st.tuples(st.sampled_from(LANES), st.just("text") | st.just("custom"), WORDS, CONTENTS)


def spoken(said: list[tuple[tuple[Channel, int], str, str, Any]], mix: Random) -> Transcript:
    """Return a session in which this is said in each lane, with ids, cuts and an order that `mix` chooses."""
    ids = {f"comm {name}": f"{mix.getrandbits(64):016x}{name * 16}" for name in "ab"}

    def with_ids(value: Any) -> Any:
        match value:
            case dict():
                return {name: with_ids(item) for name, item in value.items()}
            case list():
                return [with_ids(item) for item in value]
            case str():
                for name, comm_id in ids.items():
                    value = value.replace(name, comm_id)
                return value
            case _:
                return value

    talk = Talk()
    requests = [talk.execute("x"), talk.execute("y")]
    for comm_id in ids.values():
        talk.publish("comm_open", requests[0], comm_id=comm_id)
    begun = len(talk.records)
    lanes: dict[tuple[Channel, int], list[Record]] = {}
    for (channel, request), kind, text, content in said:
        if kind == "text":
            cut = mix.randrange(len(text) + 1)
            for piece in filter(None, (text[:cut], text[cut:])) if " " not in text else (with_ids(text),):
                talk.add("<-", channel, "stream", {"name": "stdout", "text": piece}, requests[request])
        else:
            talk.add("<-", channel, "custom", {"value": with_ids(content)}, requests[request])
        lanes.setdefault((channel, request), []).extend(talk.records[begun:])
        del talk.records[begun:]
    left = [following for records in lanes.values() for following in [iter(records)] * len(records)]
    mix.shuffle(left)
    return Transcript([*talk.records, *(next(records) for records in left)])


@settings(deadline=None)
@given(st.lists(SAID, max_size=12), st.randoms(use_true_random=False), st.randoms(use_true_random=False))
def test_a_session_is_as_itself(said: Any, one: Random, other: Random) -> None:
    spoken(said, one).assert_same(spoken(said, other))


@settings(deadline=None)
@given(st.lists(SAID, min_size=1, max_size=12), st.randoms(use_true_random=False), st.data())
def test_a_session_is_not_as_itself_without_a_message(said: Any, mix: Random, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(said) - 1))
    assert spoken(said, mix).difference(spoken([*said[:place], *said[place + 1 :]], mix))


@settings(deadline=None)
@given(st.lists(SAID, max_size=8), st.randoms(use_true_random=False))
def test_any_session_is_loaded_as_it_was_saved(said: Any, mix: Random) -> None:
    records = spoken(said, mix).records
    assert from_lines(to_lines(records), "file") == records


# What is not the same


def test_a_difference_is_shown_side_by_side_and_on_the_time_line() -> None:
    stored, seen = said("one", "two"), said("one", "tow")
    report = attrs.evolve(seen, name="this session").difference(attrs.evolve(stored, name="one.jsonl")).splitlines()
    assert report[0] == "this session is not one.jsonl: iopub, from shell 1 (execute_request 'x')"
    assert report[1] == "  message 4: content.text is 'tow', not 'two'"
    table = [[side.strip() for side in line.split("|")] for line in report if "|" in line]
    assert table == [
        ["one.jsonl", "this session"],
        ["= clear_output", "clear_output"],
        ["= stdout 'one'", "stdout 'one'"],
        ["= clear_output", "clear_output"],
        ["> stdout 'two'", "stdout 'tow'"],
    ]
    assert report[-1].endswith("<- iopub   r1   stdout 'tow'")


def test_a_message_too_few_and_one_too_many() -> None:
    assert why(said("one").difference(said("one", "two"))) == "message 3: it is missing"
    assert why(said("one", "two").difference(said("one"))) == "message 3: it is not in the stored one"


def test_a_field_that_is_not_in_the_stored_one() -> None:
    def session(**content: Any) -> Transcript:
        talk = Talk()
        talk.publish("clear_output", talk.execute("x"), **content)
        return talk.transcript

    report = session(wait=True).difference(session())
    assert why(report) == "message 1: content.wait is not in the stored one"
    assert why(session().difference(session(wait=True))) == "message 1: content.wait is missing"


@pytest.mark.parametrize(
    ("stored", "seen", "why"),
    [
        (True, 1, "content.value is 1, not True"),
        ([1, 2], [1], "content.value has 1 items, not 2"),
        ([{"a": None}], [{"a": 0}], "content.value[0].a is 0, not None"),
        ("x" * 100 + "one", "x" * 100 + "two", f"content.value is ...'{'x' * 20}two', not ...'{'x' * 20}one'"),
    ],
)
def test_a_difference_is_told_with_its_place(stored: Any, seen: Any, why: str) -> None:
    def session(value: Any) -> Transcript:
        talk = Talk()
        talk.publish("custom", value=value)
        return talk.transcript

    assert session(seen).difference(session(stored)).splitlines()[1] == f"  message 1: {why}"


def test_another_parent_is_another_lane_and_other_lanes_are_named() -> None:
    def session(parent: int) -> Transcript:
        talk = Talk()
        requests = [talk.execute("x"), talk.execute("y")]
        talk.publish("clear_output", requests[parent])
        return talk.transcript

    report = session(1).difference(session(0))
    assert first(report).endswith("iopub, from shell 1 (execute_request 'x')")
    assert report.splitlines()[2] == "  also different: iopub, from shell 2"


def test_what_was_sent_is_compared_with_its_parent_and_subshell() -> None:
    def session(parent: int, subshell: str | None = None) -> Transcript:
        talk = Talk()
        requests = [talk.execute("x"), talk.execute("y")]
        questions = [talk.add("<-", "stdin", "input_request", {"prompt": "?"}, request) for request in requests]
        answer = talk.add("->", "stdin", "input_reply", {"value": "z"}, questions[parent])
        answer.header = attrs.evolve(answer.header, subshell_id=subshell)
        return talk.transcript

    report = session(1).difference(session(0))
    assert first(report).endswith("sent on stdin")
    assert why(report) == "message 1: parent is 'stdin 1 of shell 2', not 'stdin 1 of shell 1'"
    session(0, str(uuid.uuid4())).assert_same(session(0, str(uuid.uuid4())))
    assert why(session(0, "a").difference(session(0))) == "message 1: subshell is '<subshell 1>', not None"


def test_buffers_are_compared() -> None:
    def session(buffer: bytes) -> Transcript:
        talk = Talk()
        talk.add("->", "shell", "comm_msg", {}, buffers=[buffer])
        return talk.transcript

    assert why(session(b"b").difference(session(b"a"))) == "message 1: buffers[0] is b'b', not b'a'"


def test_what_was_no_message_is_compared_by_what_it_was() -> None:
    def session(note: str, channel: Channel = "shell") -> Transcript:
        return Transcript([Record("->", channel, 0, frames=[uuid.uuid4().bytes], note=note)])

    session("wrong signature").assert_same(session("wrong signature"))
    session("ping", "hb").assert_same(Transcript([]))
    report = session("no delimiter").difference(session("wrong signature"))
    assert first(report).endswith("frames that are no message, sent on shell")
    assert why(report) == "message 1: content.note is 'no delimiter', not 'wrong signature'"


def test_what_somebody_else_has_asked_is_compared_too() -> None:
    def session(text: str) -> Transcript:
        talk, other = Talk(), Talk()
        talk.write(text, other.execute("x"))
        return talk.transcript

    session("one").assert_same(session("one"))
    assert first(session("two").difference(session("one"))).endswith("iopub, from a request of somebody else (1)")
