"""The recorder: any session between a kernel and its frontends, passed on unchanged and written down as it was seen."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import zmq
from jupyter_core.utils import ensure_event_loop

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.socket_bridge import ZERO_COPY_BYTES
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    ProtocolFailure,
    Recorder,
    ScriptedKernel,
    Transcript,
    bad_signature,
    busy,
    capture,
    comm_msg,
    error,
    execute_input,
    execute_reply,
    execute_request,
    garbage,
    idle,
    input_reply,
    input_request,
    iopub_welcome,
    on,
    reply,
    stdout,
)
from kernelbridge.testing.targets import Target
from kernelbridge.testing.transcripts.records import Direction
from kernelbridge.wire.connection import CHANNELS, Channel, ConnectionInfo, random_curve_keys, random_key
from kernelbridge.wire.messages import Message
from tests.support.kernels import Cells, blocking_client, serving, tcp


@pytest.fixture(autouse=True, scope="module")
def what_jupyter_client_keeps() -> None:
    """Let jupyter_client make the event loop that it keeps for the life of the thread."""
    ensure_event_loop()


def hi(kernel: Kernel) -> None:
    kernel.write("stdout", "hi\n")


def ask(kernel: Kernel) -> None:
    kernel.write("stdout", kernel.input("name?"))


def fail(kernel: Kernel) -> None:
    raise ValueError("badly")


def cells() -> Cells:
    return Cells(hi=hi, ask=ask, fail=fail)


def messages(transcript: Transcript, channel: Channel, direction: Direction = "<-") -> list[Message]:
    return [
        record.message
        for record in transcript.records
        if (record.channel, record.direction) == (channel, direction) and record.message is not None
    ]


def talk(client: ProtocolClient) -> None:
    request = client.execute("ask")
    client.stdin.expect(input_request("name?"))
    client.answer("Ada")
    client.iopub.expect(busy(), execute_input(), stdout("Ada"), idle(), parent=request)
    client.execute("fail")
    client.iopub.expect(busy(), execute_input(), error("ValueError"), idle())
    client.shell.expect(execute_reply(), execute_reply("error"))
    client.send("kernel_info_request", channel="control")
    client.iopub.expect(busy(), idle())
    client.control.expect(reply("kernel_info"))


def record(kernel: Target) -> None:
    """Hold that a client sees what is recorded, and in the same order on each channel."""
    with Recorder(kernel) as recorder:
        with ProtocolClient(recorder.connection) as client:
            talk(client)
            seen = Transcript.of(client)
        recorded = recorder.transcript
    asked = {message.msg_id for channel in CHANNELS for message in messages(seen, channel, "->")}
    for channel in CHANNELS:
        # Without what the client asks and forgets, before the test and behind it.
        found = [one for one in messages(recorded, channel) if one.parent_id in asked]
        assert [(one.header, one.content) for one in found] == [
            (one.header, one.content) for one in messages(seen, channel)
        ]
        sent = [one.header for one in messages(recorded, channel, "->") if one.msg_id in asked]
        assert sent == [one.header for one in messages(seen, channel, "->")]


def curve() -> ConnectionInfo:
    public, secret = random_curve_keys()
    return ConnectionInfo(ip="127.0.0.1", key=random_key(), curve_publickey=public, curve_secretkey=secret)


def test_what_a_client_sees_is_what_is_recorded_of_a_handler() -> None:
    record(cells())


@pytest.mark.parametrize("info", ["tcp", "ipc", "curve"])
def test_what_a_client_sees_is_what_is_recorded_over_any_transport(info: str, tmp_path: Path) -> None:
    ipc = ConnectionInfo(transport="ipc", ip=str(tmp_path / "k"), key=random_key())
    with serving(cells(), {"tcp": tcp(), "ipc": ipc, "curve": curve()}[info]) as kernel:
        record(kernel.connection)


def test_a_kernel_that_has_a_name_is_launched_for_the_time_of_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with Recorder("kernelbridge") as recorder, ProtocolClient(recorder.connection_file) as client:
        request = client.execute("print('hi')")
        client.iopub.expect(busy(), execute_input(), stdout("hi\n"), idle(), parent=request)
        client.shell.expect(execute_reply())
    texts = [one.content["text"] for one in messages(recorder.transcript, "iopub") if one.msg_type == "stream"]
    assert texts == ["hi\n"]


def test_another_frontend_is_recorded() -> None:
    with Recorder(cells()) as recorder:
        with blocking_client(recorder.connection_file) as client:
            client.execute_interactive(
                "ask", allow_stdin=True, stdin_hook=lambda _: client.input("Ada"), timeout=DEADLINE
            )
        recorded = recorder.transcript
    assert [one.content["value"] for one in messages(recorded, "stdin", "->")] == ["Ada"]
    subscription = next(one for one in recorded.records if one.channel == "iopub" and one.direction == "->")
    assert subscription.note == "subscribes to ''"
    assert subscription.frames == [b"\x01"]


def test_heartbeats_are_recorded() -> None:
    with Recorder(cells()) as recorder, zmq.Context() as context, context.socket(zmq.REQ) as heart:
        heart.linger = 0
        heart.connect(recorder.connection.endpoint("hb"))
        heart.send(b"ping")
        assert heart.poll(round(DEADLINE * 1000))
        assert heart.recv() == b"ping"
    beats = [(one.direction, one.note, one.frames[1:]) for one in recorder.transcript.records]
    assert beats == [("->", "heartbeat", [b"", b"ping"]), ("<-", "heartbeat", [b"", b"ping"])]


def test_what_stands_before_a_request_was_sent_without_knowledge_of_it() -> None:
    with Recorder(cells()) as recorder, ProtocolClient(recorder.connection) as client:
        request = client.execute("hi")
        client.iopub.expect(busy(), execute_input(), stdout("hi\n"), idle())
        client.shell.expect(execute_reply())
    records = [one for one in recorder.transcript.records if one.message is not None]
    asked = next(place for place, one in enumerate(records) if one.message and one.message.msg_id == request.msg_id)
    assert not [one for one in records[:asked] if one.message and one.message.parent_id == request.msg_id]
    assert sorted(records, key=lambda one: one.seconds) == records


def test_identities_pass_so_that_a_question_finds_who_was_asked() -> None:
    """Contract F9. Nothing has come from the frontend on Stdin when it is asked."""
    asked = capture("asked")
    script = on(execute_request("x"), busy(), input_request("?"), on(input_reply("y")), reply(), idle(), request=asked)
    with ScriptedKernel(script) as kernel, Recorder(kernel.connection) as recorder:
        with ProtocolClient(recorder.connection, identity=b"ada") as client:
            request = client.execute("x")
            client.stdin.expect(input_request("?", parent=request))
            client.answer("y")
            client.iopub.expect(busy(), idle())
            client.shell.expect(execute_reply())
        kernel.wait()
    assert asked.value.identities == [b"ada"]
    assert messages(recorder.transcript, "shell", "->")[-2].identities == [b"ada"]


def test_the_subscriptions_of_all_frontends_pass() -> None:
    with Recorder(cells()) as recorder, ProtocolClient(recorder.connection) as one:
        with ProtocolClient(recorder.connection, topics=["stream"]) as other:
            one.iopub.expect(iopub_welcome("stream"), iopub_welcome(""))
            other.execute("hi")
            other.iopub.expect(stdout("hi\n"))
            other.shell.expect(execute_reply())
        one.iopub.expect(busy(), execute_input("hi"), stdout("hi\n"), idle())
    notes = {one.note for one in recorder.transcript.records if one.channel == "iopub" and one.direction == "->"}
    assert {"subscribes to 'stream'", "subscribes to ''", "unsubscribes from ''"} <= notes


def test_what_is_no_message_passes_as_it_is() -> None:
    script = [on(execute_request("x"), garbage(b"stream", b"rubbish"), bad_signature(stdout("x")), idle())]
    failures: list[str] = []
    with (
        ScriptedKernel(*script) as kernel,
        Recorder(kernel.connection) as recorder,
        ProtocolClient(recorder.connection) as client,
    ):
        client.execute("x")
        while not failures or not client.iopub.unread:
            with pytest.raises(ProtocolFailure) as failure:
                client.iopub.expect(stdout("what does not come"))
            failures.append(failure.value.headline)
        client.iopub.expect(idle())
    assert failures[0] == "what came is no message"
    spoilt = [one for one in recorder.transcript.records if one.message is None and one.direction == "<-"]
    assert [one.note for one in spoilt] == ["no delimiter among 2 frames", "wrong signature"]
    assert spoilt[0].frames == [b"stream", b"rubbish"]


def test_what_no_kernel_can_read_is_sent_to_it_all_the_same() -> None:
    with Recorder(cells()) as recorder, ProtocolClient(recorder.connection) as client:
        client.send_frames("shell", [b"rubbish"])
        client.execute("hi")
        client.iopub.expect(busy(), execute_input(), stdout("hi\n"), idle())
        client.shell.expect(execute_reply())
    notes = [(one.channel, one.note) for one in recorder.transcript.records if one.direction == "->" and one.note]
    assert ("shell", "no delimiter among 2 frames") in notes


def test_large_buffers_pass() -> None:
    big = bytes(range(256)) * (ZERO_COPY_BYTES // 128)

    def send(kernel: Kernel) -> None:
        kernel.publish("comm_msg", {"comm_id": "c", "data": {}}, buffers=[big])

    with Recorder(Cells(send=send)) as recorder, ProtocolClient(recorder.connection) as client:
        client.execute("send")
        client.iopub.expect(busy(), execute_input(), comm_msg(buffers=[big]), idle())
        client.shell.expect(execute_reply())
    found = next(one for one in messages(recorder.transcript, "iopub") if one.buffers)
    assert [bytes(buffer) for buffer in found.buffers] == [big]


def test_a_recorder_for_a_kernel_that_is_not_there_ends_all_the_same() -> None:
    nobody = tcp().with_ports(dict.fromkeys(CHANNELS, 9))
    with (
        Recorder(nobody) as recorder,
        pytest.raises(ProtocolFailure, match="does not answer"),
        ProtocolClient(recorder.connection, deadline=0.2),
    ):
        raise AssertionError("the block is not entered")
    assert not messages(recorder.transcript, "shell", "->")
    assert not recorder.connection_file.exists()


def test_what_the_recorder_raises_is_heard() -> None:
    asked = threading.Event()

    class Broken(SystemClock):
        broken = False

        def monotonic(self) -> float:
            if self.broken:
                asked.set()
                raise ZeroDivisionError
            return super().monotonic()

    clock = Broken()
    with pytest.raises(ZeroDivisionError), Recorder(cells(), clock=clock) as recorder:
        clock.broken = True
        with zmq.Context() as context, context.socket(zmq.REQ) as heart:
            heart.linger = 0
            heart.connect(recorder.connection.endpoint("hb"))
            heart.send(b"ping")
            assert asked.wait(DEADLINE)
