"""For all tests: whatever a test starts, it ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

# Before any is imported: their assertions show what they compared, too.
pytest.register_assert_rewrite("tests.support")

from tests.support.leftovers import child_processes, threads  # noqa: E402

# A shell starts what it runs in the background with SIGINT ignored, and nohup with SIGHUP: so would be all that the
# tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Hold that no thread of this library outlives the test that started it."""
    before = threads()
    yield
    left = [thread for thread in threads() - before if thread.name.startswith("kernelbridge")]
    assert not left, f"threads are left: {left}"


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Hold that no child process outlives the tests."""
    before = set(child_processes())
    yield
    left = set(child_processes()) - before
    assert not left, f"processes are left: {left}"
