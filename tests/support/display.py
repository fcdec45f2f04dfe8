"""A display for tests that open windows: an X server without a screen (Xvfb)."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kernelbridge.testing import DEADLINE


@contextmanager
def virtual_display() -> Iterator[str]:
    """Start a server on a display number that is free, and give the value of DISPLAY. Skips where there is no Xvfb."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed (Debian: xvfb)")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            # It tells the number when clients may come, and closes the pipe without a word when it fails.
            assert select.select([told], [], [], DEADLINE)[0], "Xvfb does not start"
            number = told.readline().strip()
        assert number, f"Xvfb has ended with status {server.wait(DEADLINE)}"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(DEADLINE)
