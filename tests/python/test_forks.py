"""A forked child of the Python kernel neither hangs nor speaks for it: it has no IOPub thread."""

from __future__ import annotations

import pytest

from kernelbridge.testing import ProtocolClient, result
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
def test_a_child_that_prints_and_flushes_ends(client: ProtocolClient, code: str, status: int) -> None:
    run(client, code, result(str(status)))
