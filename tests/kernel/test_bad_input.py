"""The kernel end's rows of the contract's table of bad input: what is wrong is dropped or answered, never a crash."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.testing import (
    ProtocolClient,
    busy,
    comm_open,
    display,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    regex,
    stdout,
)
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.contents import ExecuteReply
from kernelbridge.wire.frames import DELIMITER, Frame, Limits, encode
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.signing import Signer
from tests.support.exchange import ask, run
from tests.support.kernels import Cells, serving

HELLO = stdout("hello\n")
SMALL = Options(limits=Limits(100_000))


def hello(kernel: Kernel) -> None:
    kernel.write("stdout", "hello\n")


def prompt(kernel: Kernel) -> None:
    kernel.write("stdout", f"<{kernel.input('name? ')}>")


@pytest.fixture
def handler() -> Cells:
    return Cells(hello=hello)


@pytest.fixture
def client(handler: Cells) -> Iterator[ProtocolClient]:
    with ProtocolClient(handler) as client:
        yield client


def forged(kernel: Kernel, **changed: bytes) -> list[Frame]:
    """Return correctly signed frames of an execute_request, some of them changed."""
    good = {
        "header": Session(lambda: "").header("execute_request").to_json(),
        "parent": b"{}",
        "metadata": b"{}",
        "content": b'{"code":"hello"}',
    }
    parts = list((good | changed).values())
    return [DELIMITER, Signer(kernel.connection.key).sign(parts), *parts]


def dropped(kernel: Kernel) -> dict[str, list[Frame]]:
    """Return messages that are dropped, by what is wrong with them."""
    good = forged(kernel)
    deep = b"[" * 3000 + b"]" * 3000
    return {
        "no frame but the identity": [b""],
        "no delimiter": [b"a", b"b", b"c"],
        "too few frames": good[:4],
        "wrong HMAC": [DELIMITER, b"0" * 64, *good[2:]],
        "no HMAC": [DELIMITER, b"", *good[2:]],
        "header that is no object": forged(kernel, header=b"[]"),
        "header that is null": forged(kernel, header=b"null"),
        "header without a type": forged(kernel, header=b'{"msg_id":"1"}'),
        "header with a type that is a number": forged(kernel, header=b'{"msg_id":"1","msg_type":1}'),
        "header that is no UTF-8": forged(kernel, header=b"\xff\xfe{}"),
        "content that is no UTF-8": forged(kernel, content=b'{"code":"\xff"}'),
        "content that is no JSON": forged(kernel, content=b"{"),
        "content that is a list": forged(kernel, content=b"[]"),
        "content that is too deep": forged(kernel, content=b'{"code":' + deep + b"}"),
        "metadata that is a list": forged(kernel, metadata=b"[]"),
        "parent that is a list": forged(kernel, parent=b"[]"),
        "more bytes than the limit": [*forged(kernel), bytes(200_000)],
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
    with (
        serving(Cells(hello=hello, prompt=prompt), options=SMALL) as kernel,
        ProtocolClient(kernel) as client,
        caplog.at_level(logging.WARNING, "kernelbridge"),
    ):
        messages = dropped(kernel)
        assert list(messages) == KINDS
        for frames in messages.values():
            client.send_frames(channel, frames)
        if channel == "stdin":
            request = client.execute("prompt")
            client.stdin.expect(input_request("name? ", parent=request))
            client.answer("fine")
            client.iopub.expect(busy(), execute_input("prompt"), stdout("<fine>"), idle(), parent=request)
            client.shell.expect(execute_reply(parent=request))
        else:
            ask(client, "kernel_info", channel="shell" if channel == "shell" else "control")
        # Few kinds, whatever is sent, and each logged once, so that a flood does not fill the log.
        assert kernel.counters == {
            f"{channel}: wrong signature": 2,
            f"{channel}: malformed message": len(messages) - 2,
        }
        assert len(caplog.records) == len(kernel.counters)
        assert "Traceback" not in caplog.text


def test_a_replayed_request_runs_once(handler: Cells, client: ProtocolClient) -> None:
    """Also where it comes back on another channel."""
    request = Message(client.session.header("execute_request"), {"code": "hello"})
    frames = encode(request, Signer(handler.kernel.connection.key))
    client.send_frames("shell", frames)
    client.iopub.expect(busy(), execute_input("hello"), HELLO, idle(), parent=request)
    client.shell.expect(execute_reply(parent=request))
    for channel in CHANNELS:
        client.send_frames(channel, frames)
    ask(client, "kernel_info")
    ask(client, "kernel_info", channel="control")
    assert len(handler.requests) == 1


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("execute", {}, "code"),
        ("execute", {"code": 1}, "code"),
        ("execute", {"code": None}, "code"),
        ("execute", {"code": "hello", "silent": "false"}, "silent"),
        ("execute", {"code": "hello", "user_expressions": []}, "user_expressions"),
        ("complete", {"code": "a", "cursor_pos": "1"}, "cursor_pos"),
        ("inspect", {}, "code"),
        ("is_complete", {"code": []}, "code"),
        ("history", {}, "hist_access_type"),
        ("history", {"hist_access_type": "nonesuch"}, "hist_access_type"),
        ("comm_info", {"target_name": 1}, "target_name"),
        ("shutdown", {"restart": "no"}, "restart"),
    ],
)
def test_a_faulty_field_is_named_in_the_reply(
    client: ProtocolClient, name: str, content: dict[str, Any], field: str
) -> None:
    """`busy` and `idle` as for any request; nothing is run, nothing else is disturbed."""
    ask(client, name, content, status="error", evalue=regex(f"'{field}'"))
    run(client, "hello", HELLO, replied=execute_reply(execution_count=1))


@pytest.mark.parametrize("msg_type", ["comm_open", "comm_msg", "comm_close"])
def test_a_faulty_comm_message_is_logged_and_has_no_reply(
    client: ProtocolClient, msg_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "kernelbridge"):
        client.iopub.expect(busy(), idle(), parent=client.send(msg_type, comm_id=1))
    assert "'comm_id'" in caplog.text


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
    handler: Cells, client: ProtocolClient, channel: Channel, msg_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    header = client.session.header("placeholder").to_dict() | {"msg_type": msg_type}
    with caplog.at_level(logging.WARNING, "kernelbridge"):
        # With escapes for all that is not ASCII: the only way for a lone surrogate to travel.
        client.send_frames(channel, forged(handler.kernel, header=json.dumps(header).encode()))
        client.iopub.expect(busy(), idle(), parent=header["msg_id"])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


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

    with ProtocolClient(Cells(odd=odd)) as client:
        request = client.execute("odd")
        found = client.iopub.expect(
            busy(),
            execute_input("odd"),
            display({"text/plain": "lone \\udc80", "application/json": {"1": None}}),
            stdout("lone \\udc80\n"),
            comm_open("odd", {"huge": hex(10**5000)}),
            idle(),
            parent=request,
        )
        (replied,) = client.shell.expect(execute_reply(parent=request))
        assert replied.content["user_expressions"] == {"a": {str(2**80): [1, 2]}}
        for message in found:
            assert orjson.dumps(message.content)


def test_a_message_over_the_limit_is_refused_at_the_sender() -> None:
    """With its size and the limit in the error; never truncated, and the kernel goes on."""
    large = "x" * 200_000

    def show(kernel: Kernel) -> None:
        kernel.display({"text/plain": large})

    def answer(kernel: Kernel) -> ExecuteReply:
        return ExecuteReply(execution_count=1, user_expressions={"a": large})

    refusal = regex(r"of 200,\d\d\d bytes is over the limit of 100,000 bytes")
    handler = Cells(show=show, answer=answer, hello=hello)
    with serving(handler, options=SMALL) as kernel, ProtocolClient(kernel) as client:
        replied = execute_reply("error", ename="WireError", evalue=refusal)
        run(client, "show", error("WireError", refusal), replied=replied)
        run(client, "answer", replied=execute_reply("error", ename="MessageTooLarge", evalue=refusal))
        run(client, "hello", HELLO)


def test_every_bad_message_of_a_flood_is_survived() -> None:
    """A hundred of each kind on each channel; then everything works."""
    with serving(Cells(hello=hello), options=SMALL) as kernel, ProtocolClient(kernel) as client:
        messages = list(dropped(kernel).values())[:-1]
        for _ in range(100):
            for channel in CHANNELS:
                for frames in messages:
                    client.send_frames(channel, frames)
        ask(client, "kernel_info", channel="control")
        run(client, "hello", HELLO)
