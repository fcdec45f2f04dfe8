"""What a message is as text: a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kernelbridge.console import run_console
from kernelbridge.console.display import Display
from kernelbridge.frontend.errors import KernelStartError
from kernelbridge.wire.connection import write_connection_file
from kernelbridge.wire.messages import Header, Message
from tests.support.kernels import tcp


def text(msg_type: str, **content: Any) -> str:
    return Display(colour=False).text_of(Message(Header("1", msg_type), content))


def test_what_a_person_can_read_is_shown() -> None:
    """The most readable form of a MIME bundle, and what there is where there is none."""
    common: dict[str, Any] = {"metadata": {}, "transient": {}}
    for data, expected in (
        ({"text/html": "<b>", "text/plain": "plain"}, "plain\n"),
        ({"text/latex": "$x$", "text/markdown": "*x*"}, "*x*\n"),
        ({"image/png": "iVBO", "text/html": "<img>"}, "<image/png, text/html>\n"),
        ({}, ""),
    ):
        assert text("display_data", data=data, **common) == expected
        assert text("update_display_data", data=data, **common) == expected


def test_a_result_of_several_lines_begins_on_a_line_of_its_own() -> None:
    for plain, expected in (("1", "Out[3]: 1\n"), ("1\n2", "Out[3]:\n1\n2\n")):
        assert text("execute_result", data={"text/plain": plain}, metadata={}, execution_count=3) == expected
    # Nothing that can be shown, such as a figure that was shown as a display.
    assert text("execute_result", data={}, metadata={}, execution_count=3) == ""


def test_an_error_without_a_traceback_is_named() -> None:
    assert text("error", ename="Boom", evalue="no", traceback=[]) == "Boom: no\n"


@pytest.mark.parametrize(
    ("msg_type", "content"),
    [
        ("stream", {"name": "stdout", "text": 7}),
        ("error", {}),
        ("status", {"execution_state": "busy"}),
        ("comm_open", {"comm_id": "c", "target_name": "t", "data": {}}),
        ("of_somebodys_own", {"text": "?"}),
    ],
)
def test_what_is_malformed_or_shows_nothing_is_not_shown(msg_type: str, content: dict[str, Any]) -> None:
    """Contract F10."""
    assert text(msg_type, **content) == ""


def test_a_file_that_a_kernel_has_left_is_told_at_once(tmp_path: Path) -> None:
    info = tcp().with_ports({"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5})
    write_connection_file(tmp_path / "kernel-gone.json", info)
    with pytest.raises(KernelStartError, match=r"no kernel listens at tcp://127\.0\.0\.1:5, which .*kernel-gone\.json"):
        run_console(existing=tmp_path / "kernel-gone.json")
