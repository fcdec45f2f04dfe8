"""Bridges to kernels that really run, for tests that share one; and Deno, which has to be told where it is."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.heartbeat import Heartbeat
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.frames import Frame


@contextmanager
def running(name: str, **options: Any) -> Iterator[Bridge]:
    """Launch a kernel in Python, and wait until all five channels are connected, which a ready bridge may not be yet.

    A channel has one more descriptor from then on: who counts them must not begin before.
    """
    beaten, read = threading.Event(), Heartbeat.read

    def read_and_tell(heartbeat: Heartbeat, frames: list[Frame]) -> None:
        read(heartbeat, frames)
        beaten.set()

    with patch.object(Heartbeat, "read", read_and_tell), launch(name, **options) as bridge:
        assert beaten.wait(DEADLINE)
        bridge.list_subshells().result(DEADLINE)
        bridge.execute("input()", on_input=lambda prompt, password: "").result(DEADLINE)
        yield bridge


def find_deno() -> str | None:
    """Return the path of Deno, where it is installed."""
    return shutil.which("deno") or shutil.which("deno", path=Path(sys.executable).parent)


def install_deno(kernels: Path) -> bool:
    """Write a kernelspec for Deno into a folder of kernelspecs. Returns False where it is not installed.

    It takes requests to interrupt; a signal, which is what its own kernelspec asks for, ends it.
    """
    deno = find_deno()
    if deno is None:
        return False
    folder = kernels / "deno"
    folder.mkdir(parents=True)
    argv = [deno, "jupyter", "--kernel", "--conn", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Deno", "language": "typescript", "interrupt_mode": "message"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    return True
