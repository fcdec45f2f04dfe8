"""Processes that perform steps, one after the other. One that does not come to an end says where it is, and is killed.

Threads and descriptors are counted by process, so steps that take place at the same time need processes of their own.
"""

from __future__ import annotations

import faulthandler
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import attrs

from tests.chaos.frontends import kill_frontend
from tests.chaos.plan import Step
from tests.chaos.room import Room
from tests.chaos.steps import KernelStep

HANGS_AFTER: Final = 240.0
"""Seconds. Each wait within a step has a shorter deadline; what has none is found by this one."""


@attrs.frozen
class Outcome:
    """What became of a step: its `seconds`, how it failed, and in how many seconds an idle kernel's death was seen."""

    step: Step
    seconds: float
    failure: str = ""
    seen_after: float | None = None


def perform_all(steps: Iterable[Step], jobs: int, until: float) -> Iterator[Outcome]:
    """Perform steps in so many processes, beginning none after `until` (`time.monotonic`). Yields in their order."""
    waiting: SimpleQueue[Step] = SimpleQueue()
    for step in steps:
        waiting.put(step)
    outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
    stopping = threading.Event()

    def keep_busy() -> None:
        worker: _Worker | None = None
        try:
            while not stopping.is_set() and time.monotonic() < until:
                try:
                    step = waiting.get_nowait()
                except Empty:
                    return
                worker = worker or _Worker()
                outcome = worker.perform(step)
                outcomes.put(outcome)
                if outcome.failure:
                    # The next one begins with a clean slate.
                    worker.end()
                    worker = None
        finally:
            if worker is not None:
                worker.end()
            outcomes.put(None)

    threads = [threading.Thread(target=keep_busy) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        running = jobs
        while running:
            outcome = outcomes.get()
            if outcome is None:
                running -= 1
            else:
                yield outcome
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


class _Worker:
    """One process, and the room that its steps take place in. Owned by one thread."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kb", ignore_cleanup_errors=True)
        self._room = Room(Path(self._folder.name))
        self._connection, theirs = Pipe()
        # No process of multiprocessing's: that starts another one, which stays.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.workers", str(theirs.fileno()), self._folder.name],
            cwd=Path(__file__).parents[2],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def perform(self, step: Step) -> Outcome:
        began = time.monotonic()
        self._connection.send(step)
        try:
            if self._connection.poll(HANGS_AFTER):
                failure, seen_after = self._connection.recv()
            else:
                # It writes on stderr where each of its threads is.
                self._process.send_signal(signal.SIGABRT)
                failure, seen_after = "it hangs", None
        except (EOFError, OSError):
            failure, seen_after = "its process has ended", None
        if failure:
            self._room.clear(step.name)
        return Outcome(step, time.monotonic() - began, failure, seen_after)

    def end(self) -> None:
        self._connection.close()
        self._process.wait()
        self._folder.cleanup()


def main() -> None:
    """Perform steps, in a process of its own, until there are no more."""
    connection, room = Connection(int(sys.argv[1])), Room(Path(sys.argv[2]))
    # Ctrl-C is for the command, which lets the steps that have begun end. Ignored, it would be so in the kernels, too.
    signal.signal(signal.SIGINT, lambda *_: None)
    faulthandler.enable(sys.stderr)
    room.enter()
    with suppress(EOFError):
        while True:
            step: Step = connection.recv()
            failure, seen_after = "", None
            try:
                with room.emptied(step.name) as mark:
                    if step.kind == "frontend":
                        kill_frontend(step, mark, room)
                    else:
                        seen_after = KernelStep(step, mark).perform()
            except Exception:  # noqa: BLE001 - whatever it is, it is the step's outcome.
                failure = traceback.format_exc()
            connection.send((failure, seen_after))


if __name__ == "__main__":
    main()
