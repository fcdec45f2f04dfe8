"""The kernel end's rows of the contract's table of bad input: what is wrong is dropped or answered, never a crash."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.wire.contents import ExecuteReply
from kernelbridge.wire.frames import DELIMITER, Frame, Limits, encode
from kernelbridge.wire.messages import Message
from tests.support.client import Channel, Client, lines
from tests.support.kernels import Cells, serving

Served = tuple[Kernel, Client]
HELLO = ["busy", "execute_input hello", "stdout 'hello\\n'", "idle"]


def hello(kernel: Kernel) -> None:
    kernel.write("stdout", "hello\n")


def ask(kernel: Kernel) -> None:
    kernel.write("stdout", f"<{kernel.input('name? ')}>")


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Cells(hello=hello)) as kernel, Client(kernel.connection) as client:
        yield kernel, client


def forged(client: Client, **changed: bytes) -> list[Frame]:
    """Return correctly signed frames of an execute_request, some of them changed."""
    good = {
        "header": client.session.header("execute_request").to_json(),
        "parent": b"{}",
        "metadata": b"{}",
        "content": b'{"code":"hello"}',
    }
    parts = list((good | changed).values())
    return [DELIMITER, client.signer.sign(parts), *parts]


def dropped(client: Client) -> dict[str, list[Frame]]:
    """Return messages that are dropped, by what is wrong with them."""
    good = forged(client)
    deep = b"[" * 3000 + b"]" * 3000
    return {
        "no frame but the identity": [b""],
        "no delimiter": [b"a", b"b", b"c"],
        "too few frames": good[:4],
        "wrong HMAC": [DELIMITER, b"0" * 64, *good[2:]],
        "no HMAC": [DELIMITER, b"", *good[2:]],
        "header that is no object": forged(client, header=b"[]"),
        "header that is null": forged(client, header=b"null"),
        "header without a type": forged(client, header=b'{"msg_id":"1"}'),
        "header with a type that is a number": forged(client, header=b'{"msg_id":"1","msg_type":1}'),
        "header that is no UTF-8": forged(client, header=b"\xff\xfe{}"),
        "content that is no UTF-8": forged(client, content=b'{"code":"\xff"}'),
        "content that is no JSON": forged(client, content=b"{"),
        "content that is a list": forged(client, content=b"[]"),
        "content that is too deep": forged(client, content=b'{"code":' + deep + b"}"),
        "metadata that is a list": forged(client, metadata=b"[]"),
        "parent that is a list": forged(client, parent=b"[]"),
        "more bytes than the limit": [*forged(client), bytes(200_000)],
    }


KINDS = [
    "no frame but the identity",
    "no delimiter",
    "too few frames",
    "wrong HMAC",
    "no HMAC",
    "header that is no object",
    "header that is null",
    "header without a type",
    "header with a type that is a number",
    "header that is no UTF-8",
    "content that is no UTF-8",
    "content that is no JSON",
    "content that is a list",
    "content that is too deep",
    "metadata that is a list",
    "parent that is a list",
    "more bytes than the limit",
]
CHANNELS: list[Channel] = ["shell", "control", "stdin"]


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_no_message_is_dropped_counted_and_logged_and_the_channel_goes_on(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    options = Options(limits=Limits(100_000))
    with (
        serving(Cells(hello=hello, ask=ask), options=options) as kernel,
        Client(kernel.connection) as client,
        caplog.at_level(logging.WARNING, "kernelbridge"),
    ):
        messages = dropped(client)
        assert list(messages) == KINDS
        for frames in messages.values():
            client.send_frames(frames, channel)
        if channel == "stdin":
            request = client.execute("ask")
            client.reply(request, "stdin")
            client.send("input_reply", {"value": "fine", "status": "ok"}, channel="stdin")
            assert lines(client.until_idle(request))[-2:] == ["stdout '<fine>'", "idle"]
        else:
            reply, shown = client.ask("kernel_info_request", channel=channel)
            assert reply.content["status"] == "ok"
            assert lines(shown) == ["busy", "idle"]
        # Few kinds, whatever is sent, and each logged once, so that a flood does not fill the log.
        assert kernel.counters == {
            f"{channel}: wrong signature": 2,
            f"{channel}: malformed message": len(messages) - 2,
        }
        assert len(caplog.records) == len(kernel.counters)
        assert "Traceback" not in caplog.text


def test_a_replayed_request_runs_once() -> None:
    handler = Cells(hello=hello)
    with serving(handler) as kernel, Client(kernel.connection) as client:
        request = Message(client.session.header("execute_request"), {"code": "hello"})
        for _ in range(3):
            client.send_frames(encode(request, client.signer))
        client.reply(request)
        assert lines(client.until_idle(request)) == HELLO
        assert client.ask("kernel_info_request")[0].content["status"] == "ok"
        assert len(handler.requests) == 1


@pytest.mark.parametrize(
    ("msg_type", "content", "field"),
    [
        ("execute_request", {}, "code"),
        ("execute_request", {"code": 1}, "code"),
        ("execute_request", {"code": None}, "code"),
        ("execute_request", {"code": "hello", "silent": "false"}, "silent"),
        ("execute_request", {"code": "hello", "user_expressions": []}, "user_expressions"),
        ("complete_request", {"code": "a", "cursor_pos": "1"}, "cursor_pos"),
        ("inspect_request", {}, "code"),
        ("is_complete_request", {"code": []}, "code"),
        ("history_request", {}, "hist_access_type"),
        ("history_request", {"hist_access_type": "nonesuch"}, "hist_access_type"),
        ("comm_info_request", {"target_name": 1}, "target_name"),
        ("shutdown_request", {"restart": "no"}, "restart"),
    ],
)
def test_a_faulty_field_is_named_in_the_reply(
    served: Served, msg_type: str, content: dict[str, Any], field: str
) -> None:
    """`busy` and `idle` as for any request; nothing is run, nothing else is disturbed."""
    _, client = served
    reply, messages = client.ask(msg_type, content)
    assert reply.msg_type == msg_type.replace("request", "reply")
    assert reply.content["status"] == "error"
    assert f"'{field}'" in reply.content["evalue"]
    assert lines(messages) == ["busy", "idle"]
    assert lines(client.run("hello")[1]) == HELLO


@pytest.mark.parametrize("msg_type", ["comm_open", "comm_msg", "comm_close"])
def test_a_faulty_comm_message_is_logged_and_has_no_reply(
    served: Served, msg_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = served
    with caplog.at_level(logging.WARNING, "kernelbridge"):
        assert lines(client.until_idle(client.send(msg_type, {"comm_id": 1}))) == ["busy", "idle"]
    assert "'comm_id'" in caplog.text
    assert client.nothing_more("shell")


@pytest.mark.parametrize("channel", ["shell", "control"])
@pytest.mark.parametrize(
    "msg_type",
    [
        "nonesuch_request",
        "nonesuch",
        "execute_reply",
        "status",
        # Named, because a test's id must be text that can be encoded.
        pytest.param("\ud800_request", id="lone-surrogate"),
    ],
)
def test_an_unknown_type_is_logged_and_has_brackets_and_no_reply(
    served: Served, channel: Channel, msg_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = served
    header = client.session.header("placeholder").to_dict() | {"msg_type": msg_type}
    frames = forged(client, header=_ascii_json(header))
    with caplog.at_level(logging.WARNING, "kernelbridge"):
        client.send_frames(frames, channel)
        brackets = [client.receive("iopub") for _ in range(2)]
    assert lines(brackets) == ["busy", "idle"]
    assert brackets[0].parent_id == header["msg_id"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert client.nothing_more("shell")


def _ascii_json(value: dict[str, Any]) -> bytes:
    """Return JSON with escapes for all that is not ASCII: the only way for a lone surrogate to travel."""
    return json.dumps(value).encode()


def test_content_that_is_no_json_is_shown_all_the_same() -> None:
    """Never an exception that loses the output or the reply."""

    class Hostile:
        def __repr__(self) -> str:
            raise ValueError("no repr")

    def odd(kernel: Kernel) -> ExecuteReply:
        kernel.display({"text/plain": "lone \udc80", "application/json": {1: float("nan"), "b": b"x", "h": Hostile()}})
        kernel.write("stdout", "lone \udc80\n")
        kernel.comms.open("odd", {"huge": 10**5000})
        return ExecuteReply(execution_count=1, user_expressions={"a": {2**80: {1, 2}}})

    with serving(Cells(odd=odd)) as kernel, Client(kernel.connection) as client:
        reply, messages = client.run("odd")
        assert reply.content["user_expressions"] == {"a": {str(2**80): [1, 2]}}
        assert lines(messages)[2] == "display_data lone \\udc80"
        assert messages[2].content["data"]["application/json"]["1"] is None
        assert lines(messages)[3] == "stdout 'lone \\\\udc80\\n'"
        assert messages[4].content["data"]["huge"] == hex(10**5000)
        for message in messages:
            assert orjson.dumps(message.content)


def test_a_message_over_the_limit_is_refused_at_the_sender() -> None:
    """With its size and the limit in the error; never truncated, and the kernel goes on."""
    large = "x" * 200_000

    def show(kernel: Kernel) -> None:
        kernel.display({"text/plain": large})

    def answer(kernel: Kernel) -> ExecuteReply:
        return ExecuteReply(execution_count=1, user_expressions={"a": large})

    options = Options(limits=Limits(100_000))
    with (
        serving(Cells(show=show, answer=answer, hello=hello), options=options) as kernel,
        Client(kernel.connection) as client,
    ):
        reply, messages = client.run("show")
        assert reply.content["ename"] == "WireError"
        assert "is over the limit of 100,000 bytes" in reply.content["evalue"]
        assert "error WireError" in lines(messages)
        reply, messages = client.run("answer")
        assert reply.content["ename"] == "MessageTooLarge"
        assert "bytes is over the limit of 100,000 bytes" in reply.content["evalue"]
        assert lines(messages) == ["busy", "execute_input answer", "idle"]
        assert lines(client.run("hello")[1]) == HELLO


def test_every_bad_message_of_a_flood_is_survived() -> None:
    """A thousand of each kind on each channel; then everything works."""
    with (
        serving(Cells(hello=hello), options=Options(limits=Limits(100_000))) as kernel,
        Client(kernel.connection) as client,
    ):
        messages = list(dropped(client).values())[:-1]
        for _ in range(100):
            for channel in CHANNELS:
                for frames in messages:
                    client.send_frames(frames, channel)
        assert lines(client.run("hello")[1]) == HELLO
