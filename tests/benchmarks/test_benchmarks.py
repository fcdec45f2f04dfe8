"""The benchmarks run: what nobody starts for a month must not have rotted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .report import Result, Results, owed, verdict
from .row import Limit, Row
from .rows import ROWS

ROOT = Path(__file__).parents[2]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    command = [sys.executable, "-m", "tests.benchmarks", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_row_of_the_floor_makes_a_table_and_a_file(tmp_path: Path) -> None:
    """One kernel, one row: the table has a line with a figure, the file has the samples."""
    file = tmp_path / "samples.json"

    done = run("--quick", "--kernels", "floor", "--rows", "shell-info", "--json", str(file))

    assert done.returncode == 0, done.stderr
    assert "| kernel_info round trip, Shell |" in done.stdout
    measured = json.loads(file.read_text())["rows"]["shell-info"]["floor"]
    assert measured["failed"] == ""
    assert len(measured["samples"]) == 10
    assert measured["median"] > 0


def test_a_row_of_frontends_has_a_process_of_its_own_hold_them() -> None:
    """What holds frontends and does nothing is started, measured and ended."""
    done = run("--quick", "--kernels", "kernelbridge", "--rows", "frontend-memory")

    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout
    assert "| frontend: memory of each further |" in done.stdout


@pytest.mark.parametrize(("option", "value"), [("--kernels", "nonesuch"), ("--rows", "nonesuch"), ("--rounds", "0")])
def test_a_bad_option_is_one_line(option: str, value: str) -> None:
    """A user's mistake is answered with what there is to choose from, and no traceback."""
    done = run(option, value)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("python -m tests.benchmarks: error: ")


ROW = {row.name: row for row in ROWS}


def measured(row: Row, **medians: float) -> Results:
    """Results in which these kernels have these medians in a row."""
    return {row.name: {kernel: Result([median]) for kernel, median in medians.items()}}


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "expected"),
    [
        ("pass", 0.8, 2.0, "met"),
        ("pass", 0.81, 2.0, "missed"),
        ("prints", 400, 200, "met"),
        ("prints", 399, 200, "missed"),
    ],
)
def test_a_limit_is_judged_in_the_direction_of_its_row(name: str, ours: float, theirs: float, expected: str) -> None:
    """`pass` owes at most 0.4 of ipykernel's time, prints at least twice its rate."""
    row = ROW[name]
    assert verdict(measured(row, kernelbridge=ours, ipykernel=theirs), row, row.reach) == expected


def test_nothing_is_judged_by_a_figure_that_is_not_there() -> None:
    """Without the peer, or without ours, there is neither met nor missed."""
    row = ROW["pass"]
    assert verdict(measured(row, kernelbridge=0.1), row, row.reach) == ""
    assert verdict(measured(row, ipykernel=0.1), row, row.reach) == ""


def test_an_absolute_limit_and_another_row_can_be_owed() -> None:
    """Idle memory has a limit in MB; 10,000 at once has to hold against 2,500 at once of the same kernel too."""
    memory, many, fewer = ROW["idle-memory"], ROW["burst-10000"], ROW["burst-2500"]
    assert owed(memory, memory.aim) == "<= 40 MB"
    assert verdict(measured(memory, kernelbridge=40), memory, memory.aim) == "met"
    assert many.reach == (Limit(0.5, "floor"), Limit(0.8, "burst-2500"))
    fast = measured(fewer, kernelbridge=10)
    assert verdict(measured(many, kernelbridge=8, floor=10) | fast, many, many.reach) == "met"
    assert verdict(measured(many, kernelbridge=7, floor=10) | fast, many, many.reach) == "missed"


def test_a_limit_may_add_to_what_it_multiplies() -> None:
    """A Bridge owes its `pass` within 0.3 ms of the raw client's."""
    row = ROW["frontend-pass"]
    assert owed(row, row.reach) == "<= 1 x floor + 0.3 ms"
    assert verdict(measured(row, kernelbridge=0.5, floor=0.2), row, row.reach) == "met"
    assert verdict(measured(row, kernelbridge=0.51, floor=0.2), row, row.reach) == "missed"
