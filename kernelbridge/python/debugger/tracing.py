"""All that is asked of pydevd, debugpy's engine, by calls. The rest it is asked over its socket."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final

_VALIDATION: Final = "PYDEVD_DISABLE_FILE_VALIDATION"


def connect() -> socket.socket:
    """Start pydevd, once in a process, and return the end of its socket. All threads are traced from now on.

    Raises what debugpy raises where it does not run, such as ImportError.
    """
    pydevd = _load()
    ours, theirs = socket.socketpair()
    dial = pydevd.start_client
    # What it would do is to connect to a port, on which somebody else could be heard, or listen.
    pydevd.start_client = lambda host, port: theirs
    try:
        trace_all_threads()
    except BaseException:
        ours.close()
        theirs.close()
        raise
    finally:
        pydevd.start_client = dial
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _forked(pydevd))
    return ours


def trace_this_thread() -> None:
    """See to it that the calling thread is traced: an interrupt that came while it was stopped has ended that.

    So may the user's code have done, which is free to trace for itself.
    """
    if sys.gettrace() is None:
        # It alone: for all, pydevd starts a thread for each, and may take one of those for one of the program's.
        _settrace(_load(), trace_only_current_thread=True)


def trace_all_threads() -> None:
    """Trace all threads again."""
    _settrace(_load())
    # Not this one, whatever it is marked by: each call would be looked at before it is let go.
    leave_this_thread()


def leave_this_thread() -> None:
    """Trace the calling thread no longer."""
    engine = _load().get_global_debugger()
    if engine is not None:
        engine.disable_tracing()


def is_own(function: object) -> bool:
    """Return whether a trace function is pydevd's."""
    # A method of its own, or, where it is compiled, an object of a type of its own.
    modules = getattr(function, "__module__", None), type(function).__module__
    return any(str(module).startswith(("_pydevd", "pydevd")) for module in modules)


def end() -> None:
    """Take pydevd out of a program that goes on without it: the calling thread and new ones are traced no longer.

    Before Python 3.12 no thread can say so for another: one that was traced keeps a function that does nothing.
    """
    if "pydevd" in sys.modules:
        sys.modules["pydevd"].stoptrace()


def without_stop(traceback: TracebackType | None) -> TracebackType | None:
    """Cut off where an interrupt has met a thread that was stopped: in pydevd, and not in what the thread runs."""
    at = traceback
    while at is not None and at.tb_next is not None:
        if _is_pydevd(at.tb_next.tb_frame.f_code.co_filename):
            at.tb_next = None
        at = at.tb_next
    return traceback


def _is_pydevd(file: str) -> bool:
    # What is compiled names its file without a folder before.
    return "_pydevd_bundle" in file or Path(file).name == "pydevd.py"


def _load() -> Any:
    if "pydevd" not in sys.modules:
        before = os.environ.get(_VALIDATION)
        # Else it writes, into the cell that runs, that breakpoints in Python's own frozen modules are not hit.
        os.environ[_VALIDATION] = "1"
        try:
            # It is debugpy that knows where its pydevd is.
            import debugpy.server  # noqa: F401
            import pydevd  # noqa: F401
        finally:
            if before is None:
                del os.environ[_VALIDATION]
            else:
                os.environ[_VALIDATION] = before
    return sys.modules["pydevd"]


def _settrace(pydevd: Any, trace_only_current_thread: bool = False) -> None:
    import debugpy

    # The host and the port are nobody's, see connect(). Child processes are left alone: they would connect there.
    pydevd.settrace(
        host="127.0.0.1",
        port=1,
        suspend=False,
        trace_only_current_thread=trace_only_current_thread,
        wait_for_ready_to_run=False,
        patch_multiprocessing=False,
        notify_stdin=False,
        protocol="dap",
        dont_trace_start_patterns=(str(Path(debugpy.__file__).parent),),
    )


def _forked(pydevd: ModuleType) -> None:
    """Leave a forked child alone: nobody is there to let it go on when it is stopped."""
    # First: it gives these two functions back, which it had replaced by some that warn.
    pydevd.settrace_forked(setup_tracing=False)
    sys.settrace(None)
    threading.settrace(None)
