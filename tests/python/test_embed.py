"""A kernel inside a running program: with its objects, and without a trace when it has ended."""

from __future__ import annotations

import asyncio
import builtins
import getpass
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comm
import pytest

from kernelbridge import EmbeddedKernel, embed
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    message,
    reply,
    result,
    stdout,
)
from kernelbridge.wire.errors import ConnectionFileError
from tests.support.exchange import run
from tests.support.kernels import ROOT
from tests.support.leftovers import nothing_left


def state() -> dict[str, Any]:
    """Return what of the program a kernel changes while it runs."""
    return {
        "stdout": sys.stdout,
        "stderr": sys.stderr,
        "displayhook": sys.displayhook,
        "excepthook": sys.excepthook,
        "breakpointhook": sys.breakpointhook,
        "sys": {name: getattr(sys, name, None) for name in ("ps1", "ps2", "ps3", "last_value", "last_exc")},
        "main": sys.modules["__main__"],
        "path": list(sys.path),
        "environment": dict(os.environ),
        "input": builtins.input,
        "getpass": getpass.getpass,
        "builtins": set(vars(builtins)) - {"_"},
        "comm": (comm.create_comm, comm.get_comm_manager),
        "SIGINT": signal.getsignal(signal.SIGINT),
        "SIGTERM": signal.getsignal(signal.SIGTERM),
    }


# --- on a thread ----------------------------------------------------------------------------------------------------


def test_cells_run_with_the_programs_own_objects() -> None:
    numbers = [1, 2]
    names: dict[str, Any] = {"numbers": numbers}
    with EmbeddedKernel(names) as kernel, ProtocolClient(kernel.connection) as client:
        run(client, "numbers.append(3); total = sum(numbers); total", result("6"))
        names["given"] = "later"
        run(client, "given", result("'later'"))
    assert numbers == [1, 2, 3]
    # What the cells have assigned is there, and nothing of IPython's own.
    assert names == {"numbers": numbers, "total": 6, "given": "later"}


def test_cells_run_on_a_thread_of_the_kernels_own() -> None:
    names = {"main": threading.current_thread()}
    with EmbeddedKernel(names) as kernel, ProtocolClient(kernel.connection) as client:
        run(client, "import threading; threading.current_thread() is main", result("False"))


def test_several_frontends_connect_by_the_file() -> None:
    with EmbeddedKernel() as kernel:
        assert kernel.file is not None
        file = kernel.file
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with ProtocolClient(file) as first, ProtocolClient(file) as second:
            first.iopub.expect(message("iopub_welcome"))
            request = first.execute("x = 1; x")
            for client in (first, second):
                client.iopub.expect(busy(), execute_input(), result("1"), idle(), parent=request)
            first.shell.expect(execute_reply(parent=request))
    assert not file.exists()


def test_a_file_may_be_named(tmp_path: Path) -> None:
    with EmbeddedKernel(connection_file=tmp_path / "mine.json") as kernel:
        assert kernel.file == tmp_path / "mine.json"
        assert kernel.file.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = state()
    with (
        nothing_left(),
        pytest.raises(ConnectionFileError, match="file/mine"),
        EmbeddedKernel(connection_file=tmp_path / "file" / "mine.json"),
    ):
        pass
    assert state() == before


def test_the_program_prints_and_asks_where_it_did_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what runs in a cell, or in a task that a cell has started, shows in the frontend."""
    monkeypatch.setattr(builtins, "input", lambda prompt="": f"the program's answer to {prompt}")
    with EmbeddedKernel() as kernel, ProtocolClient(kernel.connection) as client:
        print("the program's")
        assert input("mine? ") == "the program's answer to mine? "
        run(client, "print('a cell'); import sys; print('s', file=sys.stderr)", stdout("a cell\n"), message("stream"))
        request = client.execute("input('yours? ')", allow_stdin=True)
        client.stdin.expect(input_request("yours? ", parent=request))
        client.answer("Ada")
        client.iopub.expect(busy(), execute_input(), result("'Ada'"), idle(), parent=request)
        client.shell.expect(execute_reply(parent=request))
        print("the program's", file=sys.stderr)
    assert capsys.readouterr() == ("the program's\n", "the program's\n")


def test_the_program_is_as_before_and_another_kernel_may_follow() -> None:
    before = state()
    with nothing_left():
        for number in (1, 2):
            with EmbeddedKernel() as kernel, ProtocolClient(kernel.connection) as client:
                # No signal handler is set from a thread.
                assert signal.getsignal(signal.SIGINT) is before["SIGINT"]
                run(client, "1 / 0", error("ZeroDivisionError"), replied=execute_reply("error"))
                run(client, f"x = {number}; In[-1], x", result(f"('x = {number}; In[-1], x', {number})"))
            assert state() == before


def test_the_programs_logs_go_on(tmp_path: Path) -> None:
    """traitlets' way to set up an application's log closes the handlers of all others."""
    logger, handler = logging.getLogger("the program's"), logging.FileHandler(tmp_path / "log", mode="w")
    logger.addHandler(handler)
    try:
        with EmbeddedKernel() as kernel, ProtocolClient(kernel.connection) as client:
            logger.warning("meanwhile")
            run(client, "get_ipython().parent.log.error('the application says')", message("stream"))
        logger.warning("afterwards")
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (tmp_path / "log").read_text() == "meanwhile\nafterwards\n"


def test_a_kernel_that_cannot_be_made_leaves_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no more threads")

    with nothing_left():
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no more threads"):
            patch.setattr("kernelbridge.python.embed.Kernel", refuse)
            EmbeddedKernel().__enter__()
        with monkeypatch.context() as patch, pytest.raises(OSError, match="no more threads"):
            patch.setattr("threading.Thread.start", refuse)
            EmbeddedKernel().__enter__()
        with EmbeddedKernel() as kernel, ProtocolClient(kernel.connection) as client:
            run(client, "1", result("1"))


def test_there_is_one_at_a_time() -> None:
    with EmbeddedKernel() as kernel:
        with pytest.raises(RuntimeError, match="room for one"), EmbeddedKernel():
            pass
        with ProtocolClient(kernel.connection) as client:
            run(client, "1", result("1"))


@pytest.mark.parametrize("ends", ["a frontend", "a cell", "the program"])
def test_it_ends_when_it_is_told_to(ends: str) -> None:
    with EmbeddedKernel() as kernel, ProtocolClient(kernel.connection) as client:
        if ends == "a frontend":
            request = client.send("shutdown_request", restart=False)
            client.control.expect(reply("shutdown", parent=request))
            client.iopub.expect(busy(), message("shutdown_reply"), idle(), parent=request)
        elif ends == "a cell":
            run(client, "exit")
        else:
            kernel.end()
        kernel.wait(DEADLINE)
        client.expect_end()
        assert kernel.file is None
    with pytest.raises(RuntimeError, match="entered once"), kernel:
        pass


def test_leaving_interrupts_a_cell_that_waits() -> None:
    with EmbeddedKernel() as kernel, ProtocolClient(kernel.connection) as client:
        request = client.execute("import asyncio; print('begun', flush=True); await asyncio.Event().wait()")
        client.iopub.expect(busy(), execute_input(), stdout("begun\n"), parent=request)
        kernel.__exit__()
        client.iopub.expect(error("KeyboardInterrupt"), idle(), parent=request)
        client.shell.expect(execute_reply("error", parent=request))
        client.expect_end()


# --- in one process alone -------------------------------------------------------------------------------------------


def test_inproc_is_a_kernel_and_its_bridge_with_no_port_and_no_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    with nothing_left(), EmbeddedKernel({"x": 6}, inproc=True) as kernel, kernel.connect() as bridge:
        assert kernel.connection.transport == "inproc"
        assert kernel.file is None
        execution = bridge.execute("print('six'); x * 7")
        assert [shown.content.get("text") for shown in execution if shown.msg_type == "stream"] == ["six\n"]
        assert execution.result(DEADLINE).content["status"] == "ok"
        assert list(tmp_path.iterdir()) == []


def test_bridges_that_were_not_closed_are_closed_with_the_kernel() -> None:
    with nothing_left():
        with EmbeddedKernel(inproc=True) as kernel:
            bridge = kernel.connect()
            bridge.wait_ready(DEADLINE)
        assert bridge.status == "closed"


# --- on the program's own event loop --------------------------------------------------------------------------------


def test_cells_run_on_the_programs_event_loop_between_its_other_tasks() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        go = asyncio.Event()
        names: dict[str, Any] = {"go": go, "loop": loop}
        async with EmbeddedKernel(names, inproc=True) as kernel, kernel.connect() as bridge:
            cell = bridge.execute("import asyncio; await go.wait(); asyncio.get_running_loop() is loop")
            go.set()
            shown = [message.content["data"]["text/plain"] async for message in cell if "data" in message.content]
            assert shown == ["True"]
            await bridge.execute("exit")
            await asyncio.wait_for(kernel.ended(), DEADLINE)

    before = state()
    with nothing_left():
        asyncio.run(main())
    assert state() == before


def test_an_interrupt_ends_a_cell_that_keeps_the_loop_busy() -> None:
    """On the main thread, where Python delivers signals."""

    async def main() -> None:
        async with EmbeddedKernel() as kernel:

            def talk() -> None:
                with ProtocolClient(kernel.connection) as client:
                    request = client.execute("print('begun', flush=True)\nwhile True: pass")
                    client.iopub.expect(busy(), execute_input(), stdout("begun\n"), parent=request)
                    asked = client.send("interrupt_request")
                    client.control.expect(reply("interrupt", parent=asked))
                    client.iopub.of(asked).expect(busy(), idle())
                    client.iopub.expect(error("KeyboardInterrupt"), idle(), parent=request)
                    client.shell.expect(execute_reply("error", parent=request))

            await asyncio.to_thread(talk)

    asyncio.run(main())


def test_ctrl_c_is_the_programs_while_no_cell_runs() -> None:
    async def main() -> None:
        async with EmbeddedKernel(inproc=True) as kernel:
            signal.raise_signal(signal.SIGINT)
            await kernel.ended()

    with nothing_left(), pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


def test_embed_says_what_to_do_on_a_running_loop() -> None:
    async def main() -> None:
        embed()

    with pytest.raises(RuntimeError, match="async with EmbeddedKernel"):
        asyncio.run(main())


# --- in a script ----------------------------------------------------------------------------------------------------

MODULE = """
from kernelbridge import embed
numbers = [1, 2]
embed()
print(numbers, total, "In" in globals())
"""

FUNCTION = """
from kernelbridge import embed
def work(first):
    second = [first]
    embed()
    print(second)
work(1)
"""


@contextmanager
def script(source: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a script until it says how to connect, and give it with the path of the connection file."""
    with subprocess.Popen(
        [sys.executable, "-c", source], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stderr is not None
            said = started.stderr.readline()
            assert "jupyter console --existing" in said
            yield started, said.split()[-1]
        finally:
            started.kill()


def test_a_script_stops_there_and_goes_on_when_the_kernel_has_ended() -> None:
    with script(MODULE) as (started, file):
        with ProtocolClient(file) as client:
            run(client, "numbers.append(3); total = sum(numbers); print(total)", stdout("6\n"))
            run(client, "exit")
            client.expect_end()
        assert started.communicate(timeout=DEADLINE) == ("[1, 2, 3] 6 False\n", "")
        assert started.returncode == 0
        assert not Path(file).exists()


def test_in_a_function_cells_see_what_it_sees() -> None:
    with script(FUNCTION) as (started, file):
        with ProtocolClient(file) as client:
            # Also from a function of the cell's own, and in a comprehension.
            run(client, "def f(): return [x + first for x in second]\nf(), work.__name__", result("([2], 'work')"))
            run(client, "second.append(2); exit()")
            client.expect_end()
        assert started.communicate(timeout=DEADLINE) == ("[1, 2]\n", "")


TRACED = """
import sys, threading
from kernelbridge import embed
embed()
thread = threading.Thread(target=lambda: print(sys.gettrace()))
thread.start()
thread.join()
print(sys.gettrace(), threading.enumerate() == [threading.main_thread()])
"""


def test_a_script_that_was_debugged_goes_on_untraced() -> None:
    pytest.importorskip("debugpy")
    with script(TRACED) as (started, file):
        with ProtocolClient(file) as client:
            for command in ("initialize", "attach"):
                request = client.send("debug_request", type="request", seq=1, command=command, arguments={})
                client.control.of(request).expect(message("debug_reply"))
            client.execute("exit()")
            client.expect_end()
            # The debugger's events, which are of no interest here.
            client.read_all()
        assert started.communicate(timeout=DEADLINE) == ("None\nNone True\n", "")


def test_ctrl_c_ends_a_script_that_waits_there() -> None:
    with script(MODULE) as (started, file):
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=DEADLINE)
        assert (out, err.splitlines()[-1]) == ("", "KeyboardInterrupt")
        assert not Path(file).exists()
