"""The Python language: what cells show, what they cost the count, and what an error is."""

from __future__ import annotations

import pytest

from kernelbridge.testing import (
    ANY,
    Matcher,
    ProtocolClient,
    busy,
    capture,
    clear_output,
    display,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    regex,
    reply,
    result,
    stderr,
    stdout,
    update_display,
)
from tests.support.exchange import ask, run
from tests.support.kernels import ROOT


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("print('one'); print('two')", [stdout("one\ntwo\n")]),
        ("1 + 1", [result("2")]),
        ("1 + 1;", []),
        ("None", []),
        ("import sys; print('e', file=sys.stderr); print('o')", [stderr("e\n"), stdout("o\n")]),
        ("display('a', 2)", [display("'a'"), display("2")]),
        ("from IPython.display import clear_output; clear_output(wait=True)", [clear_output(wait=True)]),
        ("print('no newline', end='')", [stdout("no newline")]),
        ("print('\\u20ac \\U0001f600')", [stdout("\u20ac \U0001f600\n")]),
        ("x = 5\nx", [result("5")]),
        ("%pwd\n2", [result("2")]),
        ("import asyncio; await asyncio.sleep(0); 7", [result("7")]),
        ("float('nan'), 10**5", [result("(nan, 100000)")]),
        ("import os; os.getcwd()", [result(repr(str(ROOT)))]),
        ("import sys; open('/dev/null').fileno() > 2 and isinstance(sys.stdout.fileno(), int)", [result("True")]),
        ("import sys; sys.stdout.write('x')", [stdout("x"), result("1")]),
        ("import sys; sys.stdout.isatty()", [result("False")]),
        ("import sys; sys.stdout.close(); print('still')", [stdout("still\n")]),
        ("import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): print('hidden')", []),
        ("from IPython.display import HTML; HTML('<b>x</b>')", [result({"text/html": "<b>x</b>", "text/plain": ANY})]),
    ],
)
def test_what_a_cell_shows(client: ProtocolClient, code: str, shown: list[Matcher]) -> None:
    run(client, code, *shown)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("print('lone \\ud800')", stdout("lone \\ud800\n")),
        # Two halves that make one character, which Python's UTF-8 cannot write and JSON can.
        ("print('\\ud83d\\ude00')", stdout("\U0001f600\n")),
        ("class Lone:\n  def __repr__(self): return '\\udcff'\nLone()", result("\\udcff")),
        ("raise ValueError('\\udcff')", error("ValueError", "\\udcff")),
    ],
)
def test_surrogates_are_shown_and_lose_nothing(client: ProtocolClient, code: str, shown: Matcher) -> None:
    run(client, code, shown, replied=execute_reply(ANY))


def test_a_text_of_many_megabytes_is_shown_whole(client: ProtocolClient) -> None:
    run(
        client, "print('x' * 5_000_000); 'y' * 3_000_000", stdout("x" * 5_000_000 + "\n"), result(repr("y" * 3_000_000))
    )


def test_what_capture_takes_is_not_shown_and_can_be_shown_later(client: ProtocolClient) -> None:
    run(client, "%%capture taken\nimport sys\nprint('o'); display('x'); print('e', file=sys.stderr); 5")
    run(client, "print('not hidden')", stdout("not hidden\n"))
    run(client, "taken.show()", stdout("o\n"), stderr("e\n"), display("'x'"), display("5"))


def test_capture_takes_what_comes_before_an_error(client: ProtocolClient) -> None:
    """IPython shows the error and says that the cell, which is the magic, has succeeded."""
    run(client, "%%capture taken\nprint('o')\n1/0", error("ZeroDivisionError"))
    run(client, "print('not hidden')", stdout("not hidden\n"))


def test_commands_of_the_system_show_where_they_run(client: ProtocolClient) -> None:
    run(client, "print('a')\n!echo b\nprint('c')", stdout(regex("^a\nb\r?\nc\n$")))
    run(client, "%%bash\necho out\necho err >&2", stdout("out\n"), stderr("err\n"))
    run(client, "lines = !echo one; echo two\nlines", result("['one', 'two']"))


def test_a_display_is_updated_under_its_id(client: ProtocolClient) -> None:
    code = "h = display('a', display_id='the-id')\nprint('between')\nh.update('b')"
    shown = display("'a'", display_id="the-id"), stdout("between\n"), update_display("'b'", display_id="the-id")
    run(client, code, *shown)


def test_displays_are_updated_from_later_cells_each_under_its_own_id(client: ProtocolClient) -> None:
    one, two = capture("one"), capture("two")
    code = "h1 = display(1, display_id=True); h2 = display(2, display_id=True)"
    run(client, code, display("1", display_id=one), display("2", display_id=two))
    assert one.value != two.value
    run(
        client,
        "h2.update(22); h1.update(11)",
        update_display("22", display_id=two),
        update_display("11", display_id=one),
    )
    # A display that shows another while it is formatted: what is inside is shown first.
    outer = "class Outer:\n  def __repr__(self):\n    h1.update('in'); print('formatting'); return 'out'"
    shown = update_display("'in'", display_id=one), stdout("formatting\n"), update_display("out", display_id=two)
    run(client, f"{outer}\nh2.update(Outer())", *shown)


@pytest.mark.parametrize(
    ("code", "name", "value"),
    [
        ("1/0", "ZeroDivisionError", "division by zero"),
        ("def broken(:", "SyntaxError", ""),
        ("await nonesuch()", "NameError", "nonesuch"),
        ("import asyncio; await asyncio.sleep(0); 1/0", "ZeroDivisionError", ""),
        ("raise KeyboardInterrupt('mine')", "KeyboardInterrupt", "mine"),
        ("raise BaseException('base')", "BaseException", "base"),
        ("raise GeneratorExit", "GeneratorExit", ""),
        ("raise StopAsyncIteration", "StopAsyncIteration", ""),
        ("import asyncio; asyncio.current_task().cancel(); await asyncio.sleep(0)", "CancelledError", ""),
        (
            "import asyncio\nsleep = asyncio.sleep(0)\ntry: asyncio.run(sleep)\nfinally: sleep.close()",
            "RuntimeError",
            "running event loop",
        ),
        ("def deep(): deep()\ndeep()", "RecursionError", ""),
        ("raise ValueError('x' * 3_000_000)", "ValueError", "x" * 3_000_000),
        ("class Bad:\n  def __repr__(self): raise ValueError('bad repr')\nBad()", "ValueError", "bad repr"),
    ],
)
def test_an_error_is_shown_once_and_is_the_reply(client: ProtocolClient, code: str, name: str, value: str) -> None:
    evalue, traceback, count = capture("evalue"), capture("traceback"), capture("count")
    request = client.execute(code)
    shown = execute_input(execution_count=count), error(name, evalue, traceback)
    client.iopub.expect(busy(), *shown, idle(), parent=request)
    client.shell.expect(
        execute_reply("error", ename=name, evalue=evalue, traceback=traceback, execution_count=count, parent=request)
    )
    assert value in evalue.value
    run(client, "1", result("1", execution_count=count.value + 1))


def test_a_magic_that_is_not_there_is_told_on_stderr(client: ProtocolClient) -> None:
    """As IPython does: the reply alone says that it is an error."""
    run(client, "%nonesuch", stderr(regex("nonesuch")), replied=execute_reply("error", ename="UsageError"))


@pytest.mark.parametrize(
    "hindrance",
    [
        "__str__(self): raise LookupError",
        "__repr__(self): raise LookupError",
        "__getattribute__(self, name): raise LookupError",
        "_render_traceback_(self): return None",
    ],
)
def test_an_exception_that_hinders_its_own_traceback_is_shown(client: ProtocolClient, hindrance: str) -> None:
    """Once, as what it is."""
    run(
        client,
        f"class Odd(Exception):\n  def {hindrance}\nraise Odd",
        error("Odd"),
        replied=execute_reply("error", ename="Odd"),
    )
    run(client, "1", result("1"))


def test_an_exception_whose_traceback_fails_is_shown_after_what_ipython_says_of_that(client: ProtocolClient) -> None:
    code = "class Odd(Exception):\n  def _render_traceback_(self): raise ValueError\nraise Odd"
    said = stdout(regex("Falling back")), stderr(regex("ValueError"))
    run(client, code, *said, error("Odd", traceback=ANY), replied=execute_reply("error", ename="Odd"))


GROUP = "ExceptionGroup('of two', [ValueError('one'), TypeError('two')])"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (f"raise {GROUP}", "ExceptionGroup"),
        (f"try: raise {GROUP}\nexcept ExceptionGroup:\n  1/0", "ZeroDivisionError"),
    ],
    ids=["raised", "while one was handled"],
)
def test_a_group_of_exceptions_is_an_error_like_others(client: ProtocolClient, code: str, name: str) -> None:
    """IPython prints it on stderr."""
    lines = capture("traceback")
    run(client, code, error(name, traceback=lines), replied=execute_reply("error", ename=name, traceback=lines))
    text = "\n".join(lines.value)
    assert all(each in text for each in ("ValueError: one", "TypeError: two", "line 1, in <module>"))
    assert "interactiveshell.py" not in text
    # It can be looked at afterwards.
    run(client, "import sys; sys.last_type.__name__", result(repr(name)))


def test_an_empty_cell_has_the_number_that_the_next_one_has(client: ProtocolClient) -> None:
    """As in ipykernel: IPython keeps nothing of it that could be looked up by a number."""
    number = run(client, "pass").content["execution_count"] + 1
    for code in ("", "   \n", "pass"):
        request = client.execute(code)
        client.iopub.expect(busy(), execute_input(code, execution_count=number), idle(), parent=request)
        client.shell.expect(execute_reply(execution_count=number, parent=request))


def test_a_display_that_fails_is_shown_and_the_cell_goes_on(client: ProtocolClient) -> None:
    code = "class Bad:\n  def __repr__(self): raise ValueError('bad repr')\ndisplay(Bad()); print('after')"
    run(client, code, error("ValueError", "bad repr"), stdout("after\n"))


@pytest.mark.parametrize(("code", "value"), [("import sys; sys.exit(3)", "3"), ("raise SystemExit", "")])
def test_system_exit_in_a_cell_is_an_error_and_the_kernel_goes_on(
    client: ProtocolClient, code: str, value: str
) -> None:
    # IPython says how to leave, and would say it once.
    run(client, "import warnings; warnings.filterwarnings('always', 'To exit')")
    shown = error("SystemExit", value), stderr(regex("To exit"))
    run(client, code, *shown, replied=execute_reply("error", ename="SystemExit", evalue=value))
    run(client, "1", result("1"))


def test_silent_cells_show_no_input_and_no_value_and_do_not_count(client: ProtocolClient) -> None:
    count = run(client, "pass").content["execution_count"]
    run(client, "print('x'); 5", stdout("x\n"), silent=True, replied=execute_reply(execution_count=count))
    failed = execute_reply("error", ename="ZeroDivisionError", execution_count=count)
    run(client, "1/0", error("ZeroDivisionError"), silent=True, replied=failed)
    run(client, "pass", replied=execute_reply(execution_count=count + 1))


def test_in_out_and_the_history_follow_the_count(client: ProtocolClient) -> None:
    count = run(client, "'kept'", result("'kept'")).content["execution_count"]
    run(client, "'not kept'", result("'not kept'"), store_history=False)
    look = f"In[{count}], Out[{count}]"
    run(client, look, result("(\"'kept'\", 'kept')"))
    tail = {"hist_access_type": "tail", "n": 2, "raw": True, "output": False}
    ask(client, "history", tail, history=[[ANY, count, "'kept'"], [ANY, count + 1, look]])
    span = {"hist_access_type": "range", "session": 0, "start": count, "stop": count + 1}
    ask(client, "history", span, history=[[ANY, count, "'kept'"]])
    found = ask(client, "history", {"hist_access_type": "search", "pattern": "*not kept*", "n": 10})
    assert "'not kept'" not in [entry[2] for entry in found.content["history"]]


def test_user_expressions_are_evaluated_each_by_itself(client: ProtocolClient) -> None:
    """After the cell: what they show comes behind what it shows, and before its idle."""
    expressions = {"good": "a + 1", "shows": "print('shown')", "bad": "1/0", "no expression": "def", "last": "a"}
    good = {"status": "ok", "metadata": {}}
    bad = {"status": "error", "traceback": [regex("ZeroDivisionError")]}
    answers = {
        "good": {**good, "data": {"text/plain": "21"}},
        "shows": {**good, "data": {"text/plain": "None"}},
        "bad": {**bad, "ename": "ZeroDivisionError", "evalue": "division by zero"},
        "no expression": {"status": "error", "ename": "SyntaxError"},
        "last": {**good, "data": {"text/plain": "20"}},
    }
    replied = execute_reply(user_expressions=answers)
    run(client, "a = 20; print('cell')", stdout("cell\nshown\n"), user_expressions=expressions, replied=replied)
    # They do not tell whether the cell has failed, and are not looked at where it has.
    failed = execute_reply("error")
    failure = run(client, "1/0", error(), user_expressions={"a": "print('never')"}, replied=failed)
    assert failure.content["user_expressions"] == {}


def test_k11_what_waits_behind_an_error_is_aborted_the_silent_too(client: ProtocolClient) -> None:
    # The first asks, so that the others are waiting for sure when it fails.
    failing = client.execute("input()\n1/0")
    client.stdin.expect(input_request(parent=failing))
    silent = [client.execute("print('never')", silent=True) for _ in range(2)]
    loud = client.execute("print('never')")
    question = client.send("is_complete_request", code="1")
    client.answer("go on")
    client.iopub.expect(busy(), execute_input(), error("ZeroDivisionError"), idle(), parent=failing)
    for request in (*silent, loud, question):
        client.iopub.expect(busy(), idle(), parent=request)
    aborted = [execute_reply("aborted", parent=request) for request in (*silent, loud)]
    client.shell.expect(execute_reply("error"), *aborted, reply("is_complete", status="complete", parent=question))


def test_k11_an_error_that_is_not_to_stop_aborts_nothing(client: ProtocolClient) -> None:
    failing = client.execute("input()\n1/0", stop_on_error=False)
    client.stdin.expect(input_request(parent=failing))
    waiting = client.execute("print('runs')")
    client.answer("go on")
    client.iopub.expect(busy(), execute_input(), error("ZeroDivisionError"), idle(), parent=failing)
    client.iopub.expect(busy(), execute_input(), stdout("runs\n"), idle(), parent=waiting)
    client.shell.expect(execute_reply("error", parent=failing), execute_reply("ok", parent=waiting))


def test_a_cell_may_ask_the_frontend_to_leave_and_keep_the_kernel(client: ProtocolClient) -> None:
    leave = {"source": "ask_exit", "keepkernel": True}
    run(client, "exit(keep_kernel=True)", replied=execute_reply(payload=[leave]))
    run(client, "1", result("1"))


def test_a_pager_and_the_next_input_travel_in_the_payload(client: ProtocolClient) -> None:
    pager = {"source": "page", "start": 0, "data": {"text/plain": regex("len")}}
    run(client, "len?", replied=execute_reply(payload=[pager]))
    following = {"source": "set_next_input", "text": "next", "replace": False}
    run(client, "get_ipython().set_next_input('next')", replied=execute_reply(payload=[following]))
    run(client, "1", result("1"), replied=execute_reply(payload=[]))
