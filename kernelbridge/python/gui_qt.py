"""Qt's event loop as the guest of asyncio's, and as its host.

An exception in a callback is shown as the bindings give it to `sys.excepthook`. They take `sys.exit` there for the
process's own: PySide ends Python's main thread on the spot, and the kernel has to be restarted.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from IPython.core.error import UsageError

BINDINGS = {"PyQt6": "qt6", "PySide6": "qt6", "PyQt5": "qt5"}
"""The bindings and what `%gui` calls their Qt, in the order in which matplotlib looks for them."""

TRY_SECONDS = 30.0
"""How long Qt may take to open its display, in real time."""


def find_binding(gui: str) -> str:
    """Return the binding for "qt", "qt5" or "qt6": the one that is imported already, the one that the environment
    variable QT_API names, or the first that is installed.

    Raises `UsageError` when there is none.
    """
    fitting = [name for name, qt in BINDINGS.items() if gui in ("qt", qt)]
    imported = [name for name in BINDINGS if f"{name}.QtCore" in sys.modules]
    if imported:
        if imported[0] not in fitting:
            raise UsageError(f"{imported[0]} is imported already, which is not {gui}: restart the kernel to change it")
        return imported[0]
    wanted = os.environ.get("QT_API", "").lower()
    fitting.sort(key=lambda name: name.lower() != wanted)
    for name in fitting:
        if importlib.util.find_spec(name) is not None:
            return name
    raise UsageError(f"no Qt for Python is installed: there may be {', '.join(fitting)}")


def _try(binding: str) -> None:
    """Raise `UsageError` when Qt cannot open its display here.

    Qt ends the process then, so another process tries first. It knows what is missing, too: a library, a plugin.
    """
    code = f"from {binding}.QtWidgets import QApplication; QApplication([])"
    command = [sys.executable, "-c", code]
    try:
        tried = subprocess.run(  # noqa: S603 - this Python, with the name of a binding from the table above.
            command, check=False, capture_output=True, text=True, timeout=TRY_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"Qt does not open its display within {TRY_SECONDS:g} s") from None
    if tried.returncode != 0:
        said = tried.stderr.strip().splitlines() or [f"it ended with status {tried.returncode}"]
        raise UsageError(f"Qt has no display to show windows on: {said[0]}")


def _warn_of_lost_references(binding: str, call: Callable[[], object]) -> None:
    """Warn if `call` takes references to None that are not its own, as all of PySide6 6.12.0 does."""
    calls = 100
    before = sys.getrefcount(None)
    for _ in range(calls):
        call()
    if before - sys.getrefcount(None) > calls // 2:
        warnings.warn(
            f"this {binding} loses a reference to None in each call, and before Python 3.12 that ends the process "
            "after some thousand calls: install another version of it",
            RuntimeWarning,
            stacklevel=3,
        )


class QtGuest:
    """Runs the events of Qt's application, which is made if there is none. Takes the `descriptor` to watch.

    Raises `UsageError` when Qt cannot open its display.
    """

    def __init__(self, binding: str, descriptor: int) -> None:
        core = importlib.import_module(f"{binding}.QtCore")
        widgets = importlib.import_module(f"{binding}.QtWidgets")
        if core.QCoreApplication.instance() is None:
            _try(binding)
        # Kept, because without a reference it would end at once.
        self._app = core.QCoreApplication.instance() or widgets.QApplication([""])
        self._loop: Any = core.QEventLoop()
        _warn_of_lost_references(binding, self._loop.quit)
        self._timer = core.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setTimerType(core.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.wake)
        self._exit = core.QTimer()
        self._exit.setSingleShot(True)
        self._exit.timeout.connect(self._app.exit)
        self._notifier = core.QSocketNotifier(descriptor, core.QSocketNotifier.Type.Read)
        self._notifier.setEnabled(False)
        self._notifier.activated.connect(self._readable)

    def wait(self, seconds: float | None) -> None:
        if seconds == 0:
            self._loop.processEvents()
            return
        if seconds is not None:
            self._timer.start(math.ceil(seconds * 1000))
        self._notifier.setEnabled(True)
        if self._loop.exec() == -1:
            # Somebody has called the application's exit(). After that no loop runs until its own has, and has ended.
            self._exit.start(0)
            self._app.exec()
        self._notifier.setEnabled(False)
        self._timer.stop()

    def wake(self) -> None:
        self._loop.quit()

    def close(self) -> None:
        # Now, and not when Python finds the time: the descriptor may be another's by then. Qt's shutdown() may have
        # deleted it already.
        with suppress(RuntimeError):
            self._notifier.setEnabled(False)

    def _readable(self) -> None:
        # It stays readable until asyncio has its turn: a dialog's own loop inside of a callback would spin.
        self._notifier.setEnabled(False)
        self.wake()


class QtHost:
    """Gives asyncio its turns on the loop of the calling thread's Qt application, whenever that runs.

    Takes the `descriptor` to watch, and the `turn` to call. Raises RuntimeError where there is no application.
    """

    def __init__(self, descriptor: int, turn: Callable[[], None]) -> None:
        binding = next((name for name in BINDINGS if f"{name}.QtCore" in sys.modules), None)
        core: Any = None if binding is None else sys.modules[f"{binding}.QtCore"]
        app = None if core is None else core.QCoreApplication.instance()
        if binding is None or app is None or app.thread() != core.QThread.currentThread():
            raise RuntimeError("this thread has no Qt application to run cells on: make the QApplication first")
        self._timer = core.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setTimerType(core.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(turn)
        self._notifier = core.QSocketNotifier(descriptor, core.QSocketNotifier.Type.Read)
        self._notifier.setEnabled(False)
        self._notifier.activated.connect(lambda *_: turn())
        _warn_of_lost_references(binding, self._timer.stop)

    def watch(self, seconds: float | None) -> None:
        # Its application may have been deleted, with all that is Qt's.
        with suppress(RuntimeError):
            self._notifier.setEnabled(True)
            if seconds is None:
                self._timer.stop()
            else:
                self._timer.start(math.ceil(seconds * 1000))

    def rest(self) -> None:
        with suppress(RuntimeError):
            self._notifier.setEnabled(False)
            self._timer.stop()
