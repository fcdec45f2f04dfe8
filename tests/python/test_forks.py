"""A forked child of the Python kernel does not hang, and what it prints shows with the cell (K10).

It has no IOPub thread: what it displays is let go.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    comm_close,
    comm_open,
    execute_input,
    execute_reply,
    idle,
    result,
    stdout,
)
from tests.support.exchange import run
from tests.support.kernels import ROOT

FORK = """
import os
child = os.fork()
if child == 0:
    print("in the child", flush=True)
    display("in the child")
    os._exit(7)
os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
PROCESS = """
import multiprocessing
child = multiprocessing.get_context("fork").Process(target=print, args=("in the child",))
child.start()
child.join()
child.exitcode
"""


@pytest.mark.parametrize(("code", "status"), [(FORK, 7), (PROCESS, 0)], ids=["fork", "multiprocessing"])
def test_k10_a_child_that_prints_and_flushes_ends(client: ProtocolClient, code: str, status: int) -> None:
    run(client, code, stdout("in the child\n"), result(str(status)))


@pytest.mark.parametrize(("last", "shown", "status"), [("", "", 0), ("1/0", "ZeroDivisionError", 256)])
def test_a_child_that_goes_on_to_the_end_of_its_cell_ends_there(
    client: ProtocolClient, last: str, shown: str, status: int
) -> None:
    """It shares the event loop's descriptors with the kernel, and would take for its own what wakes that."""
    run(client, "import os, tempfile; errors = tempfile.TemporaryFile()")
    code = f"""
child = os.fork()
if not child:
    os.dup2(errors.fileno(), 2)
    {last}
"""
    run(client, code)
    run(client, "os.waitpid(child, 0)[1]", result(str(status)))
    run(client, f"_ = errors.seek(0); {shown!r} in errors.read().decode()", result("True"))


@pytest.mark.parametrize(("code", "status"), [("3", 3), ("", 0), ("None", 0)])
def test_a_child_that_exits_has_the_status_that_it_has_said(client: ProtocolClient, code: str, status: int) -> None:
    exits = f"""
import os, sys
child = os.fork()
if not child:
    # Where IPython says how to leave a notebook.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.exit({code})
os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    run(client, exits, result(str(status)))


ENDS = "os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])"


def test_a_child_of_a_task_ends_when_the_task_does(client: ProtocolClient) -> None:
    """It would go on with the kernel's event loop, and with the descriptor at which the kernel is woken."""
    code = """
import asyncio, os
async def forks():
    global child
    await asyncio.sleep(0)
    child = os.fork()
    forked.set()
    if not child:
        print("in the child")
forked = asyncio.Event()
task = asyncio.create_task(forks())
await forked.wait()
"""
    run(client, code + ENDS, stdout("in the child\n"), result("0"))


def test_a_child_of_a_comms_callback_ends_with_it(client: ProtocolClient) -> None:
    code = """
import comm, os
def forks(message):
    global child
    child = os.fork()
forking = comm.create_comm(target_name="forks")
forking.on_msg(forks)
"""
    request = client.execute(code)
    opened = client.iopub.of(request).expect(busy(), execute_input(), comm_open("forks"), idle())[2]
    client.shell.expect(execute_reply(parent=request))
    for _ in range(3):
        # Behind a message that forks is one that must not be handled twice.
        for _ in range(2):
            sent = client.send("comm_msg", comm_id=opened.content["comm_id"], data={})
            client.iopub.expect(busy(), idle(), parent=sent)
        run(client, ENDS, result("0"))
    run(client, "forking.close()", comm_close())


GROUP = """
import atexit, os, subprocess
from kernelbridge.kernel.group import end_group_at_exit
end_group_at_exit()
child = os.fork()
if not child:
    os.setsid()
    started = subprocess.Popen(["sleep", "1000"])
    atexit._run_exitfuncs()
    goes_on = started.poll() is None
    started.kill()
    os._exit(not goes_on)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_that_runs_the_exit_hooks_in_a_session_of_its_own_ends_no_group() -> None:
    subprocess.run([sys.executable, "-c", GROUP], cwd=ROOT, check=True, timeout=DEADLINE)


# The library's own modules, random among them, know the platform by another sign.
WITHOUT_FORK = "import os, random, IPython; del os.register_at_fork"


def test_where_the_platform_does_not_fork_the_kernel_is_loaded_all_the_same() -> None:
    modules = ("kernel.kernel", "python.app", "python.descriptors", "python.debugger", "python.handler")
    loads = "".join(f"; import kernelbridge.{name}" for name in modules)
    subprocess.run([sys.executable, "-c", WITHOUT_FORK + loads], cwd=ROOT, check=True, timeout=DEADLINE)


def test_a_signal_to_a_child_is_none_to_the_kernel(client: ProtocolClient) -> None:
    """As the workers of a pool get one at its end. The kernel hears of signals at a socket that the child has, too.

    Also one that comes right after the fork.
    """
    code = """
import os, signal, time
child = os.fork()
if child == 0:
    time.sleep(60)
os.kill(child, signal.SIGTERM)
os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    for _ in range(5):
        run(client, code, result("-15"))
    run(client, "'goes on'", result("'goes on'"))
