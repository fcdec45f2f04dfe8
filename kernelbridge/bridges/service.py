"""The life of a thread: start, ready, stop, join, and what a crash does.

`start()` returns when the thread says that it is ready, so no caller sleeps; what went wrong before that is raised
there. An exception after that is logged and handed to `on_crash`, so that the owner hears of it.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

logger = logging.getLogger("kernelbridge")

OnCrash = Callable[["Service", BaseException], None]
"""Called on the crashed thread, once, with the service and what it died of."""


class Service(ABC):
    """A thread with a name. A subclass writes `run`, which calls `ready`, and `wake`."""

    debugged = False
    """Whether a debugger may stop the thread, because the code that it runs is the user's."""

    def __init__(self, name: str, on_crash: OnCrash | None = None) -> None:
        self.name = name
        self._on_crash = on_crash
        # A daemon, so that a program that forgets to stop its kernel can still end; stop() always joins.
        self._thread = threading.Thread(target=self._main, name=f"kernelbridge-{name}", daemon=True)
        if not self.debugged:
            # Both names are pydevd's, debugpy's engine: it leaves such a thread alone, and does not list it.
            vars(self._thread).update(pydev_do_not_trace=True, is_pydev_daemon_thread=True)
        self._started = threading.Event()
        # Written by the thread before it sets `_started`, read by start() after it.
        self._failure: BaseException | None = None

    @abstractmethod
    def run(self) -> None:
        """The thread's work: call `ready` when it can be used, return when it was told to stop."""

    @abstractmethod
    def wake(self) -> None:
        """Tell the thread to stop, from any thread, wherever it waits. Calling it again does nothing."""

    def abandon(self) -> None:
        """Let go of what was made before the start, because there will be none. Calling it again does nothing."""

    def start(self) -> None:
        """Start the thread and return when it is ready. Raises what `run` raised before that."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def ready(self) -> None:
        """Say, from `run`, that the service can be used."""
        self._started.set()

    def stop(self, timeout: float | None = None) -> bool:
        """Tell the thread to stop, wait for its end at most `timeout` seconds, and return whether it ended.

        A service that was never started has ended, and lets go of what it holds already. Must not be called on the
        service's own thread.
        """
        if self._thread.ident is None:
            self.abandon()
            return True
        self.wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def on_this_thread(self) -> bool:
        """Return whether the caller runs on the service's own thread."""
        return self._thread is threading.current_thread()

    def _main(self) -> None:
        try:
            self.run()
        except BaseException as failure:  # noqa: BLE001 - a thread's last frame: nothing above it would hear.
            self._crashed(failure)
        finally:
            self._started.set()

    def _crashed(self, failure: BaseException) -> None:
        if not self._started.is_set():
            self._failure = failure
            return
        logger.critical("%s thread crashed", self.name, exc_info=failure)
        if self._on_crash is not None:
            self._on_crash(self, failure)
