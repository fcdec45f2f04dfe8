"""Interrupts and the end of the Python kernel: by signal and by request, in every kind of waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelbridge.wire.connection import ConnectionInfo
from tests.support.client import DEADLINE, Client, lines
from tests.support.kernels import PYTHON_KERNEL, ROOT, process

Kernel = tuple[subprocess.Popen[bytes], ConnectionInfo]

SAY = "print('begun', flush=True)\n"
WAITS = {
    "time.sleep": f"import time\n{SAY}while True: time.sleep(1000)",
    "a loop": f"{SAY}while True: pass",
    "await": f"import asyncio\n{SAY}while True: await asyncio.sleep(1000)",
    "await a task": f"import asyncio\n{SAY}while True: await asyncio.gather(asyncio.sleep(1000), asyncio.sleep(0))",
    "a lock": f"import threading\n{SAY}while True: threading.Event().wait(1000)",
}


def begun(client: Client) -> None:
    """Return when the cell says that it is about to wait."""
    # Its input, which has the word too, and its bracket come first.
    while client.receive("iopub").msg_type != "stream":
        continue


@pytest.mark.parametrize("by_signal", [True, False], ids=["SIGINT", "interrupt_request"])
@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupt_ends_what_runs_and_the_kernel_goes_on(
    kernel: Kernel, client: Client, wait: str, by_signal: bool
) -> None:
    started, _ = kernel
    request = client.execute(WAITS[wait])
    begun(client)
    if by_signal:
        started.send_signal(signal.SIGINT)
    else:
        interrupt = client.send("interrupt_request", channel="control")
        assert client.reply(interrupt, "control").content == {"status": "ok"}
    reply = client.reply(request)
    assert (reply.content["status"], reply.content["ename"]) == ("error", "KeyboardInterrupt")
    assert "error KeyboardInterrupt" in lines(client.until_idle(request))
    assert lines(client.run("1 + 1")[1])[-2:] == ["execute_result 2", "idle"]


def test_an_interrupt_request_wakes_a_cell_that_awaits(client: Client) -> None:
    request = client.execute(f"import asyncio\n{SAY}await asyncio.Event().wait()")
    begun(client)
    client.reply(client.send("interrupt_request", channel="control"), "control")
    assert client.reply(request).content["ename"] == "KeyboardInterrupt"


def test_k7_an_interrupt_cancels_a_prompt_and_a_late_answer_counts_for_nothing(client: Client) -> None:
    request = client.execute("input('first? ')")
    first = client.reply(request, "stdin")
    client.reply(client.send("interrupt_request", channel="control"), "control")
    assert client.reply(request).content["ename"] == "KeyboardInterrupt"
    client.until_idle(request)
    # Somebody answers the prompt that is no more, and says to which prompt he answers.
    second = client.execute("input('second? ')")
    assert client.reply(second, "stdin").content["prompt"] == "second? "
    client.answer(first, "late")
    client.send("input_reply", {"value": "in time"}, channel="stdin")
    assert lines(client.until_idle(second))[2:-1] == ["execute_result 'in time'"]
    client.reply(second)


@pytest.mark.parametrize("by_signal", [True, False], ids=["SIGINT", "interrupt_request"])
def test_an_interrupt_of_nothing_is_dropped(kernel: Kernel, client: Client, by_signal: bool) -> None:
    """A late Ctrl-C ends neither the kernel nor the next cell."""
    started, _ = kernel
    for _ in range(20):
        if by_signal:
            started.send_signal(signal.SIGINT)
            # Delivered before anything that is sent afterwards is run.
            client.ask("kernel_info_request", channel="control")
        else:
            client.reply(client.send("interrupt_request", channel="control"), "control")
        client.ask("is_complete_request", {"code": "1"})
    assert lines(client.run("1 + 1")[1])[-2:] == ["execute_result 2", "idle"]


def test_an_interrupt_aborts_what_waits(kernel: Kernel, client: Client) -> None:
    """K11 holds for an interrupt, as it is an error."""
    started, _ = kernel
    request = client.execute(WAITS["time.sleep"])
    begun(client)
    waiting = [client.execute("print('never')") for _ in range(5)]
    # Shell reads these three in order; when the last was answered on Control, they are not known to have been read, but
    # an interrupt lets Shell read all that has arrived.
    client.ask("kernel_info_request", channel="control")
    started.send_signal(signal.SIGINT)
    assert client.reply(request).content["ename"] == "KeyboardInterrupt"
    statuses = [client.reply(one).content["status"] for one in waiting]
    assert statuses == ["aborted"] * 5


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel that the test may end."""
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _):
        yield started, info


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_a_shutdown_ends_the_process_with_status_0(own: Kernel, channel: str) -> None:
    started, info = own
    with Client(info) as client:
        client.run("pass")
        request = client.send(
            "shutdown_request", {"restart": False}, channel="control" if channel == "control" else "shell"
        )
        assert client.receive("control" if channel == "control" else "shell").content["restart"] is False
        assert "shutdown_reply" in lines(client.until_idle(request))
        assert started.wait(DEADLINE) == 0


def test_a_shutdown_ends_a_cell_that_runs(own: Kernel) -> None:
    started, info = own
    with Client(info) as client:
        client.execute(WAITS["time.sleep"])
        begun(client)
        client.send("shutdown_request", {"restart": False}, channel="control")
        assert started.wait(DEADLINE) == 0


def test_exit_in_a_cell_ends_the_kernel_after_the_reply(own: Kernel) -> None:
    started, info = own
    with Client(info) as client:
        reply, messages = client.run("print('bye'); exit()")
        assert reply.content["status"] == "ok"
        assert reply.content["payload"][0]["source"] == "ask_exit"
        assert lines(messages)[-2:] == ["stdout 'bye\\n'", "idle"]
        assert started.wait(DEADLINE) == 0


def test_what_is_printed_at_the_very_end_is_shown(own: Kernel) -> None:
    started, info = own
    with Client(info) as client:
        client.run("import atexit")
        _, messages = client.run("for n in range(2000): print(n)\nexit()")
        text = "".join(message.content["text"] for message in messages if message.msg_type == "stream")
        assert text == "".join(f"{n}\n" for n in range(2000))
        assert started.wait(DEADLINE) == 0


BAD_FILES = {
    "missing": (None, "does not exist"),
    "no JSON": ("{", "JSON"),
    "a list": ("[]", "object"),
    "no ports": ('{"ip":"127.0.0.1","transport":"tcp","key":"","signature_scheme":"hmac-sha256"}', "shell_port"),
    "a port out of range": (
        '{"ip":"127.0.0.1","transport":"tcp","key":"","signature_scheme":"hmac-sha256","shell_port":70000,'
        '"iopub_port":1,"stdin_port":2,"control_port":3,"hb_port":4}',
        "65535",
    ),
    "an unknown transport": (
        '{"ip":"127.0.0.1","transport":"pigeon","key":"","shell_port":1,"iopub_port":1,"stdin_port":2,'
        '"control_port":3,"hb_port":4}',
        "transport",
    ),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_bad_connection_file_is_one_line_and_exit_status_2(tmp_path: Path, fault: str) -> None:
    text, expected = BAD_FILES[fault]
    file = tmp_path / "connection.json"
    if text is not None:
        file.write_text(text)
    done = subprocess.run(
        [*PYTHON_KERNEL, str(file)], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert str(file) in done.stderr
    assert expected in done.stderr


def test_no_connection_file_at_all_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kernelbridge.python"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 2
    assert "-f" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_one_line_and_exit_status_2(kernel: Kernel, tmp_path: Path) -> None:
    from kernelbridge.wire.connection import write_connection_file

    file = tmp_path / "connection.json"
    write_connection_file(file, kernel[1])
    done = subprocess.run(
        [*PYTHON_KERNEL, str(file)], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "_port cannot be bound" in done.stderr


STUBBORN = {
    "a cell": f"import time\n{SAY}while True:\n  try: time.sleep(0.05)\n  except KeyboardInterrupt: pass",
    "a thread": f"import threading\nthreading.Thread(target=threading.Event().wait).start()\n{SAY}",
}


@pytest.mark.parametrize("what", STUBBORN)
def test_a_process_whose_code_does_not_end_ends_all_the_same(what: str, tmp_path: Path) -> None:
    """The last resort: a kernel that was asked to end is gone before a frontend would kill it."""
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _), Client(info) as client:
        client.execute(STUBBORN[what])
        begun(client)
        assert client.ask("shutdown_request", {"restart": False}, channel="control")[0].content["status"] == "ok"
        assert started.wait(DEADLINE) == 0
