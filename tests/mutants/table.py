"""What became of the faults, as rows on the terminal and as the table that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.mutants.fault import Fault

TABLE = Path(__file__).with_name("TABLE.md")

_HEAD = """\
# The faults, and what caught them

Written by `python -m tests.mutants --write`. A fault is caught by the first test that fails; the seconds are those
until then, the start of pytest included. (hangs): the test did not end by itself.

| fault | in | breaks | caught by | s |
|---|---|---|---|---|
"""


@attrs.frozen
class Verdict:
    """What became of a fault: `by` is what caught it, or why it was not caught; `said` is what the test said."""

    fault: Fault
    caught: bool
    by: str
    seconds: float = 0.0
    said: str = ""


def heading(fault: Fault) -> str:
    """Return how a row on the terminal begins."""
    return f"{fault.name:48} {fault.breaks:17}"


def row(verdict: Verdict) -> str:
    """Return a row for the terminal, and below it what the test said."""
    mark = "" if verdict.caught else "NOT CAUGHT: "
    said = f"\n{'':48} {verdict.said[:200]}" if verdict.said else ""
    return f"{heading(verdict.fault)} {verdict.seconds:6.1f} s  {mark}{verdict.by}{said}"


def keep(verdicts: Sequence[Verdict], faults: Sequence[Fault], table: Path = TABLE) -> None:
    """Write the table of all `faults`. Those on which there is no verdict keep the row that they had."""
    rows = {}
    if table.is_file():
        for line in table.read_text(encoding="utf-8").splitlines():
            rows[line.removeprefix("| ").partition(" | ")[0]] = line
    for verdict in verdicts:
        rows[verdict.fault.name] = _line(verdict.fault, verdict)
    lines = [rows.get(fault.name) or _line(fault, Verdict(fault, False, "not tried")) for fault in faults]
    table.write_text(_HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")


def _line(fault: Fault, verdict: Verdict) -> str:
    mark = "" if verdict.caught else "**not caught**: "
    file = fault.file.removeprefix("kernelbridge/")
    by = verdict.by.replace("|", "\\|")
    return f"| {fault.name} | {file} | {fault.breaks} | {mark}{by} | {verdict.seconds:.0f} |"
