"""A kernel that ends at once is started again on TCP while its launcher is still busy with the first start (F11)."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from kernelbridge.frontend import launch as launch_module
from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.errors import KernelStartError
from kernelbridge.frontend.files import Files
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.process import Exit, KernelProcess
from kernelbridge.frontend.threads import Threads

DEADLINE = 60.0


@pytest.fixture(autouse=True)
def bad(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel, named bad, that ends at once."""
    spec = folder / "data" / "kernels" / "bad"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-c", "raise SystemExit('boom')", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "bad", "language": "none"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "data"))


def test_what_the_first_start_opens_late_is_not_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start's channels are opened when the second start has begun; the fixture finds what is left."""
    began_again, opened = threading.Event(), threading.Event()
    start, open_channels, new_connection = KernelProcess.start, Link.open, launch_module.new_connection

    def start_and_wait(process: KernelProcess) -> None:
        start(process)
        if not began_again.is_set():
            assert began_again.wait(DEADLINE)

    def open_and_tell(link: Link, *arguments: Any) -> None:
        open_channels(link, *arguments)
        opened.set()

    def connect_again(transport: Any, *others: Any) -> Any:
        if transport == "tcp":
            began_again.set()
            assert opened.wait(DEADLINE)
        return new_connection(transport, *others)

    monkeypatch.setattr(KernelProcess, "start", start_and_wait)
    monkeypatch.setattr(Link, "open", open_and_tell)
    monkeypatch.setattr(launch_module, "new_connection", connect_again)
    with pytest.raises(KernelStartError, match="boom"):
        launch("bad").__enter__()


def test_the_thread_of_the_first_process_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has made the second start, and may have to clean up when that has failed and the bridge is closed."""
    processes: list[KernelProcess] = []
    waited_for = threading.Event()
    start, wait, remove = KernelProcess.start, KernelProcess.wait, Files.remove

    def start_and_note(process: KernelProcess) -> None:
        processes.append(process)
        start(process)

    def tell_and_wait(process: KernelProcess) -> None:
        if process is processes[0]:
            waited_for.set()
        wait(process)

    def remove_late(files: Files) -> None:
        if processes[0].on_this_thread():
            waited_for.wait(DEADLINE)
        remove(files)

    monkeypatch.setattr(KernelProcess, "start", start_and_note)
    monkeypatch.setattr(KernelProcess, "wait", tell_and_wait)
    monkeypatch.setattr(Files, "remove", remove_late)
    with pytest.raises(KernelStartError, match="boom"):
        launch("bad").__enter__()
    left = [process.alive for process in processes]
    waited_for.set()
    assert left == [False, False]


def test_a_kernel_that_was_ready_when_its_start_had_failed_is_not_taken_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its answers are read when its process has ended already; what was asked for waits for the second start."""
    opened, ready = threading.Event(), list[bool]()
    open_channels, exited, stop_channels = Link.open, Link.exited, Threads.stop

    def open_and_tell(link: Link, *arguments: Any) -> None:
        open_channels(link, *arguments)
        opened.set()

    def exit_when_opened(link: Link, how: Exit) -> None:
        assert opened.wait(DEADLINE)
        exited(link, how)

    def be_ready_before(threads: Threads) -> None:
        if not ready:
            assert threads._outbox.channels is not None
            threads._outbox.channels.shell._on_ready({}, False)
            ready.append(threads._outbox.is_open)
        stop_channels(threads)

    monkeypatch.setattr(Link, "open", open_and_tell)
    monkeypatch.setattr(Link, "exited", exit_when_opened)
    monkeypatch.setattr(Threads, "stop", be_ready_before)
    with pytest.raises(KernelStartError, match="boom"):
        launch("bad").__enter__()
    assert ready == [False]
