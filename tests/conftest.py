"""For all tests: whatever a test starts, it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before any is imported: their assertions show what they compared, too.
pytest.register_assert_rewrite("tests.support")

from tests.support.leftovers import child_processes, threads  # noqa: E402

# A shell starts what it runs in the background with SIGINT ignored, and nohup with SIGHUP: so would be all that the
# tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long a test takes says more of the machine than of the test.
settings.register_profile("kernelbridge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kernelbridge")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the kernels of these tests a cache of their own.

    What completes for them, parso, writes its files where others read them: who reads half a file completes nothing.
    """
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib"
    users.mkdir(parents=True, exist_ok=True)
    own = tmp_path_factory.mktemp("cache")
    # To look for all fonts takes seconds.
    (own / "matplotlib").symlink_to(users)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(own))
        yield


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Hold that no thread of this library outlives the test that started it."""
    before = threads()
    yield
    left = [thread for thread in threads() - before if thread.name.startswith("kernelbridge")]
    for thread in left:
        # Whoever answers a question may take for ever, so that no bridge waits for that; these have their answer.
        if thread.name == "kernelbridge-frontend-input":
            thread.join(60)
    left = [thread for thread in left if thread.is_alive()]
    assert not left, f"threads are left: {left}"


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Hold that no child process outlives the tests."""
    before = set(child_processes())
    yield
    left = set(child_processes()) - before
    assert not left, f"processes are left: {left}"
