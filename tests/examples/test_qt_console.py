"""The console window of Qt, used by its keys, on a screen that nobody sees.

Once Qt is loaded, much behaves differently in a process: so the tests of the window (qt_window.py) run in their own.
"""

from __future__ import annotations

import os
import subprocess
import sys

from kernelbridge.testing import DEADLINE
from tests.python.test_embed_gui import needs_qt
from tests.support.kernels import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=2 * DEADLINE)


@needs_qt
def test_the_window() -> None:
    plugin = ("-p", "no:kernelbridge", "-p", "kernelbridge.testing.plugin", "-p", "no:cacheprovider")
    ran = run("-m", "pytest", "-q", *plugin, "tests/examples/qt_window.py")
    assert ran.returncode == 0, ran.stdout


@needs_qt
def test_a_mistake_is_told_in_a_line() -> None:
    ran = run("examples/qt_console.py", "--kernel", "made-up")
    assert ran.returncode == 2
    assert "no kernel named 'made-up'; there are" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
