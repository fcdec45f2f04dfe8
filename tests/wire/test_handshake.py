"""The two messages of the kernel startup handshake (JEP 66)."""

from __future__ import annotations

import json

import pytest

from kernelbridge.wire.connection import CHANNELS, Channel
from kernelbridge.wire.errors import ContentError, WireError
from kernelbridge.wire.frames import DELIMITER, Frame
from kernelbridge.wire.handshake import (
    decode_handshake,
    encode_handshake,
    handshake_reply,
    handshake_request,
    parse_handshake_reply,
    parse_handshake_request,
)
from kernelbridge.wire.signing import Signer

ABSENT = object()
PORTS: dict[Channel, int] = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 65535}
REQUEST = {
    "kernel_id": "k-1",
    "shell_port": "1",
    "iopub_port": "2",
    "stdin_port": "3",
    "control_port": "4",
    "hb_port": "65535",
}

SIGNER = Signer(b"key")


def test_what_is_encoded_is_decoded_and_carries_who_sent_it() -> None:
    frames = encode_handshake(REQUEST, SIGNER, [b"sender", b""])
    text = bytes(frames[-1])
    assert frames == [b"sender", b"", DELIMITER, SIGNER.sign([text]), text]
    assert json.loads(text) == REQUEST
    assert decode_handshake(frames, SIGNER) == ([b"sender", b""], REQUEST)
    assert decode_handshake([memoryview(frame) for frame in frames[2:]], SIGNER) == ([], REQUEST)


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([], "0 frames are no handshake message"),
        ([b"sender"], "1 frames are no handshake message"),
        ([b"sender", b"", b"{}"], "3 frames are no handshake message"),
        ([DELIMITER, b"", b"{}", b"{}"], "4 frames are no handshake message"),
        ([DELIMITER, b"", b"{}"], "wrong signature"),
        (encode_handshake(REQUEST, Signer(b"another key")), "wrong signature"),
        ([DELIMITER, SIGNER.sign([b"{"]), b"{"], "not JSON"),
    ],
)
def test_what_is_no_signed_message_is_refused(frames: list[Frame], problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        decode_handshake(frames, SIGNER)


def test_a_kernel_reports_its_ports_as_text() -> None:
    assert handshake_request("k-1", PORTS) == REQUEST
    assert parse_handshake_request(REQUEST, kernel_id="k-1") == PORTS


def test_ports_as_integers_and_unknown_fields_are_taken_too() -> None:
    request = {"kernel_id": "k-1", **{f"{channel}_port": port for channel, port in PORTS.items()}, "more": 1}
    assert parse_handshake_request(request, kernel_id="k-1") == PORTS


PORT_OR_TEXT = "an integer from 1 to 65535, or its decimal text"


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("kernel_id", ABSENT, "is missing: it must be a string"),
        ("kernel_id", "k-2", "must be 'k-1', not 'k-2'"),
        ("kernel_id", 1, "must be 'k-1', not 1"),
        *((f"{channel}_port", ABSENT, f"is missing: it must be {PORT_OR_TEXT}") for channel in CHANNELS),
        *(
            ("hb_port", value, f"must be {PORT_OR_TEXT}, not {value!r}")
            for value in ["", "0", 0, "65536", 65536, "-1", " 1", "1_0", "1.0", 1.0, True, None, "\u0661"]
        ),
        ("hb_port", "1" * 5000, f"must be {PORT_OR_TEXT}, not '1111"),
    ],
)
def test_a_bad_report_names_the_field(field: str, value: object, problem: str) -> None:
    request = {name: given for name, given in {**REQUEST, field: value}.items() if given is not ABSENT}
    with pytest.raises(ContentError) as caught:
        parse_handshake_request(request, kernel_id="k-1")
    assert caught.value.field == field
    assert str(caught.value).startswith(f"handshake_request: field {field!r} {problem}")


def test_a_report_that_is_no_object_is_refused() -> None:
    with pytest.raises(ContentError, match="must be an object, not a list of 0"):
        parse_handshake_request([], kernel_id="k-1")


def test_an_acknowledgement_is_accepted_whatever_it_holds() -> None:
    parse_handshake_reply(handshake_reply())
    parse_handshake_reply({})
    parse_handshake_reply({"anything": 1})


@pytest.mark.parametrize("reply", [{"status": "error", "evalue": "unknown kernel"}, "ok"])
def test_an_acknowledgement_that_refuses_is_an_error(reply: object) -> None:
    with pytest.raises(ContentError, match=r"refused: 'unknown kernel'|must be an object"):
        parse_handshake_reply(reply)
