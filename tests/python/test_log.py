"""KERNELBRIDGE_LOG: what passes, at both ends, a line for each message."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kernelbridge.testing import DEADLINE, ProtocolClient, busy, idle, result
from kernelbridge.wire.log import describe
from kernelbridge.wire.messages import Header, Message
from tests.support.exchange import run
from tests.support.kernels import PYTHON_KERNEL, ROOT, process

PROGRAM = """
from kernelbridge import launch
with launch("kernelbridge") as bridge:
    bridge.execute("print('one'); word = input('? '); 2", on_input=lambda prompt, password: "secret").result()
"""

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<pid>\d+) DEBUG"
    r" (?P<end>kernel|bridge) (?P<channel>shell|control|stdin|iopub) (?P<way>->|<-)"
    r" (?P<type>\w+) (?P<id>\w+)( of (?P<parent>\w+) (?P<parent_id>\w+))? (?P<content>.*)"
)


def ran(code: str, log: str | None) -> str:
    """Run a program with this KERNELBRIDGE_LOG, and return what it wrote to stderr."""
    environment = {name: value for name, value in os.environ.items() if name != "KERNELBRIDGE_LOG"}
    if log is not None:
        environment["KERNELBRIDGE_LOG"] = log
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def test_both_ends_log_what_passes_with_its_parent_into_one_file(tmp_path: Path) -> None:
    file = tmp_path / "log"
    assert ran(PROGRAM, f"debug:{file}") == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [LINE.fullmatch(line) for line in file.read_text().splitlines() if " DEBUG kernel: " not in line]
    messages = [line.groupdict() for line in lines if line is not None]
    assert len(messages) == len(lines)
    assert len({message["pid"] for message in messages}) == 2
    (request,) = (line["id"] for line in messages if (line["end"], line["type"]) == ("bridge", "execute_request"))
    for end in ("kernel", "bridge"):
        at_end = [line for line in messages if line["end"] == end and request in (line["id"], line["parent_id"])]
        shown = [line["type"] for line in at_end if line["channel"] == "iopub"]
        assert shown == ["status", "execute_input", "stream", "execute_result", "status"]
        others = {(line["channel"], line["way"], line["type"]) for line in at_end if line["channel"] != "iopub"}
        assert others == {
            ("shell", "->", "execute_request"),
            ("shell", "<-", "execute_reply"),
            ("stdin", "<-", "input_request"),
        }
        (answer,) = (line for line in messages if line["end"] == end and line["type"] == "input_reply")
        assert (answer["parent"], answer["content"]) == ("input_request", "...")
    assert "secret" not in re.sub("lambda.*", "", file.read_text())


BEGIN = "from kernelbridge.wire.log import begin, logger; begin(); logger.warning('said'); logger.info('not said')"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (None, ["said"]),
        ("warning", ["WARNING said"]),
        ("wat", ["ERROR KERNELBRIDGE_LOG: 'wat' is no level: debug, info, ", "WARNING said"]),
        ("error:/nowhere/log", ["ERROR KERNELBRIDGE_LOG: /nowhere/log: No such file or directory"]),
    ],
)
def test_levels_and_what_is_no_level(asked: str | None, said: list[str]) -> None:
    lines = ran(BEGIN, asked).splitlines()
    assert len(lines) == len(said)
    for line, expected in zip(lines, said, strict=True):
        assert expected in line


def test_a_message_is_one_line_of_bounded_length() -> None:
    shown = describe(Message(Header("an\nid", "stream"), {"text": "ab\n" * 2**20}, buffers=[b"1"]))
    assert shown.startswith('stream an\\nid {"text":"ab\\nab\\n')
    assert shown.endswith("... (4194315 bytes) and 1 buffers")
    assert len(shown.splitlines()) == 1
    assert len(shown) < 1100


def test_a_terminal_that_is_gone_is_no_output_of_a_cell(tmp_path: Path) -> None:
    """A kernel that outlives what has started it has something to say just then."""
    reads, writes = os.pipe()
    with process(PYTHON_KERNEL, tmp_path, stderr=writes) as (_, info, _), ProtocolClient(info) as client:
        os.close(writes)
        run(client, "pass")
        os.close(reads)
        client.send("unknown_request", channel="shell")
        client.iopub.expect(busy(), idle())
        run(client, "1", result("1"))
