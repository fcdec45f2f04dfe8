"""The benchmarks run: what nobody starts for a month must not have rotted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("option", "value"), [("--kernels", "nonesuch"), ("--rows", "nonesuch"), ("--rounds", "0")])
def test_a_bad_option_is_one_line(option: str, value: str) -> None:
    """A user's mistake is answered with what there is to choose from, and no traceback."""
    done = run(option, value)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("python -m tests.benchmarks: error: ")
