"""python -m kernelbridge.python -f CONNECTION_FILE: the Python kernel."""

from __future__ import annotations

import argparse
import atexit
import gc
import io
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.python.handler import PythonHandler
from kernelbridge.python.terminal import open_standard_descriptors, open_terminal
from kernelbridge.wire.connection import load_startup_file
from kernelbridge.wire.errors import ConnectionFileError, WireError
from kernelbridge.wire.log import begin as begin_log

EXIT_SECONDS = 3.0
"""How long the process may take to end when it was asked to: less than the 5 s after which frontends kill it.

In real time, like their 5 s: it is a guard against what hangs in this process."""


_FILES = {io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom}
"""What keeps what was written in a buffer."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a kernel until it is shut down. Returns the exit status: 2 when the connection file cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m kernelbridge.python",
        description="The Python kernel of kernelbridge. Further options are those of IPython (--InteractiveShell...).",
        allow_abbrev=False,
    )
    parser.add_argument("-f", metavar="FILE", dest="file", required=True, help="connection file or registration file")
    options, others = parser.parse_known_args(arguments)
    # Early, so that it runs last: IPython's hook lets go of what cells have named.
    atexit.register(_spare_the_last_collections)
    # Who interrupts a kernel that starts or ends, where no cell runs, does not want to end it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    open_standard_descriptors()
    # What the kernel has to say of itself goes where it was started, and not into the cell that happens to run.
    terminal = open_terminal()
    begin_log(terminal)
    # Python has put the folder that it was started in first; users expect it to follow their os.chdir.
    if sys.path and sys.path[0]:
        sys.path[0] = ""
    try:
        info = load_startup_file(options.file, allow_port_zero=True)
        if info.transport == "inproc":
            raise ConnectionFileError(options.file, "transport", "inproc reaches nobody outside of this process")
        handler = PythonHandler(["-f", options.file, *others], EXIT_SECONDS, capture=True)
        try:
            Kernel(handler, options.file).serve()
        finally:
            # However it came to its end: nobody would end a process that hangs in it.
            handler.ending()
            _end_workers()
            # Late, so that it runs first: IPython's hook looks for what can be freed before there is anything to find.
            atexit.register(gc.freeze)
    except WireError as problem:
        print(f"kernelbridge: {problem}", file=terminal)
        return 2
    return 0


def _spare_the_last_collections() -> None:
    """Let the process end without freeing one by one all that it still has.

    A completion leaves some 300,000 objects with jedi, which take most of a second to find and to free. What nobody
    refers to any more has its ``__del__`` called here. What is referred to by modules alone need not (see "__del__" in
    Python's reference); but Python writes what is left in the buffers of files.
    """
    gc.unfreeze()
    gc.collect()
    for each in gc.get_objects():
        if type(each) in _FILES:
            # One that is closed, or whose reader is gone.
            with suppress(ValueError, OSError):
                each.flush()
    gc.freeze()


def _end_workers() -> None:
    """End what multiprocessing would wait for in its exit hook. Daemons, as the workers of a pool, it ends itself."""
    process = sys.modules.get("multiprocessing.process")
    for child in process.active_children() if process is not None else ():
        if not child.daemon:
            child.terminate()


if __name__ == "__main__":
    sys.exit(main())
