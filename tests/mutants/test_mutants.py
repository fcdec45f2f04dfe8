"""The table of faults is up to date: each still applies, changes the code, and names tests that there are.

Whether each is caught takes a quarter of an hour to tell: `python -m tests.mutants`.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.__main__ import main
from tests.mutants.fault import ROOT, DoesNotApplyError, Fault
from tests.mutants.faults import FAULTS
from tests.mutants.table import Verdict, keep


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_still_applies_and_changes_the_code(fault: Fault) -> None:
    source = (ROOT / fault.file).read_text(encoding="utf-8")
    faulty = ast.parse(fault.applied(source))
    assert ast.dump(faulty) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_tests_that_a_fault_names_are_there(fault: Fault) -> None:
    assert fault.tests
    for test in fault.tests:
        file, *names = test.split("::")
        scope = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for name in names:
            (found,) = [node for node in scope if getattr(node, "name", None) == name]
            scope = getattr(found, "body", [])


def test_there_are_enough_of_both_ends_and_no_two_of_a_name() -> None:
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []
    rooms = Counter(fault.file.split("/")[1] for fault in FAULTS)
    assert rooms["kernel"] >= 30
    assert rooms["frontend"] >= 30


@pytest.mark.parametrize("text", ["nowhere in it", "twice"])
def test_a_fault_whose_text_is_not_there_once_does_not_apply(text: str) -> None:
    fault = Fault("a fault", "a/file.py", text, "other", "nothing", ())
    with pytest.raises(DoesNotApplyError, match=r"its text is in a/file\.py [02] times"):
        fault.applied("twice, twice")


def test_the_command_lists_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "numbers", "done at"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in listed] == [
        "numbers begin with 0",
        "done at the reply alone",
        "done at the idle alone",
    ]


def test_the_table_keeps_the_rows_of_faults_that_were_not_tried(tmp_path: Path) -> None:
    """Of those that there still are."""
    table = tmp_path / "TABLE.md"
    old, tried, new = (Fault(name, "kernelbridge/a.py", "a", "b", "K1", ("t.py",)) for name in ("old", "tried", "new"))
    gone = Fault("gone", "kernelbridge/a.py", "a", "b", "K1", ("t.py",))
    keep([Verdict(fault, True, "a test", 1.0) for fault in (gone, old, tried)], [gone, old, tried], table)
    keep([Verdict(tried, False, "all tests pass", 2.0)], [old, tried, new], table)
    assert table.read_text().splitlines()[-3:] == [
        "| old | a.py | K1 | a test | 1 |",
        "| tried | a.py | K1 | **not caught**: all tests pass | 2 |",
        "| new | a.py | K1 | **not caught**: not tried | 0 |",
    ]


@pytest.mark.parametrize("arguments", [["no such fault"], ["--jobs", "0"]])
def test_a_bad_option_is_told_in_a_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
