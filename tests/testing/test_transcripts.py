"""Transcripts: what their file holds, and where one comes from."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    ANY,
    ManualKernel,
    ProtocolClient,
    Record,
    ScriptedKernel,
    Transcript,
    TranscriptError,
    busy,
    comm_open,
    display,
    error,
    execute_input,
    execute_reply,
    execute_request,
    idle,
    input_request,
    on,
    reply,
    stdout,
)
from tests.support.kernels import Cells
from tests.testing.talk import Talk, said

FIRST = '{"format":"kernelbridge transcript","version":1}'


# The file


def test_a_transcript_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    talk = Talk()
    request = talk.add("->", "shell", "execute_request", {"code": "é"}, identities=[b"me"])
    talk.add("<-", "iopub", "comm_msg", {"data": {}}, request, metadata={"a": 1}, buffers=[b"\0\xff", b""])
    subscription = Record("->", "iopub", 0.5, frames=[b"\1"], note="a subscription")
    transcript = Transcript([subscription, *talk.records])
    transcript.save(tmp_path / "folder" / "talk.jsonl")
    loaded = Transcript.load(tmp_path / "folder" / "talk.jsonl")
    assert loaded.records == transcript.records
    assert loaded.name == str(tmp_path / "folder" / "talk.jsonl")


def test_a_line_can_be_read_by_a_person(tmp_path: Path) -> None:
    transcript = said("hi\n")
    transcript.save(tmp_path / "talk.jsonl")
    lines = (tmp_path / "talk.jsonl").read_text().splitlines()
    assert lines[0] == FIRST
    line = json.loads(lines[3])
    assert (line["direction"], line["channel"], line["seconds"]) == ("<-", "iopub", 2.0)
    assert line["content"] == {"name": "stdout", "text": "hi\n"}
    assert line["parent_header"] == json.loads(lines[1])["header"]
    assert "buffers" not in line


def message(**fields: Any) -> str:
    """Return the line of a message in which `fields` are other than they should be; those that are ANY are left out."""
    good = {
        "direction": "->",
        "channel": "shell",
        "seconds": 0,
        "header": {"msg_id": "1", "msg_type": "x"},
        "content": {},
    }
    return json.dumps({name: value for name, value in (good | fields).items() if value is not ANY})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", f"line 1: is no transcript, which begins with {FIRST}"),
        ("{}", f"line 1: is no transcript, which begins with {FIRST}"),
        ("{", f"line 1: is no transcript, which begins with {FIRST}"),
        (FIRST.replace("1}", "2}"), "line 1: is of version 2, and this program reads 1"),
        (f"{FIRST}\n{{", "line 2: not JSON: "),
        (f"{FIRST}\n\n[]", "line 3: must be an object, not a list of 0"),
        (f"{FIRST}\n{message(direction='up')}", "line 2: direction must be '->' or '<-', not 'up'"),
        (
            f"{FIRST}\n{message(channel='tv')}",
            "line 2: channel must be one of shell, iopub, stdin, control, hb, not 'tv'",
        ),
        (f"{FIRST}\n{message(seconds=True)}", "line 2: seconds must be a number, not True"),
        (f"{FIRST}\n{message(header=ANY)}", "line 2: header is missing: it must be an object"),
        (f"{FIRST}\n{message(header={'msg_id': '1'})}", "line 2: header without msg_type"),
        (f"{FIRST}\n{message(content=ANY)}", "line 2: content is missing: it must be an object"),
        (f"{FIRST}\n{message(metadata=3)}", "line 2: metadata must be an object, not 3"),
        (f"{FIRST}\n{message(buffers=['?'])}", "line 2: buffers must be a list of base64 texts"),
        (f"{FIRST}\n{message(frames=[1])}", "line 2: content is no field of such a line"),
        (f"{FIRST}\n{message(colour='blue')}", "line 2: colour is no field of such a line"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(TranscriptError) as raised:
        Transcript.load(path)
    assert str(raised.value).startswith(f"{path}, {problem}")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match=r"none\.jsonl: cannot be read: No such file"):
        Transcript.load(tmp_path / "none.jsonl")
    with pytest.raises(TranscriptError, match="cannot be written: Is a directory"):
        Transcript([]).save(tmp_path)


# What a client has seen


def show(kernel: Kernel) -> None:
    kernel.write("stdout", "one\n")
    kernel.flush()
    kernel.write("stdout", "two\n")
    comm = kernel.comms.open("target", {"n": 1})
    shown = {"text/plain": f"<Comm {comm.comm_id} at {hex(id(comm))}>"}
    transient = {"display_id": uuid.uuid4().hex}
    kernel.publish("display_data", {"data": shown, "metadata": {}, "transient": transient})


def ask(kernel: Kernel) -> None:
    kernel.write("stdout", kernel.input("name?"))


def fail(kernel: Kernel) -> None:
    raise ValueError("badly")


def session() -> Transcript:
    with ProtocolClient(Cells(show=show, ask=ask, fail=fail)) as client:
        first = client.execute("show")
        shown = (stdout("one\ntwo\n"), comm_open("target"), display())
        client.iopub.expect(busy(), execute_input(), *shown, idle(), parent=first)
        second = client.execute("ask")
        client.stdin.expect(input_request())
        client.answer("Ada")
        client.iopub.expect(busy(), execute_input(), stdout("Ada"), idle(), parent=second)
        client.execute("fail")
        client.iopub.expect(busy(), execute_input(), error(), idle())
        client.shell.expect(execute_reply(), execute_reply(), execute_reply("error"))
        return Transcript.of(client)


def test_two_sessions_that_said_the_same_are_the_same(tmp_path: Path) -> None:
    """Whatever ids, dates, addresses and cuts of a stream each of them has."""
    one, other = session(), session()
    one.save(tmp_path / "one.jsonl")
    other.assert_same(Transcript.load(tmp_path / "one.jsonl"))


def test_both_ends_have_the_same_transcript() -> None:
    script = on(execute_request("x"), busy(), stdout("hi"), reply(), idle())
    with ScriptedKernel(script) as kernel, ProtocolClient(kernel.connection) as client:
        client.execute("x")
        client.iopub.expect(busy(), stdout("hi"), idle())
        client.shell.expect(execute_reply())
        kernel.wait()
        seen, said = Transcript.of(client), Transcript.of(kernel)
    # Of the kernel's, without what the client asks before the test.
    asked = {one.message.msg_id for one in seen.records if one.message and one.direction == "->"}
    mine = [one for one in said.records if one.message and asked & {one.message.msg_id, one.message.parent_id}]
    seen.assert_same(Transcript(mine))


def test_what_was_no_message_is_in_a_kernel_s_transcript_by_what_it_was() -> None:
    with ManualKernel() as kernel:
        kernel.send_frames("iopub", [b"rubbish"])
        (record,) = Transcript.of(kernel).records
    assert record == Record("<-", "iopub", record.seconds, note="no delimiter among 1 frames")


def test_a_transcript_is_shown_to_a_person_as_a_time_line() -> None:
    sent = [line.split()[1:] for line in session().lines() if "->" in line]
    assert [words[1:3] for words in sent] == [["shell", "r1"], ["shell", "r2"], ["stdin", "r3"], ["shell", "r4"]]


# Installed kernels


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kernelbridge", "python3"])
def test_an_installed_kernel_says_the_same_twice(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    codes = [
        "print('hi'); object()",
        "from comm import create_comm; comm = create_comm('target', {'n': 1}); comm.send({'n': 2})",
        "import IPython; IPython.display.display(object(), display_id=True).update(1)",
        "1 / 0",
    ]

    def session() -> Transcript:
        with ProtocolClient(name) as client:
            client.send("kernel_info_request")
            for code in codes:
                client.execute(code)
                client.read_all()
            return Transcript.of(client)

    session().assert_same(session())
