"""The Python language: what cells show, and what else a frontend may ask."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import Client, lines
from tests.support.kernels import ROOT


def shown(client: Client, code: str, **options: Any) -> list[str]:
    """Return what a cell shows, without its brackets and its input."""
    found = lines(client.run(code, **options)[1])
    assert (found[0], found[-1]) == ("busy", "idle")
    return [one for one in found[1:-1] if not one.startswith("execute_input")]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print('one'); print('two')", ["stdout 'one\\ntwo\\n'"]),
        ("1 + 1", ["execute_result 2"]),
        ("1 + 1;", []),
        ("None", []),
        ("import sys; print('e', file=sys.stderr); print('o')", ["stderr 'e\\n'", "stdout 'o\\n'"]),
        ("from IPython.display import display; display('a', 2)", ["display_data 'a'", "display_data 2"]),
        ("from IPython.display import clear_output; clear_output(wait=True)", ["clear_output"]),
        ("print('no newline', end='')", ["stdout 'no newline'"]),
        ("print('\\u20ac \\U0001f600')", ["stdout '\u20ac \U0001f600\\n'"]),
        ("print('lone \\ud800')", ["stdout 'lone \\\\ud800\\n'"]),
        ("x = 5\nx", ["execute_result 5"]),
        ("%pwd\n2", ["execute_result 2"]),
        ("%%capture\nprint('hidden')", []),
        ("import asyncio; await asyncio.sleep(0); 7", ["execute_result 7"]),
        ("float('nan'), 10**5", ["execute_result (nan, 100000)"]),
        ("import os; os.getcwd()", [f"execute_result {str(ROOT)!r}"]),
        (
            "import sys; open('/dev/null').fileno() > 2 and isinstance(sys.stdout.fileno(), int)",
            ["execute_result True"],
        ),
        ("import sys; sys.stdout.write('x')", ["stdout 'x'", "execute_result 1"]),
        ("import sys; sys.stdout.write(b'x') if 0 else sys.stdout.isatty()", ["execute_result False"]),
    ],
)
def test_what_a_cell_shows(client: Client, code: str, expected: list[str]) -> None:
    assert shown(client, code) == expected


def test_a_display_is_updated_under_its_id(client: Client) -> None:
    code = "from IPython.display import *\nh = display('a', display_id='the-id')\nprint('between')\nh.update('b')"
    _, messages = client.run(code)
    assert lines(messages)[2:-1] == ["display_data 'a'", "stdout 'between\\n'", "update_display_data 'b'"]
    assert [messages[at].content["transient"] for at in (2, 4)] == [{"display_id": "the-id"}] * 2


def test_rich_displays_have_all_their_forms(client: Client) -> None:
    _, messages = client.run("from IPython.display import HTML\nHTML('<b>x</b>')")
    assert messages[2].content["data"]["text/html"] == "<b>x</b>"
    assert messages[2].content["execution_count"] == messages[1].content["execution_count"]


@pytest.mark.parametrize(
    ("code", "name", "value"),
    [
        ("1/0", "ZeroDivisionError", "division by zero"),
        ("def broken(:", "SyntaxError", ""),
        ("await nonesuch()", "NameError", "nonesuch"),
        ("import asyncio; await asyncio.sleep(0); 1/0", "ZeroDivisionError", ""),
        ("raise KeyboardInterrupt('mine')", "KeyboardInterrupt", "mine"),
        ("raise BaseException('base')", "BaseException", "base"),
        ("%nonesuch", "UsageError", ""),
    ],
)
def test_an_error_is_shown_once_and_is_the_reply(client: Client, code: str, name: str, value: str) -> None:
    reply, messages = client.run(code)
    assert reply.content["status"] == "error"
    errors = [message for message in messages if message.msg_type == "error"]
    if name != "UsageError":
        assert [error.content["ename"] for error in errors] == [name]
        assert reply.content["traceback"] == errors[0].content["traceback"]
        assert value in errors[0].content["evalue"]
    assert reply.content["ename"] == name
    assert lines(client.run("1")[1])[2] == "execute_result 1"


def test_an_exception_that_cannot_say_what_it_is_is_shown(client: Client) -> None:
    """IPython's own record of it fails after that, and is reported, too; the kernel goes on."""
    reply, messages = client.run("class Odd(Exception):\n  def __str__(self): raise ValueError\nraise Odd")
    assert reply.content["status"] == "error"
    assert lines(messages)[2] == "error Odd"
    assert shown(client, "1") == ["execute_result 1"]


def test_exceptions_of_the_display_and_of_repr_do_not_end_the_kernel(client: Client) -> None:
    reply, messages = client.run("class Bad:\n  def __repr__(self): raise ValueError('bad repr')\nBad()")
    assert reply.content["status"] in ("ok", "error")
    assert "bad repr" in str([message.content for message in messages])


def test_system_exit_in_a_cell_is_an_error_and_the_kernel_goes_on(client: Client) -> None:
    reply, _ = client.run("import sys; sys.exit(3)")
    assert (reply.content["status"], reply.content["ename"]) == ("error", "SystemExit")
    assert shown(client, "1") == ["execute_result 1"]


def test_silent_cells_show_no_input_and_do_not_count(client: Client) -> None:
    count = client.run("pass")[0].content["execution_count"]
    reply, messages = client.run("print('x'); 5", silent=True)
    assert lines(messages) == ["busy", "stdout 'x\\n'", "idle"]
    assert reply.content["execution_count"] == count
    assert client.run("pass")[0].content["execution_count"] == count + 1


def test_in_out_and_the_history_follow_the_count(client: Client) -> None:
    count = client.run("'kept'")[0].content["execution_count"]
    client.run("'not kept'", store_history=False)
    assert shown(client, f"In[{count}], Out[{count}]") == ["execute_result (\"'kept'\", 'kept')"]
    reply, _ = client.ask("history_request", {"hist_access_type": "tail", "n": 2, "raw": True, "output": False})
    assert [entry[2] for entry in reply.content["history"]] == ["'kept'", f"In[{count}], Out[{count}]"]
    reply, _ = client.ask(
        "history_request", {"hist_access_type": "range", "session": 0, "start": count, "stop": count + 1}
    )
    assert [entry[1:] for entry in reply.content["history"]] == [[count, "'kept'"]]
    reply, _ = client.ask("history_request", {"hist_access_type": "search", "pattern": "*not kept*", "n": 10})
    assert "'not kept'" not in [entry[2] for entry in reply.content["history"]]


def test_user_expressions_are_evaluated_each_by_itself(client: Client) -> None:
    reply, _ = client.run("a = 20", user_expressions={"good": "a + 1", "bad": "1/0"})
    expressions = reply.content["user_expressions"]
    assert expressions["good"]["data"]["text/plain"] == "21"
    assert expressions["bad"]["status"] == "error"
    assert expressions["bad"]["ename"] == "ZeroDivisionError"


def test_completion(client: Client) -> None:
    client.run("a_long_name = 1")
    reply, messages = client.ask("complete_request", {"code": "x = a_lon", "cursor_pos": 9})
    assert reply.content["matches"] == ["a_long_name"]
    assert (reply.content["cursor_start"], reply.content["cursor_end"]) == (4, 9)
    assert reply.content["status"] == "ok"
    assert lines(messages) == ["busy", "idle"]
    assert client.ask("complete_request", {"code": "'\U0001f600'; a_lon", "cursor_pos": 10})[0].content["matches"] == [
        "a_long_name"
    ]


def test_inspection(client: Client) -> None:
    client.run("def a_function():\n    'What it does.'")
    reply, _ = client.ask("inspect_request", {"code": "a_function()", "cursor_pos": 3, "detail_level": 0})
    assert reply.content["found"] is True
    assert "What it does." in reply.content["data"]["text/plain"]
    assert client.ask("inspect_request", {"code": "nonesuch", "cursor_pos": 3})[0].content["found"] is False
    assert client.ask("inspect_request", {"code": "", "cursor_pos": 0})[0].content["found"] is False


@pytest.mark.parametrize(
    ("code", "status", "indent"),
    [
        ("1 + 1", "complete", None),
        ("for i in x:", "incomplete", "    "),
        ("f(", "incomplete", ""),
        ("1 +* 1", "invalid", None),
    ],
)
def test_is_complete(client: Client, code: str, status: str, indent: str | None) -> None:
    content = client.ask("is_complete_request", {"code": code})[0].content
    assert (content["status"], content.get("indent")) == (status, indent)


def test_kernel_info_says_what_it_is(client: Client) -> None:
    content = client.ask("kernel_info_request")[0].content
    assert content["implementation"] == "kernelbridge"
    assert content["language_info"]["name"] == "python"
    assert content["protocol_version"] == "5.5"
    assert content["status"] == "ok"


def test_input_and_getpass(client: Client) -> None:
    for code, password in (
        ("print(repr(input('q? ')))", False),
        ("import getpass; print(repr(getpass.getpass('q? ')))", True),
    ):
        request = client.execute(code)
        prompt = client.reply(request, "stdin")
        assert prompt.content == {"prompt": "q? ", "password": password}
        client.send("input_reply", {"value": "an answer"}, channel="stdin")
        assert lines(client.until_idle(request))[2:-1] == ["stdout \"'an answer'\\n\""]
        client.reply(request)


def test_input_that_is_not_allowed_is_an_error(client: Client) -> None:
    reply, _ = client.run("input('q? ')", allow_stdin=False)
    assert reply.content["ename"] == "StdinNotImplementedError"
    assert client.nothing_more("stdin")


def test_k4_a_task_keeps_the_cell_that_started_it(client: Client) -> None:
    start, _ = client.run(
        "import asyncio\ngo = asyncio.Event()\nasync def work():\n    await go.wait(); print('from the task')\n"
        "task = asyncio.create_task(work())"
    )
    use, messages = client.run("print('before'); go.set(); await task; print('after')")
    assert lines(messages)[2:-1] == ["stdout 'before\\n'", "stdout 'from the task\\n'", "stdout 'after\\n'"]
    assert [message.parent_id for message in messages[2:-1]] == [use.parent_id, start.parent_id, use.parent_id]


def test_k4_a_task_goes_on_between_cells(client: Client) -> None:
    """Its output comes by itself, with the cell that started it, while nothing runs."""
    start, _ = client.run(
        "import asyncio\nasync def work():\n    await asyncio.sleep(0.01); print('later')\n"
        "task = asyncio.create_task(work())"
    )
    message = client.receive("iopub")
    assert lines([message]) == ["stdout 'later\\n'"]
    assert message.parent_id == start.parent_id


def test_a_pager_and_the_next_input_travel_in_the_payload(client: Client) -> None:
    reply, _ = client.run("len?")
    assert reply.content["payload"][0]["source"] == "page"
    assert "len" in reply.content["payload"][0]["data"]["text/plain"]
    reply, _ = client.run("get_ipython().set_next_input('next')")
    assert reply.content["payload"] == [{"source": "set_next_input", "text": "next", "replace": False}]
    assert client.run("1")[0].content["payload"] == []


COMM = """
import comm
def opened(c, message):
    def heard(m):
        print('heard', m['content']['data'])
        c.send({'echo': m['content']['data']}, buffers=m['buffers'])
    c.on_msg(heard)
    c.on_close(lambda m: print('closed'))
comm.get_comm_manager().register_target('target', opened)
"""


def test_comms_of_the_comm_package(client: Client) -> None:
    client.run(COMM)
    assert lines(
        client.until_idle(client.send("comm_open", {"comm_id": "c", "target_name": "target", "data": {}}))
    ) == [
        "busy",
        "idle",
    ]
    request = client.send("comm_msg", {"comm_id": "c", "data": {"n": 1}}, buffers=[b"\x00\xff"])
    messages = client.until_idle(request)
    assert lines(messages) == ["busy", "stdout \"heard {'n': 1}\\n\"", "comm_msg {'echo': {'n': 1}}", "idle"]
    assert [bytes(buffer) for buffer in messages[2].buffers] == [b"\x00\xff"]
    assert client.ask("comm_info_request")[0].content["comms"]["c"] == {"target_name": "target"}
    closing = client.send("comm_close", {"comm_id": "c", "data": {}})
    assert lines(client.until_idle(closing)) == ["busy", "stdout 'closed\\n'", "idle"]
    assert "c" not in client.ask("comm_info_request")[0].content["comms"]


def test_k6_comms_show_where_the_program_puts_them(client: Client) -> None:
    code = """
import comm
print('one')
c = comm.create_comm(target_name='t', data={'n': 1})
print('two')
c.send({'n': 2})
print('three')
c.close({'n': 3})
print('four')
"""
    assert shown(client, code) == [
        "stdout 'one\\n'",
        "comm_open {'n': 1}",
        "stdout 'two\\n'",
        "comm_msg {'n': 2}",
        "stdout 'three\\n'",
        "comm_close {'n': 3}",
        "stdout 'four\\n'",
    ]


def test_ipywidgets_open_update_and_hear(client: Client) -> None:
    _, messages = client.run("import ipywidgets as w\ns = w.IntSlider(value=3)\ndisplay(s)")
    opened = [message for message in messages if message.msg_type == "comm_open"]
    assert {message.content["target_name"] for message in opened} == {"jupyter.widget"}
    (slider,) = [m for m in opened if m.content["data"]["state"].get("_model_name") == "IntSliderModel"]
    (view,) = [m for m in messages if m.msg_type == "display_data"]
    assert view.content["data"]["application/vnd.jupyter.widget-view+json"]["model_id"] == slider.content["comm_id"]
    _, messages = client.run("print('before'); s.value = 5; print('after')")
    assert [one.split("{")[0] for one in lines(messages)[2:-1]] == [
        "stdout 'before\\n'",
        "comm_msg ",
        "stdout 'after\\n'",
    ]
    assert messages[3].content["data"] == {"method": "update", "state": {"value": 5}, "buffer_paths": []}
    client.run("s.observe(lambda change: print('now', change.new), 'value')")
    update = {"method": "update", "state": {"value": 9}, "buffer_paths": []}
    request = client.send("comm_msg", {"comm_id": slider.content["comm_id"], "data": update})
    assert "stdout 'now 9\\n'" in lines(client.until_idle(request))
    assert shown(client, "s.value") == ["execute_result 9"]
    _, messages = client.run("s.close()")
    assert "comm_close {}" in lines(messages)
