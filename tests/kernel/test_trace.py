"""What a kernel shows a tracer: all that its channels receive and send, in one order, and never at their cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import zmq

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.socket_bridge import Context, Socket
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.kernel.trace import TRACE_FEATURE, TRACE_REQUEST, Tracing, copy_bytes
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    execute_input,
    execute_reply,
    idle,
    input_request,
    message,
    regex,
    reply,
    stdout,
)
from kernelbridge.testing.report import describe
from kernelbridge.wire.errors import ContentError
from kernelbridge.wire.frames import decode
from kernelbridge.wire.packing import unpack
from kernelbridge.wire.signing import Signer
from tests.support import exchange
from tests.support.kernels import Cells, serving

TRACE_REPLY = TRACE_REQUEST.replace("_request", "_reply")


@attrs.frozen
class Ear:
    """The socket of a tracer."""

    endpoint: str
    socket: Socket

    def copy(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return the next copy: what is said of it, and its frames."""
        assert self.socket.poll(int(DEADLINE * 1000)), "no copy comes"
        about, *frames = self.socket.recv_multipart()
        found = unpack(about)
        assert isinstance(found, dict)
        return found, frames

    def begin(self, client: ProtocolClient, kernel: Kernel) -> None:
        """Have the kernel traced, and read up to the end of the request for that."""
        request = client.send(TRACE_REQUEST, channel="control", endpoint=self.endpoint)
        client.control.expect(reply(TRACE_REPLY, status="ok", parent=request))
        client.iopub.expect(busy(), idle(), parent=request)
        # Its busy may have been sent before, or not.
        while self.said(kernel) != "<- iopub idle":
            continue

    def said(self, kernel: Kernel) -> str:
        """Return the next copy on one line."""
        about, frames = self.copy()
        copied = decode(frames, Signer(kernel.connection.key))
        what = describe(copied.msg_type, copied.content) if about["channel"] == "iopub" else copied.msg_type
        return f"{about['direction']} {about['channel']} {what}"


@contextmanager
def ear(folder: Path) -> Iterator[Ear]:
    context: Context = zmq.Context()
    endpoint = f"ipc://{folder}/t"
    socket = context.socket(zmq.DEALER)
    socket.bind(endpoint)
    try:
        yield Ear(endpoint, socket)
    finally:
        socket.close(0)
        context.term()


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Ear]:
    with ear(tmp_path) as found:
        yield found


def ask(kernel: Kernel) -> None:
    kernel.write("stdout", "before")
    kernel.write("stdout", kernel.input("name?"))


def on(said: list[str], channel: str) -> list[str]:
    """Return what was sent on one channel."""
    sent = f"<- {channel} "
    return [word.removeprefix(sent) for word in said if word.startswith(sent)]


def test_all_channels_are_shown_in_one_order(listening: Ear) -> None:
    """A cause stands before its effect, and what the contract says holds: the prompt is behind what was put before it
    (K7), the idle behind the reply (K5)."""
    with serving(Cells(ask=ask)) as kernel, ProtocolClient(kernel) as client:
        info = exchange.ask(client, "kernel_info", channel="control")
        assert TRACE_FEATURE in info.content["supported_features"]
        listening.begin(client, kernel)
        request = client.execute("ask")
        client.stdin.expect(input_request("name?", parent=request))
        client.answer("Ada")
        client.iopub.expect(busy(), execute_input("ask"), stdout("before"), stdout("Ada"), idle(), parent=request)
        client.shell.expect(execute_reply(parent=request))
        said = [listening.said(kernel) for _ in range(9)]
    assert on(said, "iopub") == ["busy", "execute_input 'ask'", "stdout 'before'", "stdout 'Ada'", "idle"]
    assert [word for word in said if " iopub " not in word] == [
        "-> shell execute_request",
        "<- stdin input_request",
        "-> stdin input_reply",
        "<- shell execute_reply",
    ]
    place = said.index
    assert place("-> shell execute_request") < place("<- iopub busy")
    assert place("<- iopub stdout 'before'") < place("<- stdin input_request")
    assert place("-> stdin input_reply") < place("<- iopub stdout 'Ada'")
    assert place("<- shell execute_reply") < place("<- iopub idle")


def test_the_last_words_are_shown(listening: Ear) -> None:
    """The trace ends behind everything else."""
    with serving(Cells()) as kernel, ProtocolClient(kernel) as client:
        listening.begin(client, kernel)
        request = client.send("shutdown_request", restart=False)
        client.control.expect(reply("shutdown", parent=request))
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
        client.expect_end()
        said = [listening.said(kernel) for _ in range(5)]
    assert said[0] == "-> control shutdown_request"
    assert on(said, "iopub") == ["busy", "shutdown_reply status='ok' restart=False", "idle"]
    assert said.index("<- control shutdown_reply") < said.index("<- iopub idle")


def test_what_is_dropped_is_shown_as_it_came(listening: Ear) -> None:
    with serving(Cells()) as kernel, ProtocolClient(kernel) as client:
        listening.begin(client, kernel)
        client.send_frames("shell", [b"rubbish"])
        about, frames = listening.copy()
        assert (about["direction"], about["channel"]) == ("->", "shell")
        assert frames[-1] == b"rubbish"


def test_several_may_trace(listening: Ear, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with (
        serving(Cells(say=lambda kernel: kernel.write("stdout", "x"))) as kernel,
        ProtocolClient(kernel) as client,
        ear(tmp_path / "b") as second,
    ):
        listening.begin(client, kernel)
        second.begin(client, kernel)
        exchange.run(client, "say", stdout("x"))
        until = "<- shell execute_reply"
        for traced in (listening, second):
            while traced.said(kernel) != until:
                continue


@pytest.mark.parametrize(
    "content",
    [{}, {"endpoint": 7}, {"endpoint": "tcp://127.0.0.1:7"}, {"endpoint": "ipc:///nobody/listens"}],
    ids=["missing", "mistyped", "not here", "nobody there"],
)
def test_who_cannot_be_told_is_refused(content: dict[str, Any]) -> None:
    """Contract, bad input: an error reply that names the field, busy and idle as for any request."""
    with serving(Cells()) as kernel, ProtocolClient(kernel) as client:
        request = client.send(TRACE_REQUEST, content, channel="control")
        client.control.expect(reply(TRACE_REPLY, status="error", evalue=regex("'endpoint'"), parent=request))
        client.iopub.expect(busy(), idle(), parent=request)
        assert kernel._tracing.taps == ()


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    context: Context = zmq.Context()
    found = Tracing(context, SystemClock(), unread_bytes=3 * copy_bytes([b"1234"]))
    yield found
    found.stop()
    context.term()


def test_what_nobody_reads_is_dropped_and_counted(tracing: Tracing, listening: Ear) -> None:
    """A tracer that stalls costs the kernel no more than its budget, and sees how much it has missed."""
    tracing.begin({"endpoint": listening.endpoint})
    (tap,) = tracing.taps
    for number in range(1000, 1010):
        tap("iopub", "<-", [b"%d" % number])
    assert [listening.copy()[1] for _ in range(3)] == [[b"1000"], [b"1001"], [b"1002"]]
    listening.socket.send(b"%d" % copy_bytes([b"1000"]))
    assert listening.copy()[0]["dropped"] == 7
    tap("shell", "->", [b"1010"])
    tap("shell", "->", [b"1011"])
    about, frames = listening.copy()
    assert (about["dropped"], frames) == (0, [b"1010"])
    listening.socket.send(b"%d" % (3 * copy_bytes([b"1000"])))
    assert listening.copy()[0]["dropped"] == 1


def test_one_that_has_gone_is_forgotten(tracing: Tracing, tmp_path: Path) -> None:
    with ear(tmp_path) as gone:
        tracing.begin({"endpoint": gone.endpoint})
        (sender,) = [thread for thread in threading.enumerate() if thread.name == "kernelbridge-trace"]
    sender.join(DEADLINE)
    assert not sender.is_alive()
    assert tracing.taps == ()


def test_none_is_begun_for_nobody(tracing: Tracing) -> None:
    with pytest.raises(ContentError, match="refused"):
        tracing.begin({"endpoint": "ipc:///nobody/listens"})
    assert tracing.taps == ()
