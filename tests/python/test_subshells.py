"""Subshells of the Python kernel (JEP 91): one IPython shell, in which several cells run at once (K1-K6, K9)."""

from __future__ import annotations

import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernelbridge.testing import (
    ANY,
    DEADLINE,
    ProtocolClient,
    busy,
    comm_close,
    comm_msg,
    comm_open,
    display,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    message,
    reply,
    result,
    stdout,
)
from kernelbridge.wire.messages import Message
from tests.support.exchange import ask, run
from tests.support.kernels import PYTHON_KERNEL, process
from tests.support.subshells import begun, create, delete, ended, run_in

WAIT = "go = threading.Event(); began = threading.Event()\ndef wait():\n    began.set()\n    assert go.wait(60)"


@pytest.fixture
def subshell(client: ProtocolClient) -> Iterator[str]:
    """A subshell, in a kernel whose cells can `wait` until another cell says `go`."""
    run(client, f"import asyncio, threading\n{WAIT}")
    created = create(client)
    yield created
    delete(client, created)


def waits(client: ProtocolClient, then: str = "", subshell: str | None = None, before: str = "") -> Message:
    """Run a cell that waits, and does something before and then, until it waits."""
    return begun(client, f"{before} print('waits', flush=True); wait(); {then}", subshell, stdout("waits\n"))


# --- what they share, and what each has for itself -------------------------------------------------------------------


def test_the_kernel_says_that_it_has_them(client: ProtocolClient) -> None:
    assert "kernel subshells" in ask(client, "kernel_info").content["supported_features"]


def test_they_share_names_and_run_beside_each_other(client: ProtocolClient, subshell: str) -> None:
    main = waits(client, "print('main', n)")
    run_in(client, subshell, "n = 42; print('side'); display(n); n", stdout("side\n"), display("42"), result("42"))
    run_in(client, subshell, "go.set()")
    ended(client, main, stdout("main 42\n"))
    run_in(client, None, "n", result("42"))


def test_the_main_shell_goes_on_while_a_subshell_computes(client: ProtocolClient, subshell: str) -> None:
    side = waits(client, "print('side', n)", subshell)
    run_in(client, None, "n = 'main'; go.set()")
    ended(client, side, stdout("side main\n"))


def test_each_awaits_on_a_loop_of_its_own(client: ProtocolClient, subshell: str) -> None:
    code = (
        "loops = {asyncio.get_running_loop()}; later = asyncio.Event(); print('waits', flush=True); await later.wait();"
    )
    main = begun(client, code, None, stdout("waits\n"))
    run_in(client, subshell, "await asyncio.sleep(0); loops.add(asyncio.get_running_loop())")
    run_in(client, subshell, "main, = loops - {asyncio.get_running_loop()}; main.call_soon_threadsafe(later.set);")
    ended(client, main)


def test_k4_a_task_of_a_subshell_keeps_its_cell(client: ProtocolClient, subshell: str) -> None:
    work = "async def work():\n    await asyncio.to_thread(wait); print('task'); display(1)"
    start = begun(client, f"{work}\ntask = asyncio.create_task(work())", subshell)
    ended(client, start)
    use = client.execute("print('before'); go.set(); await task; print('after')", subshell=subshell)
    shown = stdout("before\n"), stdout("task\n", parent=start), display("1", parent=start), stdout("after\n")
    client.iopub.expect(busy(), execute_input(), *shown, idle(), parent=use)
    client.shell.expect(execute_reply(parent=use))


def test_each_cell_has_a_number_under_which_its_code_and_value_are_kept(client: ProtocolClient, subshell: str) -> None:
    main = waits(client, "'value of main'")
    side = run_in(client, subshell, "'value of side'", result("'value of side'")).content["execution_count"]
    run_in(client, subshell, "go.set()")
    number = side - 1
    ended(client, main, result("'value of main'", execution_count=number))
    run(client, f"Out[{number}], Out[{side}]", result("('value of main', 'value of side')"))
    run(client, f"In[{number}][-15:], In[{side}]", result("(\"'value of main'\", \"'value of side'\")"))


def test_code_that_is_stored_late_is_kept_under_its_own_number(client: ProtocolClient, subshell: str) -> None:
    """The main shell's cell is held up before IPython stores it, until one that came later has been."""
    hold = (
        "def hold(info):\n    if 'held' in info.raw_cell: wait()\nget_ipython().events.register('pre_run_cell', hold)"
    )
    run(client, hold)
    main = begun(client, "'held'")
    run_in(client, subshell, "began.wait(60);")
    side = run_in(client, subshell, "go.set(); get_ipython().events.unregister('pre_run_cell', hold)")
    ended(client, main, result("'held'"))
    number = side.content["execution_count"] - 2
    run(client, f"In[{number}:{number} + 2]", result("[\"'held'\", 'began.wait(60);']"))
    range_of = {"hist_access_type": "range", "output": False, "raw": True, "start": number, "stop": number + 2}
    history = ask(client, "history", range_of).content["history"]
    assert [line for _, _, line in history] == ["'held'", "began.wait(60);"]


@pytest.mark.parametrize(("code", "shown"), [("7", [result("7")]), ("7;", [])])
def test_a_semicolon_silences_its_own_cell_only(
    client: ProtocolClient, subshell: str, code: str, shown: list[Any]
) -> None:
    main = waits(client, code)
    other = "8" if code.endswith(";") else "8;"
    run_in(client, subshell, other, *([result("8")] if other == "8" else []))
    run_in(client, subshell, "go.set();")
    ended(client, main, *shown)


def test_an_error_is_that_of_its_own_cell(client: ProtocolClient, subshell: str) -> None:
    main = waits(client, "raise ValueError('main')")
    side = begun(client, "1/0", subshell, error("ZeroDivisionError"))
    ended(client, side, replied=execute_reply("error", ename="ZeroDivisionError"))
    run_in(client, subshell, "go.set()")
    client.iopub.of(main).expect(error("ValueError", "main"))
    said = ended(client, main, replied=execute_reply("error", ename="ValueError"))
    assert "ZeroDivisionError" not in "".join(said.content["traceback"])


def test_a_cell_whose_value_fails_fails_alone(client: ProtocolClient, subshell: str) -> None:
    """While the value of the main shell's cell is formatted, which fails then, another cell succeeds."""
    odd = (
        "class Odd:\n    def __repr__(self):\n        print('waits', flush=True); wait(); raise ValueError('no words')"
    )
    main = begun(client, f"{odd}\nOdd()", None, stdout("waits\n"))
    run_in(client, subshell, "1", result("1"))
    run_in(client, subshell, "go.set()")
    client.iopub.of(main).expect(error("ValueError"))
    ended(client, main, replied=execute_reply("error", ename="ValueError"))


def test_a_payload_is_in_the_reply_to_its_own_cell(client: ProtocolClient, subshell: str) -> None:
    main = waits(client, "get_ipython().set_next_input('main')")
    side = run_in(client, subshell, "get_ipython().set_next_input('side')")
    run_in(client, subshell, "go.set()")
    assert [one["text"] for one in side.content["payload"]] == ["side"]
    assert [one["text"] for one in ended(client, main).content["payload"]] == ["main"]


def test_that_cells_may_await_holds_for_each_thread_by_itself() -> None:
    """What compiles first ends last: the flag must not be taken from under it."""
    from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT as AWAIT
    from contextvars import Context

    from kernelbridge.python.cells import CellCompiler

    compiler, other = CellCompiler(), Context()
    before = compiler.flags
    with compiler.extra_flags(AWAIT):
        other_flags = other.run(compiler.extra_flags, AWAIT)
        other.run(other_flags.__enter__)
        assert compiler.flags == other.run(lambda: compiler.flags) == before | AWAIT
        other.run(other_flags.__exit__, None, None, None)
        assert compiler.flags == before | AWAIT
        assert other.run(lambda: compiler.flags) == before
        compiler("await nothing", "cell", "exec")
        compiler("from __future__ import annotations", "cell", "exec")
    import __future__

    assert compiler.flags == before | __future__.annotations.compiler_flag


def test_questions_are_answered_beside_a_running_cell(client: ProtocolClient, subshell: str) -> None:
    run(client, "a_long_name = 1")
    main = waits(client)
    questions: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "complete": ({"code": "a_long", "cursor_pos": 6}, {"matches": ["a_long_name"]}),
        "inspect": ({"code": "a_long_name", "cursor_pos": 6}, {"found": True}),
        "is_complete": ({"code": "if a:"}, {"status": "incomplete"}),
        "history": ({"hist_access_type": "tail", "output": False, "raw": True, "n": 1}, {"history": ANY}),
    }
    for name, (content, replied) in questions.items():
        request = client.send(f"{name}_request", content, subshell=subshell)
        client.iopub.expect(busy(), idle(), parent=request)
        client.shell.expect(reply(name, **replied), parent=request)
    run_in(client, subshell, "go.set()")
    ended(client, main)


def test_k7_each_asks_for_input_by_itself(client: ProtocolClient, subshell: str) -> None:
    requests = [begun(client, "print(input('? '))", where) for where in (None, subshell)]
    prompts = [client.stdin.of(request).expect(input_request("? "))[0] for request in requests]
    for prompt, request, answer in [*zip(prompts, requests, ("main", "side"), strict=True)][::-1]:
        client.answer(answer, prompt)
        ended(client, request, stdout(f"{answer}\n"))


# --- comms and hooks -------------------------------------------------------------------------------------------------

FIGURES = """
import comm
figures = []
def flush():
    while figures: display(figures.pop())
get_ipython().events.register('post_execute', flush)
def heard(message):
    print(get_ipython().get_parent()['header']['msg_id'] == message['header']['msg_id'])
    exec(message['content']['data']['code'])
mine = comm.create_comm(target_name='t', comm_id='mine'); mine.on_msg(heard)
"""


@pytest.fixture
def figures(client: ProtocolClient, subshell: str) -> Iterator[None]:
    """A comm that runs code, and a hook that shows `figures` at the end of each cell, as matplotlib's does."""
    run(client, FIGURES, comm_open("t"))
    yield
    run(client, "get_ipython().events.unregister('post_execute', flush); mine.close()", comm_close())


def say(client: ProtocolClient, subshell: str, code: str) -> Message:
    return client.send("comm_msg", {"comm_id": "mine", "data": {"code": code}}, subshell=subshell)


@pytest.mark.usefixtures("figures")
def test_k4_a_comm_message_in_a_subshell_does_not_show_what_a_cell_is_about_to_show(
    client: ProtocolClient, subshell: str
) -> None:
    """ipykernel#1564: there the hooks of the message show the cell's figure, with the message as its parent."""
    main = waits(client, "print('after')", before="figures.append('of the cell');")
    for code in ("pass", "go.set()"):
        said = say(client, subshell, code)
        client.iopub.of(said).expect(busy(), stdout("True\n"), idle())
    ended(client, main, stdout("after\n"), display("'of the cell'"))


@pytest.mark.usefixtures("figures")
def test_k4_a_cell_that_begins_while_a_comm_message_is_handled_shows_its_own(
    client: ProtocolClient, subshell: str
) -> None:
    said = say(client, subshell, "print('waits'); wait()")
    client.iopub.expect(busy(), stdout("True\nwaits\n"), parent=said)
    main = begun(client, "figures.append('of the cell'); go.set(); print(input())")
    (prompt,) = client.stdin.of(main).expect(input_request())
    client.iopub.expect(idle(), parent=said)
    client.answer("after", prompt)
    ended(client, main, stdout("after\n"), display("'of the cell'"))


@pytest.mark.usefixtures("figures")
def test_k4_what_a_comm_message_makes_while_nothing_runs_is_shown_with_it(
    client: ProtocolClient, subshell: str
) -> None:
    said = say(client, subshell, "figures.append('of the message')")
    client.iopub.expect(busy(), stdout("True\n"), display("'of the message'"), idle(), parent=said)


@pytest.mark.usefixtures("figures")
def test_k6_a_comm_that_is_opened_in_a_subshell_shows_where_the_program_does_it(
    client: ProtocolClient, subshell: str
) -> None:
    main = waits(client)
    said = say(client, subshell, "print('a'); comm.create_comm(target_name='new').send({'n': 1}); print('b')")
    shown = stdout("True\na\n"), comm_open("new"), comm_msg({"n": 1}), stdout("b\n")
    client.iopub.expect(busy(), *shown, idle(), parent=said)
    run_in(client, subshell, "go.set()")
    ended(client, main)


# --- interrupts, the end, the load -----------------------------------------------------------------------------------


def test_a_sigint_reaches_what_awaits_in_a_subshell(
    client: ProtocolClient, subshell: str, started: subprocess.Popen[bytes]
) -> None:
    """It is how frontends interrupt this kernel; the system gives it to the main thread alone."""
    main = begun(client, "import time; print('waits', flush=True); time.sleep(1000)", None, stdout("waits\n"))
    side = begun(client, "print('waits', flush=True); await asyncio.sleep(1000)", subshell, stdout("waits\n"))
    started.send_signal(signal.SIGINT)
    for request in (main, side):
        ended(client, request, error("KeyboardInterrupt"), replied=execute_reply("error", ename="KeyboardInterrupt"))
    run_in(client, subshell, "1", result("1"))


def test_f11_a_kernel_ends_also_while_a_subshell_computes(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _), ProtocolClient(info) as client:
        # Until then nothing of it is there.
        loaded = "import sys; 'kernelbridge.kernel.subshells' in sys.modules"
        run(client, loaded, result("False"))
        side = begun(client, "print('waits', flush=True)\nwhile True: pass", create(client), stdout("waits\n"))
        request = client.send("shutdown_request", restart=False)
        client.iopub.of(request).expect(busy(), message("shutdown_reply"), idle())
        client.control.of(request).expect(reply("shutdown", status="ok"))
        client.expect_end()
        assert client.iopub.of(side).unread == []
        assert started.wait(DEADLINE) == 0


PUTS = """
import sys, threading, comm
mine = comm.create_comm(target_name='t', comm_id='puts')
def put(who, puts):
    for n in range(puts):
        match n % 6:
            case 0: sys.stdout.write(f'{who} {n}\\n')
            case 1: sys.stderr.write(f'{who} {n}\\n')
            case 2: mine.send([who, n])
            case 3: display({'application/json': [who, n]}, raw=True)
            case 4: display({'application/json': [who, n]}, raw=True, display_id='d', update=True)
            case 5: get_ipython().kernel.publish('custom', {'data': [who, n]})
def put_in_threads(names, puts):
    threads = [threading.Thread(target=put, args=(name, puts)) for name in names]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def said_by(content: dict[str, Any]) -> list[tuple[str, int]]:
    """Return who said it, and as which of its puts."""
    if "text" in content:
        return [(who, int(n)) for who, n in map(str.split, content["text"].splitlines())]
    data = content["data"]
    who, n = data["application/json"] if isinstance(data, dict) else data
    return [(who, n)]


@pytest.mark.parametrize("puts", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_k1_k2_k4_k9_mixed_puts_of_eight_threads_and_two_subshells(client: ProtocolClient, puts: int) -> None:
    """Program order per thread, numbers without a gap, right parents."""
    client.deadline = 4 * DEADLINE
    run(client, PUTS, comm_open("t"))
    subshells = [create(client), create(client)]
    names = [f"thread{number}" for number in range(8)]
    main = client.execute(f"put_in_threads({names}, {puts})")
    sides = [client.execute(f"put('side{n}', {puts})", subshell=subshell) for n, subshell in enumerate(subshells)]
    for request in (main, *sides):
        client.shell.of(request).expect(execute_reply())
    client.read_all()
    came = [event.message for event in client.time_line.events if event.direction == "<-" and event.channel == "iopub"]
    numbers = [one.seq for one in came]
    # The client counts them, and fails at a gap. Here the answers to its own probe are missing, wherever they came.
    assert numbers == sorted({number for number in numbers if number is not None})
    orders: dict[str, list[int]] = defaultdict(list)
    parents: dict[str, set[str | None]] = defaultdict(set)
    for one in came:
        if one.parent_id not in {request.msg_id for request in (main, *sides)}:
            continue
        if one.msg_type not in ("status", "execute_input"):
            for who, n in said_by(one.content):
                orders[who].append(n)
                parents[who].add(one.parent_id)
    expected = dict.fromkeys(names, main) | {f"side{n}": request for n, request in enumerate(sides)}
    assert parents == {who: {request.msg_id} for who, request in expected.items()}
    assert orders == {who: list(range(puts)) for who in expected}
    client.deadline = DEADLINE
    for subshell in subshells:
        delete(client, subshell)
    run(client, "mine.close()", comm_close())
