"""Interrupts of the Python kernel: by signal and by request, in every kind of waiting."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import pytest

from kernelbridge.testing import (
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    reply,
    result,
    stdout,
)
from kernelbridge.wire.messages import Message
from tests.support.exchange import ask, run

SAY = "print('begun', flush=True)\n"
# No coroutine is made after a cell has begun: one that is not awaited, because the interrupt came first, is told of.
NEVER = "import asyncio\nnever = asyncio.get_running_loop().create_future()\n"
WAITS = {
    "time.sleep": f"import time\n{SAY}while True: time.sleep(1000)",
    "a loop": f"{SAY}while True: pass",
    "await": f"{NEVER}async def waits():\n    {SAY}    await never\nawait waits()",
    "await a future": f"{NEVER}{SAY}await never",
    "await a task": f"import asyncio\nboth = asyncio.gather(asyncio.sleep(1000), asyncio.sleep(0))\n{SAY}await both",
    "a lock": f"import threading\n{SAY}while True: threading.Event().wait(1000)",
    "a child": f"import subprocess\n{SAY}subprocess.run(['sleep', '1000'])",
    # Python ignores what is raised there: it is interrupted again where it goes on.
    "__del__": f"class Ends:\n    def __del__(self):\n        {SAY}        while True: pass\nEnds()\nwhile True: pass",
    "a callback of C": (
        "import ctypes\n@ctypes.CFUNCTYPE(None)\n"
        f"def callback():\n    {SAY}    while True: pass\ncallback()\nwhile True: pass"
    ),
}
Interrupt = Callable[[], None]


@pytest.fixture(params=["SIGINT", "interrupt_request"])
def interrupt(request: pytest.FixtureRequest, started: subprocess.Popen[bytes], client: ProtocolClient) -> Interrupt:
    """Interrupts the kernel, by signal or by request."""

    def by_signal() -> None:
        started.send_signal(signal.SIGINT)

    def by_request() -> None:
        asked = client.send("interrupt_request")
        client.control.expect(reply("interrupt", status="ok", parent=asked))
        # What is interrupted ends at the same time.
        client.iopub.of(asked).expect(busy(), idle())

    return by_signal if request.param == "SIGINT" else by_request


def begun(client: ProtocolClient, code: str) -> Message:
    """Execute, and return the request when the cell says that it is about to wait."""
    request = client.execute(code)
    client.iopub.expect(busy(), execute_input(code), stdout("begun\n"), parent=request)
    return request


def expect_interrupted(client: ProtocolClient, request: Message) -> None:
    """Expect the rest of what an interrupted cell causes. The traceback ends where it was interrupted."""
    shown, _ = client.iopub.expect(error("KeyboardInterrupt"), idle(), parent=request)
    assert "_on_sigint" not in "".join(shown.content["traceback"])
    client.shell.expect(execute_reply("error", ename="KeyboardInterrupt", parent=request))


@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupt_ends_what_runs_and_the_kernel_goes_on(
    client: ProtocolClient, interrupt: Interrupt, wait: str
) -> None:
    request = begun(client, WAITS[wait])
    interrupt()
    expect_interrupted(client, request)
    run(client, "1 + 1", result("2"))


def test_a_cell_may_catch_its_interrupt(client: ProtocolClient, interrupt: Interrupt) -> None:
    code = f"import time\ntry:\n  {SAY}  time.sleep(1000)\nexcept KeyboardInterrupt:\n  print('caught')\n7"
    request = begun(client, code)
    interrupt()
    client.iopub.expect(stdout("caught\n"), result("7"), idle(), parent=request)
    client.shell.expect(execute_reply("ok", parent=request))


def test_an_interrupt_leaves_the_tasks_of_other_cells_alone(client: ProtocolClient, interrupt: Interrupt) -> None:
    run(client, "import asyncio\ngo = asyncio.Event(); other = asyncio.create_task(go.wait())")
    request = begun(client, WAITS["await a future"])
    interrupt()
    expect_interrupted(client, request)
    run(client, "go.set(); await other", result("True"))


def test_k7_an_interrupt_cancels_a_prompt_and_a_late_answer_counts_for_nothing(
    client: ProtocolClient, interrupt: Interrupt
) -> None:
    first = client.execute("input('first? ')")
    (late,) = client.stdin.expect(input_request("first? ", parent=first))
    client.iopub.expect(busy(), execute_input(), parent=first)
    interrupt()
    expect_interrupted(client, first)
    second = client.execute("input('second? ')")
    client.stdin.expect(input_request("second? ", parent=second))
    # Somebody answers the prompt that is no more, and says to which prompt he answers.
    client.answer("late", late)
    client.answer("in time")
    client.iopub.expect(busy(), execute_input(), result("'in time'"), idle(), parent=second)
    client.shell.expect(execute_reply(parent=second))


def test_an_interrupt_of_nothing_is_dropped(client: ProtocolClient, interrupt: Interrupt) -> None:
    """A late Ctrl-C ends neither the kernel nor the next cell."""
    for _ in range(20):
        interrupt()
        # A signal is delivered before anything that is sent afterwards is run.
        ask(client, "kernel_info", channel="control")
        ask(client, "is_complete", {"code": "1"}, status="complete")
    run(client, "1 + 1", result("2"))


def test_k11_an_interrupt_aborts_what_waits_as_an_error_does(client: ProtocolClient, interrupt: Interrupt) -> None:
    request = begun(client, WAITS["time.sleep"])
    waiting = [client.execute("print('never')") for _ in range(5)]
    # When this is answered they have arrived, though Shell may not have read them.
    ask(client, "kernel_info", channel="control")
    interrupt()
    expect_interrupted(client, request)
    for one in waiting:
        client.iopub.expect(busy(), idle(), parent=one)
        client.shell.expect(execute_reply("aborted", parent=one))
    run(client, "1 + 1", result("2"))
