"""K4 in the Python kernel: whose output is it? Of tasks, of threads, of callbacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kernelbridge.testing import (
    ProtocolClient,
    busy,
    comm_msg,
    comm_open,
    display,
    execute_input,
    execute_reply,
    idle,
    regex,
    result,
    stderr,
    stdout,
)
from tests.support.exchange import ask, run


def test_k4_a_task_keeps_the_cell_that_started_it(client: ProtocolClient) -> None:
    code = (
        "import asyncio\ngo = asyncio.Event()\nasync def work():\n    await go.wait(); print('from the task')\n"
        "    display('shown')\ntask = asyncio.create_task(work())"
    )
    start = client.execute(code)
    client.iopub.expect(busy(), execute_input(), idle(), parent=start)
    use = client.execute("print('before'); go.set(); await task; print('after')")
    of_the_task = stdout("from the task\n", parent=start), display("'shown'", parent=start)
    client.iopub.expect(
        busy(), execute_input(), stdout("before\n"), *of_the_task, stdout("after\n"), idle(), parent=use
    )
    client.shell.expect(execute_reply(parent=start), execute_reply(parent=use))


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe: what reads it in the kernel goes on when the test writes to it."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def test_k4_a_task_goes_on_between_cells(client: ProtocolClient, gate: Path) -> None:
    """Its output comes by itself, with the cell that started it, while nothing runs."""
    code = f"""
import asyncio, comm, pathlib
async def work():
    print(await asyncio.to_thread(pathlib.Path({str(gate)!r}).read_text))
    display('shown')
    comm.create_comm(target_name='t').send({{'n': 1}})
    print('last')
task = asyncio.create_task(work())
"""
    start = client.execute(code)
    client.iopub.expect(busy(), execute_input(), idle(), parent=start)
    gate.write_text("later")
    shown = stdout("later\n"), display("'shown'"), comm_open("t"), comm_msg({"n": 1}), stdout("last\n")
    client.iopub.expect(*shown, parent=start)
    client.shell.expect(execute_reply(parent=start))


def test_k4_tasks_of_two_cells_take_turns_each_for_its_own_cell(client: ProtocolClient) -> None:
    code = """
import asyncio
go = asyncio.Event()
async def work(name):
    await go.wait()
    for n in range(2):
        print(name, n)
        await asyncio.sleep(0)
"""
    run(client, code)
    one, two = [client.execute(f"{name} = asyncio.create_task(work('{name}'))") for name in ("one", "two")]
    for start in (one, two):
        client.iopub.expect(busy(), execute_input(), idle(), parent=start)
    use = client.execute("go.set(); await asyncio.gather(one, two); print('done')")
    turns = [stdout(f"{name} {n}\n", parent=start) for n in range(2) for name, start in (("one", one), ("two", two))]
    client.iopub.expect(busy(), execute_input(), *turns, stdout("done\n"), idle(), parent=use)
    client.shell.expect(*[execute_reply(parent=request) for request in (one, two, use)])


def test_what_a_task_or_a_thread_raises_is_told_and_ends_nothing_else(client: ProtocolClient) -> None:
    code = "import asyncio\nasync def fail():\n    1/0\ntask = asyncio.create_task(fail())"
    task = f"{code}\nawait asyncio.sleep(0)\nimport gc; del task; gc.collect();"
    run(client, task, stderr(regex("never retrieved(.|\n)*ZeroDivisionError")))
    thread = "import threading\nthread = threading.Thread(target=lambda: 1/0); thread.start(); thread.join()"
    run(client, thread, stderr(regex("ZeroDivisionError")))


def test_k4_what_a_thread_writes_between_cells_comes_with_the_cell_that_ran_last(
    client: ProtocolClient, gate: Path
) -> None:
    code = f"import pathlib, threading\nread = pathlib.Path({str(gate)!r}).read_text"
    run(client, f"{code}\nthreading.Thread(target=lambda: print(read())).start()")
    last = run(client, "pass").parent_id
    # A question is handled after it, and runs no code that could show anything.
    ask(client, "is_complete", {"code": "1"}, status="complete")
    gate.write_text("late")
    client.iopub.expect(stdout("late\n"), parent=last)


@pytest.mark.parametrize("leave", ["SystemExit", "KeyboardInterrupt"])
def test_a_task_that_exits_ends_only_itself(client: ProtocolClient, leave: str) -> None:
    """asyncio lets these two end the event loop, and with it they would end the kernel."""
    code = f"import asyncio\nasync def leave():\n    raise {leave}\ntask = asyncio.create_task(leave())"
    run(client, f"{code}\nawait asyncio.sleep(0); print('goes on')", stderr(regex(leave)), stdout("goes on\n"))
    run(client, "task.exception()", result(f"{leave}()"))


def test_k4_the_output_of_a_thread_comes_with_the_cell_that_runs(client: ProtocolClient) -> None:
    run(
        client, "import threading\nlock = threading.Lock(); lock.acquire()\ndef work():\n    with lock: print('thread')"
    )
    run(client, "thread = threading.Thread(target=work); thread.start()")
    run(client, "print('before'); lock.release(); thread.join(); print('after')", stdout("before\nthread\nafter\n"))


def test_k4_an_adopted_parent_is_that_of_its_context_alone(client: ProtocolClient) -> None:
    """As ipywidgets' Output adopts one: what other threads print belongs to the cell that runs."""
    first = run(client, "first = get_ipython().get_parent()").parent_id
    code = (
        "import threading\nget_ipython().set_parent(first)\nprint('here')\n"
        "thread = threading.Thread(target=print, args=('there',)); thread.start(); thread.join()"
    )
    run(client, code, stdout("here\n", parent=first), stdout("there\n"))
