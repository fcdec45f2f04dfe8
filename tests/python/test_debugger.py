"""Debugging cells, as JupyterLab does it: "Debug request" of the messaging specification over debugpy.

One kernel for all that can share one. Each test has its own session, from initialize to disconnect.
"""

from __future__ import annotations

import signal
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipykernel.compiler import get_tmp_hash_seed, murmur2_x86

from kernelbridge.python.debugger.cells import HASH_SEED, murmur2
from kernelbridge.python.handler import PythonHandler
from kernelbridge.testing import (
    ANY,
    DEADLINE,
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    message,
    reply,
    result,
    stdout,
)
from tests.python.conftest import Shared
from tests.support.debugging import MAIN, Debug
from tests.support.exchange import ask, run
from tests.support.kernels import PYTHON_KERNEL, process

pytest.importorskip("debugpy", reason="debugpy (extra debug) is not installed")


@pytest.fixture(scope="module")
def debugged() -> Iterator[Shared]:
    """A kernel that is debugged."""
    kernel = Shared()
    yield kernel
    kernel.end()


@pytest.fixture
def debug(debugged: Shared) -> Iterator[Debug]:
    with debugged.client() as client:
        debug = Debug(client)
        debug.begin()
        yield debug
        debug.ask("disconnect", restart=False, terminateDebuggee=False)


# Where there is a debugger


def test_the_kernel_says_that_it_has_a_debugger_and_has_not_loaded_it(client: ProtocolClient) -> None:
    info = ask(client, "kernel_info", debugger=True)
    assert "debugger" in info.content["supported_features"]
    loaded = "[name for name in sys.modules if name.split('.')[0] in ('debugpy', 'pydevd') or 'debugger.' in name]"
    run(client, f"import sys; {loaded}", result("[]"))


NO_MODULE = "import sys; sys.modules['kernelbridge.python.debugger'] = None"
NO_THREAD = """
del sys.modules['kernelbridge.python.debugger']
import threading
start = threading.Thread.start
def refuse(thread):
    if thread.name == "kernelbridge-debugger":
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refuse
"""


def test_a_debugger_that_cannot_start_refuses_each_command_until_it_can(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (_, info, _), ProtocolClient(info) as client:
        debug = Debug(client)
        for fails, said in ((NO_MODULE, "ModuleNotFoundError"), (NO_THREAD, "can't start new thread")):
            run(client, fails)
            for _ in range(2):
                assert said in debug.ask("debugInfo", success=False)
        run(client, "threading.Thread.start = start")
        assert not debug.ask("debugInfo")["isStarted"]


WITHOUT = "import sys; sys.modules['debugpy'] = None"


def test_without_debugpy_no_session_begins_and_the_rest_is_answered(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (_, info, _), ProtocolClient(info) as client:
        run(client, WITHOUT)
        debug = Debug(client)
        assert not debug.ask("debugInfo")["isStarted"]
        assert "extra 'debug'" in debug.ask("initialize", success=False, adapterID="python")
        assert "sys" in [row["name"] for row in debug.ask("inspectVariables")["variables"]]


def test_without_debugpy_it_says_that_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PythonHandler().debugger
    monkeypatch.setitem(sys.modules, "debugpy", None)
    assert not PythonHandler().debugger


# The names of cells


@given(st.text())
def test_a_cell_is_hashed_as_by_others(code: str) -> None:
    data = code.encode("utf-8", "surrogatepass")
    if data == code.encode("utf-8", "replace"):
        assert murmur2(data, get_tmp_hash_seed()) == murmur2_x86(code, get_tmp_hash_seed())


def test_debug_info_says_how_cells_are_named(debugged: Shared) -> None:
    with debugged.client() as client:
        debug = Debug(client)
        info = debug.ask("debugInfo")
        code = "a = 'the name is that of its hash'\n"
        path = debug.ask("dumpCell", code=code)["sourcePath"]
    assert info == {
        "isStarted": False,
        "hashMethod": "Murmur2",
        "hashSeed": HASH_SEED,
        "tmpFilePrefix": info["tmpFilePrefix"],
        "tmpFileSuffix": ".py",
        "breakpoints": [],
        "stoppedThreads": [],
        "richRendering": True,
        "exceptionPaths": ["Python Exceptions"],
        "copyToGlobals": True,
    }
    assert path == f"{info['tmpFilePrefix']}{murmur2(code.encode())}.py"
    assert Path(path).read_text() == code
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700


# Breakpoints and steps


def test_k1_a_breakpoint_stops_a_cell_between_its_outputs(debug: Debug) -> None:
    """The stop stands behind what was printed before it; only the cell's own frames are shown."""
    code = "\n\ndef double(n):\n    b = n * 2\n    return b\nprint('before')\nx = double(21)\nprint('after')\nx"
    path = debug.breakpoints(code, 5)
    request = debug.stop(code, stdout("before\n"))
    assert debug.frames(request, files=1) == [("double", 5), ("<module>", 7)]
    info = debug.ask("debugInfo")
    assert (info["isStarted"], info["stoppedThreads"]) == (True, [MAIN])
    assert info["breakpoints"] == [{"source": path, "breakpoints": [{"line": 5}]}]
    assert debug.ask("threads") == {"threads": [{"id": MAIN, "name": "MainThread"}]}
    assert debug.ask("source", source={"path": path})["content"].rstrip("\n") == code
    debug.go_on(request, stdout("after\n"), result("42"))
    assert debug.ask("debugInfo")["stoppedThreads"] == []


def test_a_breakpoint_in_what_ran_before_is_hit(debug: Debug) -> None:
    debug.ask("disconnect")
    code = "\n\ndef early(n):\n    return n + 1\n"
    run(debug.client, code)
    debug.begin()
    debug.breakpoints(code, 4)
    request = debug.stop("early(1)")
    assert debug.frames(request, files=2) == [("early", 4), ("<module>", 1)]
    debug.go_on(request, result("2"))
    # Run anew, too.
    run(debug.client, code)
    request = debug.stop("early(2)")
    debug.go_on(request, result("3"))


def test_steps(debug: Debug) -> None:
    code = "def inner(n):\n    m = n + 1\n    return m\na = 1\nb = inner(a)\nc = b\nc"
    debug.breakpoints(code, 4)
    request = debug.stop(code)
    assert debug.frames(request, files=1) == [("<module>", 4)]
    debug.step(request, "next")
    assert debug.frames(request, files=0) == [("<module>", 5)]
    debug.step(request, "stepIn")
    assert debug.frames(request, files=0) == [("inner", 2), ("<module>", 5)]
    debug.step(request, "stepOut")
    assert debug.frames(request, files=0)[0][0] == "<module>"
    debug.go_on(request, result("2"))


def test_a_breakpoint_stops_a_thread_and_the_wire_goes_on(debug: Debug) -> None:
    work = "import threading\ndef work():\n    here = 1\n"
    code = work + "t = threading.Thread(target=work, name='worker')\nt.start(); t.join()"
    debug.breakpoints(code, 3)
    request = debug.client.execute(code)
    debug.client.iopub.of(request).expect(busy(), execute_input(code))
    # When debugpy says that there is a new thread is up to it.
    stopped = debug.until(request, "stopped")["threadId"]
    names = {thread["id"]: thread["name"] for thread in debug.ask("threads")["threads"]}
    assert names == {MAIN: "MainThread", stopped: "worker"}
    debug.ask("continue", threadId=stopped)
    debug.until(request, "continued")
    while debug.client.iopub.of(request).expect(message(ANY))[0].msg_type != "status":
        pass
    debug.client.shell.expect(execute_reply(), parent=request)


def test_an_awaiting_cell_stops_as_well(debug: Debug) -> None:
    code = "import asyncio\nawait asyncio.sleep(0)\ny = 7\ny"
    debug.breakpoints(code, 3)
    request = debug.stop(code)
    assert debug.frames(request, files=1)[0][1] == 3
    debug.go_on(request, result("7"))


def test_an_exception_stops_where_it_is_raised(debug: Debug) -> None:
    debug.ask("setExceptionBreakpoints", filters=["raised"])
    code = "q = 0\n1 / q"
    request = debug.stop(code, reason="exception")
    assert debug.frames(request, files=1) == [("<module>", 2)]
    assert debug.ask("exceptionInfo", threadId=MAIN)["exceptionId"] == "ZeroDivisionError"
    debug.go_on(request, error("ZeroDivisionError"), replied=execute_reply("error"))


# Variables


def test_variables_are_inspected_where_it_stopped(debug: Debug) -> None:
    code = "def where(n):\n    parts = [n, n]\n    return parts\nwhere('text')"
    debug.breakpoints(code, 3)
    request = debug.stop(code)
    debug.frames(request, files=1)
    frame = debug.frame()
    local = debug.ask("scopes", frameId=frame)["scopes"][0]["variablesReference"]
    rows = {row["name"]: row for row in debug.ask("variables", variablesReference=local)["variables"]}
    assert {name: row["value"] for name, row in rows.items()} == {"n": "'text'", "parts": "['text', 'text']"}
    children = debug.ask("variables", variablesReference=rows["parts"]["variablesReference"])["variables"]
    assert [row["value"] for row in children if row["name"] in ("0", "1")] == ["'text'", "'text'"]
    assert debug.ask("evaluate", expression="n + '!'", frameId=frame, context="repl")["result"] == "'text!'"
    rich = debug.ask("richInspectVariables", variableName="parts", frameId=frame)
    assert rich == {"data": {"text/plain": "['text', 'text']"}, "metadata": {}}
    copied: dict[str, Any] = {"srcVariableName": "parts", "dstVariableName": "copied", "srcFrameId": frame}
    assert debug.ask("copyToGlobals", replied="setExpression", **copied)["value"] == "['text', 'text']"
    debug.go_on(request, result("['text', 'text']"))
    run(debug.client, "copied", result("['text', 'text']"))


def test_variables_are_inspected_when_nothing_is_stopped(debug: Debug) -> None:
    run(debug.client, "%reset -f")
    run(debug.client, "import math\nclass Thing: pass\nthing = Thing()\nthing.size = 3\nd = {'k': [1, 2]}")
    rows = {row["name"]: row for row in debug.ask("inspectVariables")["variables"]}
    assert rows.keys() == {"math", "Thing", "thing", "d"}
    assert (rows["d"]["value"], rows["d"]["type"]) == ("{'k': [1, 2]}", "dict")

    def children(row: Mapping[str, Any]) -> list[Any]:
        below: list[Any] = debug.ask("variables", variablesReference=row["variablesReference"])["variables"]
        return below

    assert [(row["name"], row["value"]) for row in children(rows["thing"])] == [("size", "3")]
    (entry,) = children(rows["d"])
    assert (entry["name"], [row["value"] for row in children(entry)]) == ("'k'", ["1", "2"])
    rich = debug.ask("richInspectVariables", variableName="d")
    assert rich == {"data": {"text/plain": "{'k': [1, 2]}"}, "metadata": {}}
    debug.ask("inspectVariables")
    run(debug.client, "%reset -f")


def test_modules(debug: Debug) -> None:
    body = debug.ask("modules")
    assert "kernelbridge.version" in [module["name"] for module in body["modules"]]
    assert body["totalModules"] == len(body["modules"])
    assert debug.ask("modules", startModule=1, moduleCount=1)["modules"] == body["modules"][1:2]


# What is refused


def test_what_cannot_be_done_is_said(debugged: Shared) -> None:
    with debugged.client() as client:
        debug = Debug(client)
        assert "initialize" in debug.ask("stackTrace", success=False, threadId=MAIN)
        assert "'nonesuch'" in debug.ask("nonesuch", success=False)
        assert "'code'" in debug.ask("dumpCell", success=False)
        # It is not the debugger that ends a kernel.
        debug.ask("terminate", success=False)


# While it is stopped


def test_the_kernel_answers_while_a_cell_is_stopped(debug: Debug) -> None:
    code = "stopped = 1"
    debug.breakpoints(code, 1)
    request = debug.stop(code)
    asked = debug.client.send("kernel_info_request", channel="control")
    debug.client.iopub.of(asked).expect(busy(), idle())
    debug.client.control.expect(reply("kernel_info", parent=asked))
    later = debug.client.execute("stopped + 1")
    debug.go_on(request)
    debug.client.iopub.expect(busy(), execute_input(), result("2"), idle(), parent=later)
    debug.client.shell.expect(execute_reply(), parent=later)


@pytest.mark.parametrize("way", ["SIGINT", "interrupt_request"])
def test_an_interrupt_ends_a_cell_that_is_stopped_and_the_next_one_stops_again(
    debug: Debug, debugged: Shared, way: str
) -> None:
    client = debug.client
    code = f"import time\nway = {way!r}\nway"
    debug.breakpoints(code, 2)
    request = debug.stop(code)
    if way == "SIGINT":
        debugged.process()[0].send_signal(signal.SIGINT)
    else:
        asked = client.send("interrupt_request")
        client.control.expect(reply("interrupt", parent=asked))
        client.iopub.of(asked).expect(busy(), idle())
    client.shell.expect(execute_reply("error", ename="KeyboardInterrupt"), parent=request)
    # What debugpy says of it has an order of its own, and all is said before `idle`.
    rest = client.iopub.of(request).expect(*[message(ANY)] * 3, idle())
    said = [one.content.get("event", one.msg_type) for one in rest]
    assert sorted(said) == ["continued", "error", "output", "status"]
    (shown,) = [one for one in rest if one.msg_type == "error"]
    assert "pydevd" not in "".join(shown.content["traceback"])
    assert debug.ask("debugInfo")["stoppedThreads"] == []
    debug.go_on(debug.stop(code), result(repr(way)))


def test_disconnecting_lets_a_stopped_cell_run_on_and_nothing_is_traced_then(debug: Debug) -> None:
    code = "import sys\nz = 1\nz"
    debug.breakpoints(code, 2)
    request = debug.stop(code)
    debug.ask("disconnect")
    debug.client.iopub.expect(result("1"), idle(), parent=request)
    debug.client.shell.expect(execute_reply(), parent=request)
    run(debug.client, "sys.gettrace() is None", result("True"))
    run(debug.client, code, result("1"))
    debug.begin()
    # The breakpoints were those of the last session.
    run(debug.client, code, result("1"))


def test_a_forked_child_does_not_stop(debug: Debug) -> None:
    code = "import os\ndef end():\n    os._exit(7)\nchild = os.fork()\nif child == 0: end()\n"
    debug.breakpoints(code, 3)
    run(debug.client, code + "os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])", result("7"))
    # IPython has stopped its own thread for the fork, and started another one with the next cell.
    run(debug.client, "pass")
    assert debug.ask("threads") == {"threads": [{"id": MAIN, "name": "MainThread"}]}


def test_a_forked_child_ends_where_its_cell_does_and_says_nothing_to_the_debugger(debug: Debug) -> None:
    """At a cell's end the kernel asks debugpy whether it has said all, on a connection that the child has, too."""
    run(debug.client, "import os\nchild = os.fork()")
    run(debug.client, "os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])", result("0"))
    assert debug.ask("threads") == {"threads": [{"id": MAIN, "name": "MainThread"}]}


def test_a_shutdown_ends_a_kernel_that_is_stopped_and_its_files(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _), ProtocolClient(info) as client:
        debug = Debug(client)
        debug.begin()
        code = "for n in range(1000): pass"
        folder = Path(debug.breakpoints(code, 1)).parent
        debug.stop(code)
        assert folder.exists()
        client.send("shutdown_request", restart=False)
        client.read_all()
        assert started.wait(DEADLINE) == 0
        assert not folder.exists()


def test_f11_the_files_of_a_killed_kernel_are_removed_by_the_next_that_makes_some(tmp_path: Path) -> None:
    folders = []
    for _ in range(2):
        with (
            process(PYTHON_KERNEL, tmp_path) as (started, info, _),
            ProtocolClient(info) as client,
        ):
            folders.append(Path(Debug(client).ask("dumpCell", code="1")["sourcePath"]).parent)
            assert list(tmp_path.glob("kernelbridge-debug-*")) == folders[-1:]
            started.kill()
            client.expect_end()
