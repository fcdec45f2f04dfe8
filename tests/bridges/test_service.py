"""The life of a thread: ready is said, stop is sure, a crash is heard."""

from __future__ import annotations

import logging
import threading

import pytest

from kernelbridge.bridges.service import OnCrash, Service
from tests.support.leftovers import nothing_left

DEADLINE = 60.0


class Worker(Service):
    """Is ready, waits to be woken, and then ends or fails. `early` fails before it is ready."""

    def __init__(self, on_crash: OnCrash | None = None, early: Exception | None = None) -> None:
        super().__init__("worker", on_crash)
        self.woken = threading.Event()
        self.early = early
        self.late: Exception | None = None
        self.abandoned = 0
        self.was_own_thread: bool | None = None

    def run(self) -> None:
        if self.early is not None:
            raise self.early
        self.was_own_thread = self.on_this_thread()
        self.ready()
        assert self.woken.wait(DEADLINE)
        if self.late is not None:
            raise self.late

    def wake(self) -> None:
        self.woken.set()

    def abandon(self) -> None:
        self.abandoned += 1


def test_start_returns_when_it_is_ready_and_stop_when_it_is_gone() -> None:
    with nothing_left():
        worker = Worker()
        worker.start()
        assert worker.alive
        assert worker.was_own_thread
        assert not worker.on_this_thread()
        assert worker.stop() is True
        assert not worker.alive
        assert worker.stop() is True


def test_start_raises_what_run_raised_before_it_was_ready() -> None:
    heard: list[BaseException] = []
    with nothing_left():
        worker = Worker(lambda service, failure: heard.append(failure), ValueError("no port"))
        with pytest.raises(ValueError, match="no port"):
            worker.start()
        assert not worker.alive
        assert worker.stop() is True
    # Who started it has been told already.
    assert heard == []


def test_a_crash_is_logged_with_its_traceback_and_told_to_the_owner_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[Service, BaseException]] = []
    worker = Worker(lambda service, failure: heard.append((service, failure)))
    worker.late = ValueError("what went wrong")
    worker.start()
    with caplog.at_level(logging.CRITICAL, "kernelbridge"):
        assert worker.stop() is True
    assert heard == [(worker, worker.late)]
    (record,) = caplog.records
    assert "worker thread crashed" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is worker.late


def test_stop_tells_when_the_thread_does_not_end_in_time() -> None:
    class Deaf(Worker):
        def wake(self) -> None:
            """Hear nothing."""

    worker = Deaf()
    worker.start()
    assert worker.stop(timeout=0) is False
    worker.woken.set()
    assert worker.stop(DEADLINE) is True


def test_a_service_that_was_never_started_has_ended_and_lets_go() -> None:
    worker = Worker()
    assert worker.stop() is True
    assert worker.abandoned == 1
