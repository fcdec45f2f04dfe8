"""The magics that a kernel has in a form of its own, and those that set up the shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kernelbridge.testing import (
    Matcher,
    ProtocolClient,
    busy,
    display,
    execute_input,
    execute_reply,
    idle,
    regex,
    result,
    stderr,
    stdout,
)
from kernelbridge.wire.connection import ConnectionInfo
from tests.python.conftest import Shared
from tests.support.exchange import run

REFUSED = execute_reply("error", ename="UsageError")


def paged(text: str) -> Matcher:
    return execute_reply(payload=[{"source": "page", "start": 0, "data": {"text/plain": regex(text)}}])


def test_files_and_manuals_are_shown_in_the_pager(client: ProtocolClient, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("in the file \u20ac\n")
    for magic in ("less", "more"):
        run(client, f"%{magic} {file}", replied=paged("^in the file \u20ac\n$"))
    (tmp_path / "code.py").write_text("x = 1")
    run(client, f"%less {tmp_path / 'code.py'}", replied=paged("x"))
    run(client, "%man nonesuch-command", replied=paged(""))


def test_an_editor_is_the_frontends(client: ProtocolClient, tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("pass")
    payload = {"source": "edit_magic", "filename": str(file), "line_number": 3}
    for magic in ("edit", "ed"):
        run(client, f"%{magic} -n 3 {file}", replied=execute_reply(payload=[payload]))


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        ("%less", "which file"),
        ("%less /nonesuch", "/nonesuch cannot be read: No such file"),
        ("def f(): pass\n%edit f", "f was defined in a cell: %recall "),
        ("%edit -n here x.py", "a line's number, please, not 'here': %edit -n LINE"),
        ("%autosave often", "a number of seconds, please, not 'often'"),
    ],
)
def test_who_misuses_a_magic_is_told_in_one_line(client: ProtocolClient, code: str, way_out: str) -> None:
    run(client, code, stderr(regex(f"^UsageError: {way_out}.*\n$")), replied=REFUSED)


def test_the_connection_is_told(client: ProtocolClient, shared: Shared) -> None:
    request = client.execute("%connect_info")
    client.iopub.expect(busy(), execute_input(), parent=request)
    (told,) = client.iopub.expect(stdout(regex("shell_port")), parent=request)
    client.iopub.expect(idle(parent=request))
    client.shell.expect(execute_reply(parent=request))
    info, way = told.content["text"].split("\n\n")
    assert ConnectionInfo.from_json(json.loads(info)) == shared.process()[1]
    assert way.startswith("Another frontend connects with: jupyter console --existing /")


def test_the_classic_notebook_saves_when_it_is_told(client: ProtocolClient) -> None:
    script = display({"application/javascript": regex(r"set_autosave_interval\(5000\)")})
    run(client, "%autosave 5", script, stdout("Autosaving every 5 seconds\n"))


def test_a_configuration_is_changed_while_it_runs(client: ProtocolClient) -> None:
    """And nothing else is said: each change is told to all that is configured."""
    run(client, "%config ZMQInteractiveShell.ast_node_interactivity = 'all'")
    run(client, "1\n2", result("1"), result("2"))
    run(client, "%config ZMQInteractiveShell.ast_node_interactivity = 'last_expr'")
    run(client, "1\n2", result("2"))
