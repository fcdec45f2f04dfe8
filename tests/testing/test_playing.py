"""A transcript played again: as a frontend against a kernel, and as a kernel for a frontend."""

from __future__ import annotations

from typing import Any

import pytest

from kernelbridge.frontend.bridge import connect
from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    ANY,
    DEADLINE,
    ProtocolClient,
    ProtocolFailure,
    Recorder,
    ScriptedKernel,
    Transcript,
    busy,
    comm_msg,
    comm_open,
    error,
    execute_input,
    execute_reply,
    execute_request,
    handle,
    idle,
    input_request,
    message,
    on,
    play_frontend,
    play_kernel,
    reply,
    result,
    stdout,
)
from kernelbridge.testing.transcripts import Record
from kernelbridge.wire.messages import Message
from tests.support.kernels import Cells

SOON = 0.3
"""The deadline, in seconds, where a test is of what never comes."""


def hi(kernel: Kernel) -> None:
    kernel.write("stdout", "hi ")
    kernel.flush()
    kernel.write("stdout", "there\n")


def ask(kernel: Kernel) -> None:
    kernel.write("stdout", kernel.input("name?"))


def fail(kernel: Kernel) -> None:
    raise ValueError("badly")


class Echoing(Cells):
    """Answers what is said on its comms, its own and those of frontends."""

    def __init__(self, **cells: Any) -> None:
        super().__init__(**{"hi": hi, "ask": ask, "fail": fail, "open": self.open, **cells})

    def start(self) -> None:
        super().start()
        self.kernel.comms.register_target("echo", self.opened)

    def open(self, kernel: Kernel) -> None:
        self.opened(kernel.comms.open("of_kernel", {"n": 1}), None)

    def opened(self, comm: Comm, _: Message | None) -> None:
        comm.on_msg = lambda said: comm.send({"heard": said.content["data"]}, buffers=said.buffers)


def talk(client: ProtocolClient) -> None:
    """All kinds of requests, some of them sent while another runs."""
    asking, failing, aborted = client.execute("ask"), client.execute("fail"), client.execute("hi")
    client.stdin.expect(input_request("name?", parent=asking))
    client.answer("Ada")
    client.iopub.expect(busy(), execute_input(), stdout("Ada"), idle(), parent=asking)
    client.iopub.expect(busy(), execute_input(), error("ValueError"), idle(), parent=failing)
    client.iopub.expect(busy(), idle(), parent=aborted)
    client.shell.expect(execute_reply(), execute_reply("error"), execute_reply("aborted"))
    client.execute("hi")
    client.iopub.expect(busy(), execute_input(), stdout("hi there\n"), idle())
    client.execute("open")
    _, _, opened, _ = client.iopub.expect(busy(), execute_input(), comm_open("of_kernel"), idle())
    client.shell.expect(execute_reply(), execute_reply())
    for comm_id in (opened.content["comm_id"], "of-frontend"):
        if comm_id == "of-frontend":
            client.send("comm_open", comm_id=comm_id, target_name="echo", data={})
            client.iopub.expect(busy(), idle())
        client.send("comm_msg", comm_id=comm_id, data={"a": 1}, buffers=[b"raw"])
        heard = comm_msg({"heard": {"a": 1}}, comm_id=comm_id, buffers=[b"raw"])
        client.iopub.expect(busy(), heard, idle())
    client.send("kernel_info_request", channel="control")
    client.control.expect(reply("kernel_info"))
    client.iopub.expect(busy(), idle())


def recorded() -> Transcript:
    with ProtocolClient(Echoing()) as client:
        talk(client)
        return Transcript.of(client)


# As a frontend


def test_the_same_kernel_says_the_same_again() -> None:
    stored = recorded()
    play_frontend(stored, Echoing()).assert_same(stored)


def test_what_a_recorder_has_written_is_played_too() -> None:
    with Recorder(Echoing()) as recorder, ProtocolClient(recorder.connection) as client:
        talk(client)
    stored = recorder.transcript
    played = play_frontend(stored, Echoing())
    kinds = [one.message.msg_type for one in stored.records if one.message and one.direction == "->"]
    assert [one.message.msg_type for one in played.records if one.message and one.direction == "->"] == kinds
    texts = [one.message.content for one in played.records if one.message and one.message.msg_type == "comm_msg"]
    assert len(texts) == 4


def test_nothing_is_sent_before_what_it_followed() -> None:
    """The answer to a question, however long the kernel takes to ask."""
    stored = recorded()
    played = play_frontend(stored, Echoing())
    order = [one.message.msg_type for one in played.records if one.message and one.channel == "stdin"]
    assert order == ["input_request", "input_reply"]


def test_another_kernel_may_say_less_and_the_difference_is_told() -> None:
    stored = recorded()
    played = play_frontend(stored, Echoing(hi=lambda kernel: kernel.write("stdout", "hi\n")))
    report = played.difference(stored).splitlines()
    assert report[0] == "this session is not the stored transcript: iopub, from shell 4 (execute_request 'hi')"
    assert report[1] == "  message 3: content.text is 'hi\\n', not 'hi there\\n'"


def test_a_kernel_that_does_not_do_what_comes_before_fails() -> None:
    script = [on(execute_request("ask"), busy())]
    with pytest.raises(ProtocolFailure) as failure, ScriptedKernel(*script) as kernel:
        stored = recorded()
        first = next(place for place, one in enumerate(stored.records) if one.message and one.channel == "stdin")
        asking = stored.records[0].message
        assert asking is not None
        only = [
            one
            for place, one in enumerate(stored.records)
            if place == 0 or place in (first, first + 1) or (one.message and one.message.parent_id == asking.msg_id)
        ]
        play_frontend(Transcript(only), kernel.connection, deadline=SOON)
    assert failure.value.headline == (
        "input_reply value='Ada' is not played: the kernel has not sent all that it had sent before"
    )
    why = str(failure.value).splitlines()[1]
    assert why.strip() in {
        f"{kind}, in answer to execute_request 'ask', is missing: nothing came within {SOON} s"
        for kind in ("execute_input on iopub", "input_request on stdin")
    }


def test_a_session_that_ends_the_kernel() -> None:
    with ProtocolClient(Echoing()) as client:
        request = client.send("shutdown_request", restart=False)
        client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
        client.control.expect(reply("shutdown"))
        stored = Transcript.of(client)
    play_frontend(stored, Echoing()).assert_same(stored)


def test_what_was_no_message_is_sent_again() -> None:
    stored = recorded()
    rubbish = Record("->", "shell", 0, frames=[b"me", b"rubbish"], note="no delimiter among 2 frames")
    with Recorder(Echoing()) as recorder:
        play_frontend(Transcript([rubbish, *stored.records]), recorder.connection)
    assert any(one.frames[1:] == [b"rubbish"] for one in recorder.transcript.records)


def test_what_nobody_waits_for_is_in_the_transcript_too() -> None:
    """A kernel that says more than the transcript has is heard to the end."""
    with ProtocolClient(Cells(hi=lambda kernel: None)) as client:
        client.execute("hi")
        client.iopub.expect(busy(), execute_input(), idle())
        client.shell.expect(execute_reply())
        stored = Transcript.of(client)
    played = play_frontend(stored, Cells(hi=hi))
    assert "message 3: its type is stream, not status" in played.difference(stored)


def test_what_somebody_else_has_asked_is_not_waited_for() -> None:
    with ProtocolClient(Echoing()) as client:
        client.execute("hi")
        client.iopub.expect(busy(), execute_input(), stdout("hi there\n"), idle())
        client.shell.expect(execute_reply())
        stored = Transcript.of(client)
    others = [one for one in stored.records if one.direction == "<-"]
    alone = [one for one in recorded().records if one.message and one.message.msg_type == "kernel_info_request"]
    played = play_frontend(Transcript([*others, *alone]), Echoing(), deadline=DEADLINE)
    assert [one.message.msg_type for one in played.records if one.message and one.direction == "->"] == [
        "kernel_info_request"
    ]


# As a kernel


def test_a_kernel_is_played_for_its_frontend() -> None:
    stored = recorded()
    with play_kernel(stored) as kernel, ProtocolClient(kernel.connection) as client:
        talk(client)
        Transcript.of(client).assert_same(stored)


def test_both_ends_are_played() -> None:
    stored = recorded()
    with play_kernel(stored) as kernel:
        play_frontend(stored, kernel.connection).assert_same(stored)


def test_a_frontend_makes_up_its_own_ids_and_hears_them_again() -> None:
    def open_comm(client: ProtocolClient, comm_id: str) -> None:
        client.send("comm_open", comm_id=comm_id, target_name="echo", data={"id": comm_id})
        client.iopub.expect(busy(), idle())
        client.send("comm_msg", comm_id=comm_id, data={})
        client.iopub.expect(busy(), comm_msg(comm_id=comm_id), idle())

    with ProtocolClient(Echoing()) as client:
        open_comm(client, "one")
        stored = Transcript.of(client)
    with play_kernel(stored) as kernel, ProtocolClient(kernel.connection) as client:
        open_comm(client, "other")


def test_a_kernel_is_played_for_any_frontend() -> None:
    with Recorder(Echoing()) as recorder:
        with connect(recorder.connection) as bridge:
            first = bridge.execute("hi").result(DEADLINE).content
        stored = recorder.transcript
    with play_kernel(stored) as kernel, connect(kernel.connection) as bridge:
        assert bridge.execute("hi").result(DEADLINE).content == first


def test_a_frontend_that_sends_something_else_is_told() -> None:
    stored = recorded()
    with (
        pytest.raises(ProtocolFailure) as failure,
        play_kernel(stored, deadline=10) as kernel,
        ProtocolClient(kernel.connection) as client,
    ):
        client.execute("ask")
        client.execute("hi")
        kernel.wait()
    assert failure.value.headline == "shell: the message is not what was expected"
    assert "content.code is 'hi', not 'fail'" in str(failure.value)


def test_nothing_is_filled_in_and_rubbish_is_sent_as_it_was() -> None:
    script = on(execute_request("x"), busy(), message("custom", a=1), handle(result("7")))
    with ScriptedKernel(script) as kernel, ProtocolClient(kernel.connection) as client:
        client.execute("x")
        client.iopub.expect(busy(), message("custom"), busy(), result("7"), idle())
        client.shell.expect(reply("execute"))
        stored = Transcript.of(client)
    sparse = [one for one in stored.records if one.message is None or one.message.msg_type != "execute_reply"]
    answer = next(one for one in stored.records if one.message and one.message.msg_type == "execute_reply")
    assert answer.message is not None
    answer.message.content = {"status": "odd"}
    with play_kernel(Transcript([*sparse, answer])) as kernel, ProtocolClient(kernel.connection) as client:
        client.execute("x")
        client.iopub.expect(busy(), message("custom", a=1), busy(), result("7"), idle())
        (found,) = client.shell.expect(message("execute_reply", status=ANY))
        assert found.content == {"status": "odd"}
    rubbish = Record("<-", "iopub", 0, frames=[b"rubbish"], note="no delimiter among 1 frames")
    with (
        pytest.raises(ProtocolFailure, match="what came is no message"),
        play_kernel(Transcript([stored.records[0], rubbish])) as kernel,
        ProtocolClient(kernel.connection) as client,
    ):
        client.execute("x")
        client.iopub.expect(busy())
