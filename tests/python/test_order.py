"""Not one trial out of order, not one message after its idle (K1-K6), seen through a plain jupyter_client."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest

from tests.python import order
from tests.support.kernels import PYTHON_KERNEL, blocking_client, process


def held(folder: Path, trials: int, transport: Literal["ipc", "tcp"]) -> None:
    with process(PYTHON_KERNEL, folder, transport=transport) as (_, _, file), blocking_client(file) as client:
        counts = order.run(client, trials)
    assert counts == {kind: order.Counts(trials=trials) for kind in order.CELLS}


def test_a_few_trials_of_each_kind(tmp_path: Path) -> None:
    held(tmp_path, 40, "ipc")


@pytest.mark.slow
def test_ten_thousand_trials(tmp_path: Path) -> None:
    held(tmp_path, 10_000 // len(order.CELLS), "tcp")


def test_the_program_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert order.main(["--trials", "5", "--transport", "ipc"]) == 0
    table = capsys.readouterr().out
    for kind in order.CELLS:
        assert re.search(rf"^{re.escape(kind)} +1 +0 +0$", table, re.MULTILINE)


def test_the_program_names_the_kernels_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert order.main(["--kernel", "nonesuch"]) == 2
    assert re.fullmatch(r"no kernel 'nonesuch'; there are: kernelbridge, .*\n", capsys.readouterr().err)


def test_the_program_counts_what_another_kernel_gives() -> None:
    """The same trials with ipykernel: it runs, whatever it finds."""
    assert order.main(["--trials", "5", "--kernel", "python3", "--transport", "ipc"]) in (0, 1)
