"""A cell that computes in pure Python, and how soon a kernel hears of anything else meanwhile."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .client import QUIET_S, Client, Failed, Request
from .process import Running

CELL = """
print('computes', flush=True)
number = 0
while True:
    number = (number * 3 + 1) % 1_000_003
"""

# The print has come when its cell may still be in it.
BEGIN_S = 0.01


@contextmanager
def computing(running: Running) -> Iterator[None]:
    """A cell computes until the end of the block."""
    cell = _begun(running.client)
    yield
    running.process.send_signal(signal.SIGINT)
    _ended(running.client, cell)


def interrupted_by_signal(running: Running) -> float:
    """From SIGINT to the error that the computing cell shows, in seconds."""
    cell = _begun(running.client)
    started = time.perf_counter()
    running.process.send_signal(signal.SIGINT)
    return _ended(running.client, cell) - started


def interrupted_by_request(running: Running) -> float:
    """From an interrupt_request to the error that the computing cell shows, in seconds."""
    client = running.client
    cell, request = _begun(client), client.encode("interrupt_request", {})
    started = time.perf_counter()
    client.send(request, "control")
    return _ended(client, cell, request) - started


def _begun(client: Client) -> Request:
    cell = client.execute(CELL)
    client.ask(cell, "stream")
    time.sleep(BEGIN_S)
    return cell


def _ended(client: Client, cell: Request, interrupt: Request | None = None) -> float:
    """The time (time.perf_counter) at which the cell's error came; returns when all has come that belongs to both."""
    missing = {(cell.msg_id, what) for what in ("error", "execute_reply", "idle")}
    if interrupt is not None:
        missing |= {(interrupt.msg_id, what) for what in ("interrupt_reply", "idle")}
    at = 0.0
    for message in client.received(raising=False):
        key = (message.parent_id or "", message.what)
        if key == (cell.msg_id, "error"):
            at = time.perf_counter()
            if message.content["ename"] != "KeyboardInterrupt":
                raise Failed(f"the cell raised {message.content['ename']}: {message.content['evalue']}")
        missing.discard(key)
        if not missing:
            return at
    raise Failed(f"no {' and no '.join(sorted(what for _, what in missing))} for {QUIET_S:.0f} s after an interrupt")
