"""What programs do with their output by habit, and where and in which order it shows (contract K2-K4)."""

from __future__ import annotations

from kernelbridge.testing import (
    ProtocolClient,
    busy,
    execute_input,
    execute_reply,
    idle,
    regex,
    result,
    stderr,
    stdout,
)
from tests.support.exchange import run

LOGS = """
import logging, sys
logger = logging.getLogger('of a test')
logger.propagate = False
logger.handlers = [logging.StreamHandler()]
"""


def test_k2_a_log_keeps_its_place_also_from_a_handler_of_an_earlier_cell(client: ProtocolClient) -> None:
    run(
        client,
        f"{LOGS}logger.warning('first'); print('between'); logger.warning('second')",
        stderr("first\n"),
        stdout("between\n"),
        stderr("second\n"),
    )
    run(
        client,
        "print('before'); logger.warning('later'); print('after')",
        stdout("before\n"),
        stderr("later\n"),
        stdout("after\n"),
    )


def test_a_warning_names_its_line_and_shows_it(client: ProtocolClient) -> None:
    code = "import warnings\ndef old():\n    warnings.warn('is old', stacklevel=2)\n\nold()"
    run(client, code, stderr(regex(r"^<[^>\n]+>:5: UserWarning: is old\n  old\(\)\n$")))


def test_progress_bars_come_as_they_are_written(client: ProtocolClient) -> None:
    run(client, "for n in range(3): print(f'\\r{n}/2', end='', flush=True)\nprint()", stdout("\r0/2\r1/2\r2/2\n"))


def test_a_line_of_ten_megabytes_comes_whole(client: ProtocolClient) -> None:
    size = 10_000_000
    run(client, f"print('x' * {size})", stdout("x" * size + "\n"))


def test_what_is_redirected_shows_nowhere_else(client: ProtocolClient) -> None:
    code = "import contextlib, io, os\nwith contextlib.redirect_stdout(io.StringIO()) as kept:\n  print('kept')\n"
    run(client, f"{code}  os.write(1, b'not kept\\n')\nkept.getvalue()", stdout("not kept\n"), result("'kept\\n'"))


def test_k2_what_a_pool_of_processes_prints_shows_with_the_cell(client: ProtocolClient) -> None:
    code = """
import multiprocessing
def work(n):
    print('worker', n, flush=True)
    return 2 * n
with multiprocessing.get_context('fork').Pool(1) as pool:
    print(pool.map(work, [1, 2]))"""
    run(client, code, stdout("worker 1\nworker 2\n[2, 4]\n"))


def test_k4_threads_of_a_pool_print_for_the_cell_that_runs(client: ProtocolClient) -> None:
    """A pool's thread may be older than the cell."""
    run(client, "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\npool.submit(int);")
    run(
        client, "pool.submit(print, 'in the pool').result(); print('in the cell')", stdout("in the pool\nin the cell\n")
    )
    run(client, "pool.shutdown()")


def test_k4_a_task_prints_for_the_cell_that_started_it_also_after_its_end(client: ProtocolClient) -> None:
    code = "import asyncio\ngo = asyncio.Event()\nasync def late():\n  await go.wait(); print('late')\n"
    first = client.execute(f"{code}task = asyncio.create_task(late()); print('started')")
    client.iopub.expect(busy(), execute_input(), stdout("started\n"), idle(), parent=first)
    second = client.execute("go.set(); await task; print('done')")
    client.iopub.of(second).expect(busy(), execute_input(), stdout("done\n"), idle())
    client.iopub.of(first).expect(stdout("late\n"))
    client.shell.expect(execute_reply(parent=first), execute_reply(parent=second))
