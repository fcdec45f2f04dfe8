"""A forked child of the Python kernel does not hang, and what it prints shows with the cell (K10).

It has no IOPub thread: what it displays is let go.
"""

from __future__ import annotations

import pytest

from kernelbridge.testing import ProtocolClient, result, stdout
from tests.support.exchange import run

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
