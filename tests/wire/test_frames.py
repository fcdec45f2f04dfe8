"""Messages to frames and back, and what becomes of frames that carry no message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import DELIMITER, Frame, Limits, decode, encode
from kernelbridge.wire.messages import Header, Message, Session
from kernelbridge.wire.packing import pack
from kernelbridge.wire.signing import ReplayGuard, Signer

SIGNER = Signer(b"a key")
SESSION = Session(lambda: "2026-01-02T03:04:05Z", "the-session", "me")

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)
OWN_FIELDS = ("msg_id", "msg_type", "session", "username", "date", "version", "subshell_id")
HEADERS = st.builds(
    Header,
    msg_id=st.text(min_size=1),
    msg_type=st.text(min_size=1),
    session=st.text(),
    username=st.text(),
    date=st.text(),
    version=st.text(),
    subshell_id=st.none() | st.text(),
    extra=st.dictionaries(st.text().filter(lambda name: name not in OWN_FIELDS), JSON, max_size=2),
)
MESSAGES = st.builds(
    Message,
    HEADERS,
    OBJECTS,
    st.none() | HEADERS,
    OBJECTS,
    st.lists(st.binary(), max_size=3),
    st.lists(st.binary().filter(lambda identity: identity != DELIMITER), max_size=3),
)


def parts(**changed: bytes) -> list[bytes]:
    """Return the four signed frames of a good message, some of them changed."""
    good = {"header": SESSION.header("status").to_json(), "parent": b"{}", "metadata": b"{}", "content": b"{}"}
    return list((good | changed).values())


def signed(signed_parts: list[bytes]) -> list[Frame]:
    return [DELIMITER, SIGNER.sign(signed_parts), *signed_parts]


@given(MESSAGES)
def test_round_trip(message: Message) -> None:
    """Any number of identities and buffers, any content, headers with fields that nobody knows."""
    assert decode(encode(message, SIGNER), SIGNER) == message


@given(MESSAGES)
def test_what_came_off_the_wire_goes_back_letter_for_letter(message: Message) -> None:
    """A parent header is the request's own text, however its sender spelled it."""
    text = json.dumps(message.header.to_dict(), indent=1).encode()
    arrived = decode(signed(parts(header=text)), SIGNER)
    answer = Message(SESSION.header("status"), {}, arrived.header)
    assert encode(answer, SIGNER)[3] == text


def test_a_header_that_has_arrived_is_the_same_before_and_after_it_was_asked_for() -> None:
    """It is made when it is asked for, and checked before, whether it is asked for or not."""
    sent = Message(SESSION.header("status", subshell_id="s1"), {"a": 1})
    arrived = decode(encode(sent, SIGNER), SIGNER)
    assert (arrived.msg_type, repr(arrived), arrived) == ("status", repr(sent), sent)
    assert arrived.header == sent.header
    assert arrived.header is arrived.header
    assert (arrived.msg_type, repr(arrived), arrived) == ("status", repr(sent), sent)
    arrived.header = SESSION.header("error")
    assert arrived.msg_type == "error"


def test_the_frames_are_those_of_the_specification() -> None:
    message = Message(SESSION.header("status"), {"a": 1}, None, {"b": 2}, [b"buffer"], [b"one", b"two"])
    frames = encode(message, SIGNER)
    header = frames[4]
    assert frames[:3] == [b"one", b"two", DELIMITER]
    assert frames[3] == SIGNER.sign([bytes(header), b"{}", b'{"b":2}', b'{"a":1}'])
    assert json.loads(bytes(header)) == {
        "msg_id": message.msg_id,
        "msg_type": "status",
        "session": "the-session",
        "username": "me",
        "date": "2026-01-02T03:04:05Z",
        "version": "5.5",
    }
    assert frames[5:] == [b"{}", b'{"b":2}', b'{"a":1}', b"buffer"]


@pytest.mark.parametrize("buffer", [bytearray(b"abc"), memoryview(bytearray(b"abc")), memoryview(b"abc")])
def test_a_buffer_is_what_it_was_when_it_was_given(buffer: bytearray | memoryview) -> None:
    frames = encode(Message(SESSION.header("comm_msg"), {}, buffers=[buffer]), SIGNER)
    if not memoryview(buffer).readonly:
        buffer[0] = 0
    assert bytes(frames[-1]) == b"abc"


def test_a_large_buffer_of_bytes_is_not_copied() -> None:
    large = bytes(2**20)
    assert encode(Message(SESSION.header("comm_msg"), {}, buffers=[large]), SIGNER)[-1] is large


def test_a_buffer_of_numbers_travels_as_its_bytes() -> None:
    numbers = memoryview(bytes(8)).cast("i")
    (buffer,) = decode(encode(Message(SESSION.header("comm_msg"), {}, buffers=[numbers]), SIGNER), SIGNER).buffers
    assert bytes(buffer) == bytes(8)


def test_a_buffer_in_pieces_is_refused() -> None:
    with pytest.raises(WireError, match="contiguous"):
        encode(Message(SESSION.header("comm_msg"), {}, buffers=[memoryview(b"abcd")[::2]]), SIGNER)


def test_views_of_the_sockets_memory_decode_as_bytes_do() -> None:
    message = Message(SESSION.header("status"), {"a": 1}, SESSION.header("x"), {}, [b"b"], [b"id"])
    assert decode([memoryview(frame) for frame in encode(message, SIGNER)], SIGNER) == message


def test_a_parent_of_null_is_none() -> None:
    """xeus kernels write null where there is no parent."""
    assert decode(signed(parts(parent=b"null")), SIGNER).parent is None


# --- what is no message ----------------------------------------------------------------------------------------------

GARBAGE = st.binary(max_size=20) | st.sampled_from([DELIMITER, b"{}", b"[]", b"null", b'{"msg_id":"1","msg_type":"a"}'])


@given(st.lists(GARBAGE, max_size=10))
def test_arbitrary_frames_give_a_message_or_the_one_declared_error(frames: list[Frame]) -> None:
    for signer in (SIGNER, Signer(b"")):
        _only_a_message_or_wire_error(frames, signer)


@given(st.lists(GARBAGE | JSON.map(pack) | OBJECTS.map(pack), min_size=4, max_size=4), st.lists(st.binary()))
def test_correctly_signed_garbage_gives_a_message_or_the_one_declared_error(
    garbage: list[bytes], buffers: list[bytes]
) -> None:
    _only_a_message_or_wire_error([*signed(garbage), *buffers], SIGNER)


HEADER_VALUES = JSON | st.text(min_size=1)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(OWN_FIELDS, HEADER_VALUES)), OBJECTS)
def test_headers_with_fields_of_any_type(fields: dict[str, Any], content: dict[str, Any]) -> None:
    _only_a_message_or_wire_error(signed(parts(header=pack(fields), content=pack(content))), SIGNER)
    _only_a_message_or_wire_error(signed(parts(parent=pack(fields))), SIGNER)


def _only_a_message_or_wire_error(frames: list[Frame], signer: Signer) -> None:
    try:
        message = decode(frames, signer, ReplayGuard(), Limits(1000))
    except WireError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert isinstance(message.header, Header)


GOOD = signed(parts())
DEEP = b"[" * 2000 + b"]" * 2000


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([], "no delimiter among 0 frames"),
        ([b"id", b"x"], "no delimiter among 2 frames"),
        (GOOD[:5], "only 4 frames behind the delimiter"),
        ([DELIMITER, b"0" * 64, *GOOD[2:]], "wrong signature"),
        ([*GOOD[:5], b'{"a":1}'], "wrong signature"),
        (signed(parts(header=b"[]")), "header is no JSON object but list"),
        (signed(parts(header=b"null")), "header is no JSON object but NoneType"),
        (signed(parts(header=b"{}")), "header without msg_id"),
        (signed(parts(header=b'{"msg_id":"1"}')), "header without msg_type"),
        (signed(parts(header=b'{"msg_id":1,"msg_type":"a"}')), "header field 'msg_id' is no string but int"),
        (signed(parts(header=b'{"msg_id":"1","msg_type":"a","session":null}')), "header field 'session' is no string"),
        (signed(parts(header=b"\xff\xfe")), "not JSON"),
        (signed(parts(content=b"\xff")), "not JSON"),
        (signed(parts(content=DEEP)), "not JSON"),
        (signed(parts(parent=b"[]")), "header is no JSON object but list"),
        (signed(parts(metadata=b"[]")), "metadata of status is no JSON object"),
        (signed(parts(content=b"1")), "content of status is no JSON object"),
    ],
)
def test_what_is_wrong_is_said(frames: list[Frame], problem: str) -> None:
    with pytest.raises(WireError, match=f"^{problem}"):
        decode(frames, SIGNER)


def test_nothing_unsigned_reaches_the_parser() -> None:
    """Verified before it is parsed: a wrong signature is the error, not the JSON behind it."""
    with pytest.raises(WireError, match="wrong signature"):
        decode([DELIMITER, b"0" * 64, DEEP, DEEP, DEEP, DEEP], SIGNER)


def test_a_replayed_message_is_refused_once_it_was_seen() -> None:
    guard = ReplayGuard()
    frames = encode(Message(SESSION.header("status"), {}), SIGNER)
    decode(frames, SIGNER, guard)
    with pytest.raises(WireError, match="replayed"):
        decode(frames, SIGNER, guard)


def test_a_forged_message_does_not_make_a_later_real_one_a_replay() -> None:
    """The guard remembers only what was verified, else a stranger could fill it."""
    guard = ReplayGuard()
    frames = encode(Message(SESSION.header("status"), {"a": 1}), SIGNER)
    with pytest.raises(WireError, match="wrong signature"):
        decode([*frames[:5], b"{}"], SIGNER, guard)
    decode(frames, SIGNER, guard)


def test_without_a_key_nothing_is_a_replay() -> None:
    guard, signer = ReplayGuard(), Signer(b"")
    for _ in range(2):
        decode(encode(Message(SESSION.header("status"), {}), signer), signer, guard)


def test_the_limit_counts_all_frames_and_is_named_with_the_size() -> None:
    message = Message(SESSION.header("comm_msg"), {"a": 1}, buffers=[bytes(500), bytes(500)])
    size = sum(map(len, encode(message, SIGNER)))
    assert decode(encode(message, SIGNER, Limits(size)), SIGNER, None, Limits(size)) == message
    problem = f"message of {size:,} bytes is over the limit of {size - 1:,} bytes"
    with pytest.raises(WireError, match=problem):
        encode(message, SIGNER, Limits(size - 1))
    with pytest.raises(WireError, match=problem):
        decode(encode(message, SIGNER), SIGNER, None, Limits(size - 1))


def test_ids_are_unique_across_threads_and_sessions() -> None:
    sessions = [Session(lambda: "") for _ in range(2)]
    ids = [session.header("a").msg_id for session in sessions for _ in range(100)]
    assert len(set(ids)) == 200


@given(st.text(), st.text(), st.text(), st.text())
def test_a_header_made_as_text_is_the_header_as_text(name: str, user: str, date: str, msg_type: str) -> None:
    whole, text = (Session(lambda: date, f"%d{name}", user) for _ in range(2))
    for _ in range(2):
        assert json.loads(text.header_json(msg_type)) == json.loads(whole.header(msg_type).to_json())
