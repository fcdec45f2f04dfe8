"""What a frontend may ask of the Python language besides running cells, and what cells ask of it."""

from __future__ import annotations

from typing import Any

import pytest

from kernelbridge.testing import (
    Matcher,
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    iopub_welcome,
    regex,
    reply,
    result,
    stdout,
)
from tests.python.conftest import Shared
from tests.support.exchange import ask, run


@pytest.mark.parametrize(
    ("code", "cursor", "start"),
    [("x = a_lon", 9, 4), ("'\U0001f600'; a_lon", 10, 5)],
    ids=["plain", "past a surrogate"],
)
def test_completion(client: ProtocolClient, code: str, cursor: int, start: int) -> None:
    """Positions are in code points."""
    run(client, "a_long_name = 1")
    question = {"code": code, "cursor_pos": cursor}
    ask(client, "complete", question, matches=["a_long_name"], cursor_start=start, cursor_end=cursor)


def test_completions_say_what_they_are(client: ProtocolClient) -> None:
    """As JupyterLab shows them: with their types and signatures, and each with the span that it replaces."""
    run(client, "def completed_by_its_name(x): pass")
    question = {"code": "1 + completed_", "cursor_pos": 14}
    found = {"start": 4, "end": 14, "text": "completed_by_its_name", "type": "function", "signature": "(x)"}
    answer = ask(client, "complete", question, matches=["completed_by_its_name"], cursor_start=4, cursor_end=14)
    assert answer.content["metadata"] == {"_jupyter_types_experimental": [found]}
    # Where there is nothing, nothing is replaced.
    ask(client, "complete", {"code": "nonesuch_", "cursor_pos": 4}, matches=[], cursor_start=4, cursor_end=4)


@pytest.mark.parametrize("code", ["%conn", "%%conn"])
def test_magics_are_completed(client: ProtocolClient, code: str) -> None:
    found = ["%connect_info"] if code == "%conn" else []
    answer = ask(client, "complete", {"code": code, "cursor_pos": len(code)})
    assert answer.content["matches"] == found


def test_inspection_counts_in_code_points_and_shows_the_source_when_asked_twice(client: ProtocolClient) -> None:
    run(client, "def f_inspected():\n    'What it does.'\n    return 'the source'")
    for level, shows in enumerate((False, True)):
        question = {"code": "'\U0001f600'; f_inspected", "cursor_pos": 8, "detail_level": level}
        answer = ask(client, "inspect", question, found=True)
        assert ("the source" in answer.content["data"]["text/plain"]) is shows
        # As in ipykernel, while IPython's HTML pager is off: JupyterLab would show the HTML in its place.
        assert list(answer.content["data"]) == ["text/plain"]


def test_the_history_of_this_session_has_its_number(client: ProtocolClient) -> None:
    """However it is asked for; IPython calls it 0 in a range."""
    count = run(client, "'a line of its own'", result()).content["execution_count"]
    asked = {"raw": True, "output": False}
    tail = ask(client, "history", {**asked, "hist_access_type": "tail", "n": 1}).content["history"]
    session = tail[0][0]
    assert session > 0
    assert tail == [[session, count, "'a line of its own'"]]
    for number in (0, session):
        span = {**asked, "hist_access_type": "range", "session": number, "start": count, "stop": count + 1}
        ask(client, "history", span, history=tail)
    pattern = {**asked, "hist_access_type": "search", "pattern": "*of its ow?'", "n": 1, "unique": True}
    ask(client, "history", pattern, history=tail)
    both = {**asked, "hist_access_type": "range", "session": 0, "start": count, "stop": count + 1, "output": True}
    ask(client, "history", both, history=[[session, count, ["'a line of its own'", "'a line of its own'"]]])


@pytest.mark.parametrize(("code", "found"), [("a_function()", True), ("nonesuch", False), ("", False)])
def test_inspection(client: ProtocolClient, code: str, found: bool) -> None:
    run(client, "def a_function():\n    'What it does.'")
    data = {"text/plain": regex("What it does.")} if found else {}
    answer = ask(client, "inspect", {"code": code, "cursor_pos": min(3, len(code)), "detail_level": 0}, found=found)
    assert answer.content["data"].keys() >= data.keys()


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("1 + 1", {"status": "complete"}),
        ("for i in x:", {"status": "incomplete", "indent": "    "}),
        ("f(", {"status": "incomplete", "indent": ""}),
        ("1 +* 1", {"status": "invalid"}),
    ],
)
def test_is_complete(client: ProtocolClient, code: str, answer: dict[str, Any]) -> None:
    assert ask(client, "is_complete", {"code": code}, **answer).content == answer


def test_kernel_info_says_what_it_is(client: ProtocolClient) -> None:
    language = {"name": "python", "file_extension": ".py"}
    ask(client, "kernel_info", implementation="kernelbridge", protocol_version="5.5", language_info=language)


# What cells ask


@pytest.mark.parametrize(
    ("call", "password"),
    [
        ("input('q? ')", False),
        # Python's own takes no keyword, and ipykernel's does.
        ("input(prompt='q? ')", False),
        ("__import__('getpass').getpass('q? ')", True),
        # Python 3.14 has it; what is echoed is the frontend's choice.
        ("__import__('getpass').getpass('q? ', echo_char='*')", True),
    ],
    ids=["input", "keyword", "getpass", "echo"],
)
def test_k7_a_prompt_comes_after_the_output_before_it(client: ProtocolClient, call: str, password: bool) -> None:
    request = client.execute(f"print('before'); print(repr({call}))")
    # Not flushed by the program: the prompt brings it out.
    client.stdin.expect(input_request("q? ", password=password, parent=request))
    client.iopub.expect(busy(), execute_input(), stdout("before\n"), parent=request)
    client.answer("an answer")
    client.iopub.expect(stdout("'an answer'\n"), idle(), parent=request)
    client.shell.expect(execute_reply(parent=request))


def test_k7_each_prompt_gets_its_own_answer(client: ProtocolClient) -> None:
    request = client.execute("a = input('a? '); print(a); b = input(); a, b")
    client.stdin.expect(input_request("a? ", parent=request))
    client.answer("1")
    client.stdin.expect(input_request("", parent=request))
    client.iopub.expect(busy(), execute_input(), stdout("1\n"), parent=request)
    client.answer("\u20ac")
    client.iopub.expect(result("('1', '\u20ac')"), idle(), parent=request)
    client.shell.expect(execute_reply(parent=request))


def test_an_answer_without_a_parent_is_taken(client: ProtocolClient) -> None:
    """jupyter_client's answers have none."""
    request = client.execute("input()")
    client.stdin.expect(input_request(parent=request))
    client.send("input_reply", value="an answer")
    client.iopub.expect(busy(), execute_input(), result("'an answer'"), idle(), parent=request)
    client.shell.expect(execute_reply())


def test_a_thread_may_ask_for_its_cell(client: ProtocolClient) -> None:
    request = client.execute("import asyncio; await asyncio.to_thread(input, 'q? ')")
    client.stdin.expect(input_request("q? ", parent=request))
    client.answer("an answer")
    client.iopub.expect(busy(), execute_input(), result("'an answer'"), idle(), parent=request)
    client.shell.expect(execute_reply(parent=request))


def test_k7_a_prompt_reaches_the_frontend_that_sent_the_cell_and_all_see_what_it_shows(
    client: ProtocolClient, shared: Shared
) -> None:
    with ProtocolClient(shared.process()[1]) as other:
        # Everybody hears of a new subscriber (JEP 65).
        client.iopub.expect(iopub_welcome(parent=None))
        request = client.execute("print(input('q? '))")
        client.stdin.expect(input_request("q? ", parent=request))
        client.answer("an answer")
        for each in (client, other):
            each.iopub.expect(busy(), execute_input(), stdout("an answer\n"), idle(), parent=request)
        client.shell.expect(execute_reply(parent=request))


def test_input_that_is_not_allowed_is_an_error_at_once(client: ProtocolClient) -> None:
    refused = execute_reply("error", ename="StdinNotImplementedError")
    run(client, "input('q? ')", error("StdinNotImplementedError"), allow_stdin=False, replied=refused)


# Where the debugger stands is said in colours, so only the end of what it says is looked at.


def test_the_debugger_stops_where_it_is_told(client: ProtocolClient) -> None:
    request = client.execute("def f(x):\n    breakpoint()\n    return x * 2\nf(21)")
    for answer in ("p x + 1", "c"):
        client.stdin.expect(input_request("ipdb> ", parent=request))
        client.answer(answer)
    client.iopub.expect(busy(), execute_input(), stdout(regex("\n22\n$")), result("42"), idle(), parent=request)
    client.shell.expect(execute_reply(parent=request))


def test_the_debugger_looks_at_the_last_error(client: ProtocolClient) -> None:
    run(client, "def g(y):\n    1 / y\ng(0)", error("ZeroDivisionError"), replied=execute_reply("error"))
    request = client.execute("%debug")
    for answer in ("p y + 1", "q"):
        client.stdin.expect(input_request("ipdb> ", parent=request))
        client.answer(answer)
    client.iopub.expect(busy(), execute_input(), stdout(regex("\n1\n$")), idle(), parent=request)
    client.shell.expect(execute_reply(parent=request))


@pytest.mark.parametrize(
    ("code", "shown"),
    [("breakpoint()\n1", [result("1")]), ("import pdb; pdb.set_trace()\n1", [result("1")]), ("%debug", [])],
    ids=["call", "pdb", "magic"],
)
def test_k7_an_interrupt_ends_the_debugger(client: ProtocolClient, code: str, shown: list[Matcher]) -> None:
    """And the cell goes on, as in IPython."""
    run(client, "1/0", error("ZeroDivisionError"), replied=execute_reply("error"))
    request = client.execute(code)
    client.stdin.expect(input_request("ipdb> ", parent=request))
    interrupt = client.send("interrupt_request")
    client.iopub.of(interrupt).expect(busy(), idle())
    client.iopub.of(request).expect(busy(), execute_input(), stdout(regex("KeyboardInterrupt")), *shown, idle())
    client.control.expect(reply("interrupt", status="ok"))
    client.shell.expect(execute_reply(parent=request))
