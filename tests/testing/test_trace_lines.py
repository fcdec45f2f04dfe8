"""How a trace is shown: lines for people, filters, JSON lines."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kernelbridge.testing.trace import (
    Filters,
    JsonLines,
    Lines,
    Note,
)
from kernelbridge.testing.transcripts import Record, Transcript
from kernelbridge.testing.transcripts.records import Direction
from kernelbridge.wire.connection import (
    Channel,
)
from kernelbridge.wire.messages import Header, Message


def record(
    direction: Direction,
    channel: Channel,
    msg_type: str,
    content: dict[str, Any],
    *,
    msg_id: str = "",
    session: str = "kernel",
    parent: Header | None = None,
    number: int | None = None,
) -> Record:
    header = Header(msg_id or f"id-{msg_type}", msg_type, session)
    metadata = {} if number is None else {"kernelbridge": {"seq": number}}
    return Record(direction, channel, 1.5, Message(header, content, parent, metadata))


ONE = Header("one", "execute_request", "lab")
TWO = Header("two", "execute_request", "console")
SESSION: list[Record | Note] = [
    Note("view", "all channels"),
    record("->", "shell", "execute_request", {"code": "1"}, msg_id="one", session="lab"),
    record("<-", "iopub", "status", {"execution_state": "busy"}, parent=ONE, number=7),
    record("<-", "iopub", "stream", {"name": "stderr", "text": "a\n"}, parent=ONE, number=8),
    Note("gap", "1 message is missing: number 9"),
    record("<-", "iopub", "comm_msg", {"comm_id": "c", "data": {"n": 1}}, parent=TWO, number=10),
    record("<-", "shell", "execute_reply", {"status": "ok"}, parent=ONE),
    Record("->", "shell", 2.0, None, [b"12", b"345"], "wrong signature"),
    record("<-", "iopub", "bad\x1b[2J", {"text": "\x9b"}),
]


def lines(*, full: bool = False, terminal: bool = False, **filters: Any) -> list[str]:
    out = StringIO()
    console = Console(
        file=out, highlight=False, force_terminal=terminal, width=40, color_system="standard" if terminal else None
    )
    show = Lines(console, Filters(**filters), full=full)
    for item in SESSION:
        show.show(item)
    return out.getvalue().splitlines()


def test_each_message_is_a_line() -> None:
    assert lines() == [
        "-- all channels",
        "    1.500  -> shell   A.r1           execute_request '1'",
        "    1.500  <- iopub   A.r1       #7  busy",
        "    1.500  <- iopub   A.r1       #8  stderr 'a\\n'",
        "-- 1 message is missing: number 9",
        "    1.500  <- iopub   B.r2      #10  comm_msg comm_id='c' data={'n': 1}",
        "    1.500  <- shell   A.r1           execute_reply status='ok'",
        "    2.000  -> shell                  no message: wrong signature (2 frames, 5 bytes)",
        "    1.500  <- iopub   -              bad\\x1b[2J text='\\x9b'",
    ]


def test_on_a_terminal_a_gap_is_red() -> None:
    assert "\x1b[1;31m-- 1 message is missing: number 9\x1b[0m" in lines(terminal=True)


def test_whole_contents() -> None:
    shown = lines(full=True, types=["comm_*"])
    assert shown[-12:] == [
        "    1.500  <- iopub   B.r2      #10  comm_msg comm_id='c' data={'n': 1}",
        '      "content": {',
        '        "comm_id": "c",',
        '        "data": {',
        '          "n": 1',
        "        }",
        "      },",
        '      "metadata": {',
        '        "kernelbridge": {',
        '          "seq": 10',
        "        }",
        "      }",
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"types": ["stream", "comm_*"]}, ["stderr", "comm_msg"]),
        ({"channels": ["shell"]}, ["execute_request", "execute_reply", "no"]),
        ({"parents": ["r2"]}, ["comm_msg"]),
        ({"parents": ["B"]}, ["comm_msg"]),
        ({"parents": ["A.r1"], "channels": ["iopub"]}, ["busy", "stderr"]),
        ({"parents": ["console"]}, ["comm_msg"]),
        ({"parents": ["tw*"]}, ["comm_msg"]),
        ({"text": re.compile("wrong|'a")}, ["stderr", "no"]),
        ({"text": re.compile('"n": 1')}, ["comm_msg"]),
        ({"types": ["none"]}, []),
    ],
)
def test_filters(filters: dict[str, Any], expected: list[str]) -> None:
    shown = [line[37:].split()[0] for line in lines(**filters) if not line.startswith("--")]
    assert shown == expected


def test_json_lines_are_a_transcript(tmp_path: Path) -> None:
    told: list[str] = []
    with (tmp_path / "t.jsonl").open("wb") as file:
        show = JsonLines(file.write, told.append, Filters(channels=["shell"]))
        for item in SESSION:
            show.show(item)
    assert show.shown.total() == 3
    kept = Transcript.load(tmp_path / "t.jsonl").records
    assert kept == [item for item in SESSION if isinstance(item, Record) and item.channel == "shell"]
    assert told == ["all channels", "1 message is missing: number 9"]
