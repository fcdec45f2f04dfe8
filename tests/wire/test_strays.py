"""What could not be used is counted, and logged once for each of few kinds (contract F10)."""

from __future__ import annotations

import logging

import pytest

from kernelbridge.wire.errors import WireError
from kernelbridge.wire.strays import Strays


def test_each_is_counted_and_the_first_of_a_kind_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    strays = Strays()
    with caplog.at_level(logging.INFO, "kernelbridge"):
        strays.count("iopub", "unknown type", "of_my_own")
        strays.count("iopub", "unknown type", "another")
        strays.count("iopub", "unknown parent", level=logging.INFO)
        strays.count("shell", "unknown parent")
    assert strays.counts() == {"iopub: unknown type": 2, "iopub: unknown parent": 1, "shell: unknown parent": 1}
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "iopub: unknown type (of_my_own); more of these are only counted"),
        ("INFO", "iopub: unknown parent; more of these are only counted"),
        ("WARNING", "shell: unknown parent; more of these are only counted"),
    ]


def test_what_could_not_be_decoded_is_of_three_kinds_whatever_was_sent() -> None:
    strays = Strays()
    strays.refuse("shell", WireError("wrong signature"))
    strays.refuse("shell", WireError("replayed message"))
    for number in range(100):
        strays.refuse("shell", WireError(f"no delimiter among {number} frames"))
    assert strays.counts() == {
        "shell: wrong signature": 1,
        "shell: replayed message": 1,
        "shell: malformed message": 100,
    }
