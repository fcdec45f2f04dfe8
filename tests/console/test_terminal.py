"""The console in a real terminal, with a real kernel: what a person types and reads."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernelbridge.testing import DEADLINE
from tests.support.kernels import ROOT

COMMAND = f"{sys.executable} -m kernelbridge console"
_CONTROL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[()][0-9A-B]|[=>])")


class Terminal:
    """A pane of tmux. What appears in it is read as it comes, and each wait goes on where the last one ended."""

    def __init__(self, tmux: tuple[str, ...], feed: int) -> None:
        self._tmux = tmux
        self._feed = feed
        self._raw = b""
        self._read = 0

    @property
    def text(self) -> str:
        """All that has appeared, without what moves the cursor or gives colour."""
        return _CONTROL.sub("", self._raw.decode(errors="replace"))

    def types(self, *keys: str) -> None:
        """Press keys, by tmux's names for them, or as text."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=DEADLINE)

    def reads(self, expected: str) -> None:
        """Wait until a text has appeared, behind what was waited for before."""
        end = time.monotonic() + DEADLINE
        while (place := self.text.find(expected, self._read)) < 0:
            assert select.select([self._feed], [], [], max(0, end - time.monotonic()))[0], self._problem(expected)
            chunk = os.read(self._feed, 65536)
            assert chunk, self._problem(expected)
            self._raw += chunk
        self._read = place + len(expected)

    def _problem(self, expected: str) -> str:
        return f"{expected!r} has not appeared; this has: {self.text[self._read :]!r}"


@contextmanager
def terminal(command: str, folder: Path) -> Iterator[Terminal]:
    """Run a command of the shell in a terminal of its own. Its exit status appears as ``status=N``."""
    tmux = ("tmux", "-u", "-f", os.devnull, "-S", str(folder / "tmux"))
    fifo = folder / "feed"
    os.mkfifo(fifo)
    # It begins when what it writes is read. Ctrl-C reaches the shell, too, and must not end it.
    line = f"trap : INT; read begin; {command}; echo status=$?; read end"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    environment.pop("TMUX", None)
    session = [*tmux, "new-session", "-d", "-x", "100", "-y", "40", "sh", "-c", line]
    subprocess.run(session, check=True, env=environment, timeout=DEADLINE)
    # Open at both ends, so that neither waits for the other.
    feed = os.open(fifo, os.O_RDWR)
    try:
        subprocess.run([*tmux, "pipe-pane", f"cat > {fifo}"], check=True, timeout=DEADLINE)
        shown = Terminal(tmux, feed)
        shown.types("Enter")
        yield shown
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, timeout=DEADLINE)
        os.close(feed)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_session_at_the_terminal(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts are put together in the cells, so that what was typed is not taken for what is shown."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
    with terminal(COMMAND, tmp_path) as shown:
        shown.reads("In [1]:")
        shown.types("print('a' + 'b'); 6 * 7", "Enter")
        shown.reads("ab\r\n")
        shown.reads("Out[1]: 42")
        shown.reads("In [2]:")

        shown.types("for i in range(2):", "Enter", "print('row', i)", "Enter", "Enter")
        shown.reads("row 0\r\nrow 1")
        shown.reads("In [3]:")

        shown.types("print('got', input('na' 'me? '))", "Enter")
        shown.reads("name?")
        shown.types("Ada", "Enter")
        shown.reads("got Ada")
        shown.reads("In [4]:")

        shown.types("import getpass; len(getpass.getpass('sec' 'ret? '))", "Enter")
        shown.reads("secret?")
        shown.types("xyzzy", "Enter")
        shown.reads("Out[4]: 5")
        assert "xyzzy" not in shown.text
        shown.reads("In [5]:")

        shown.types("unique_name = 'comp' 'leted'", "Enter")
        shown.reads("In [6]:")
        shown.types("print(uniq", "Tab")
        # What the kernel has added.
        shown.reads("ue_name")
        shown.types(")", "Enter")
        shown.reads("completed")
        shown.reads("In [7]:")

        shown.types("import time; print('ru' 'ns'); time.sleep(1000)", "Enter")
        shown.reads("runs")
        shown.types("C-c")
        shown.reads("KeyboardInterrupt")
        shown.reads("In [8]:")

        shown.types("input('mo' 're? ')", "Enter")
        shown.reads("more?")
        shown.types("C-d")
        shown.reads("EOFError")
        shown.reads("In [9]:")

        shown.types("C-d")
        shown.reads("status=0")


def test_without_a_terminal_the_console_says_so() -> None:
    """Exit status 2, one line."""
    command = [sys.executable, "-m", "kernelbridge", "console"]
    ran = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE)
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        "Error: the console needs a terminal; `kernelbridge run` runs a notebook without one"
    ]
