"""The kernels that run, whoever has launched them: what is found, and what can be done to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from kernelbridge import EmbeddedKernel
from kernelbridge.frontend import inquiry, others
from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.find import KernelNotFoundError
from kernelbridge.frontend.inventory import FoundKernel, find_kernel, running_kernels
from kernelbridge.frontend.others import OtherKernelError, interrupt, restart, stop
from kernelbridge.testing import (
    DEADLINE,
    ScriptedKernel,
    always,
    on,
    reply,
    request,
    scripted_kernelspec,
)
from kernelbridge.wire.connection import Channel, ConnectionInfo, load_connection_file, write_connection_file
from tests.support.kernels import tcp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who listens is seen in /proc")

BUSY_SECONDS = 1.5
"""How long a busy kernel has to show that it lives. All of it passes: it might still show that it does not work."""

WORKS = "print('here', flush=True)\nwhile True: pass"


@contextmanager
def a_file(runtime: Path, name: str, text: str | ConnectionInfo) -> Iterator[Path]:
    """A file in Jupyter's runtime folder, for the time of the block."""
    path = runtime / name
    if isinstance(text, str):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    else:
        write_connection_file(path, text)
    try:
        yield path
    finally:
        path.unlink()


def free_ports() -> ConnectionInfo:
    """Return addresses at which nobody listens."""
    return attrs.evolve(tcp(), kernel_name="gone").with_ports(
        {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}
    )


def own_pid(bridge: Bridge) -> int:
    process = bridge._link.process
    assert process is not None and process._group is not None
    return process._group


def busy_cell(bridge: Bridge) -> None:
    """Have the kernel run a cell that does not end by itself."""
    execution = bridge.execute(WORKS)
    next(message for message in execution if message.msg_type == "stream")


# What is found


def test_kernels_that_work_and_wait_and_files_that_are_none(runtime: Path) -> None:
    """Two transports; the eldest first, the dead last, and what is no connection file not at all."""
    with (
        launch("kernelbridge") as first,
        launch("python3", transport="tcp") as second,
        a_file(runtime, "jpserver-1.json", '{"port": 8888}'),
        a_file(runtime, "kernel-broken.json", "{"),
        a_file(runtime, "kernel-gone.json", free_ports()) as gone,
    ):
        # Whoever answers is not waited for.
        idle, other, dead = running_kernels(seconds=DEADLINE)
        assert [one.status for one in (idle, other, dead)] == ["idle", "idle", "dead"]
        assert (idle.name, idle.pid, idle.launcher, idle.frontends) == ("kernelbridge", own_pid(first), os.getpid(), 1)
        assert (other.name, other.pid, other.launcher, other.frontends) == ("python3", own_pid(second), os.getpid(), 1)
        assert (idle.is_program, other.is_program, dead.is_program) == (True, True, False)
        assert idle.connection is not None and idle.connection.transport == "ipc"
        assert other.connection is not None and other.connection.transport == "tcp"
        assert (dead.name, dead.connection_file, dead.pid, dead.frontends) == ("gone", gone, None, None)
        busy_cell(first)
        assert [one.status for one in running_kernels([idle.connection_file], seconds=BUSY_SECONDS)] == ["busy"]
        first.interrupt()


def test_frontends_are_counted_and_who_only_asks_is_none(runtime: Path) -> None:
    with launch("kernelbridge"):
        (file,) = runtime.glob("kernel-*.json")
        with connect(file):
            assert [one.frontends for one in running_kernels([file])] == [2]
            assert [one.frontends for one in running_kernels([file])] == [2]


def test_a_kernel_that_is_embedded_is_in_a_program_that_is_not_its_own(runtime: Path) -> None:
    with EmbeddedKernel({}) as kernel:
        assert kernel.file is not None
        path = Path(kernel.file)
        (found,) = running_kernels([path], seconds=DEADLINE)
        assert (found.status, found.pid, found.is_program) == ("idle", os.getpid(), False)
        # It ends, and the program goes on.
        stop(found, grace=DEADLINE)
        assert all(one.status == "dead" for one in running_kernels([path]))


def test_who_listens_and_does_not_answer_is_silent(runtime: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        info = free_ports().with_ports({"hb": mute.getsockname()[1]})
        with a_file(runtime, "kernel-mute.json", info) as path:
            assert [one.status for one in running_kernels([path], seconds=0.2)] == ["silent"]


def test_answers_that_are_signed_with_another_key_are_none(runtime: Path) -> None:
    """The ports in the file of a kernel that is gone may be those of another kernel by now."""
    with EmbeddedKernel({}) as kernel:
        assert kernel.file is not None
        info = attrs.evolve(load_connection_file(kernel.file), key=b"another")
        with a_file(runtime, "kernel-old.json", info) as path:
            (found,) = running_kernels([path], seconds=BUSY_SECONDS)
            # Its heartbeat echoes, which nobody signs. Who it is it does not say.
            assert (found.status, found.name) == ("busy", info.kernel_name)


def test_a_process_that_was_given_the_file_and_does_not_listen_yet_is_starting(runtime: Path) -> None:
    with a_file(runtime, "kernel-new.json", free_ports()) as path:
        command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "-f", str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None and process.stdout.readline()
            (found,) = running_kernels([path])
            assert (found.status, found.pid) == ("starting", process.pid)
            with pytest.raises(OtherKernelError, match="is starting"):
                stop(found)
        finally:
            process.communicate(timeout=DEADLINE)


def test_a_kernel_is_named_by_what_means_it_alone(runtime: Path) -> None:
    with launch("kernelbridge") as bridge, a_file(runtime, "kernel-gone.json", free_ports()) as gone:
        pid = own_pid(bridge)
        file = next(path for path in runtime.glob("kernel-*.json") if path != gone)
        for given in (str(pid), "kernelbridge", str(file), file.name, file.stem, file.stem[-6:]):
            assert find_kernel(given).pid == pid
        assert find_kernel("kernel-gone").status == "dead"
        with pytest.raises(KernelNotFoundError, match="none of such a name"):
            find_kernel("nobody")
        with launch("kernelbridge") as other, pytest.raises(KernelNotFoundError) as refused:
            find_kernel("kernelbridge")
        assert str(refused.value).startswith("several kernels are meant by 'kernelbridge'")
        assert str(pid) in str(refused.value)
        assert other.status == "closed"


# What is done to them


def found_kernel(runtime: Path) -> FoundKernel:
    (found,) = running_kernels(runtime.glob("kernel-*.json"))
    return found


def test_a_kernel_that_is_stopped_has_ended_when_that_returns(runtime: Path) -> None:
    with launch("kernelbridge") as bridge:
        found = found_kernel(runtime)
        stop(found, grace=DEADLINE)
        with pytest.raises(OtherKernelError, match="does not run"):
            stop(attrs.evolve(found, status="dead"))
        assert bridge.subscribe() is not None


def test_a_kernel_in_a_program_has_ended_when_the_last_of_its_sockets_has(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control is the first to close: whoever starts a kernel at the same addresses then finds them taken."""
    heartbeat = socket.create_server(("127.0.0.1", 0))
    seen: list[bool] = []

    def listening(kernels: Sequence[ConnectionInfo], seconds: float) -> list[bool]:
        seen.extend(inquiry.listening(kernels, seconds))
        heartbeat.close()
        return seen[-1:]

    monkeypatch.setattr(others, "listening", listening)
    with heartbeat, ScriptedKernel(transport="tcp") as kernel:
        (found,) = running_kernels([kernel.connection_file])
        assert found.connection is not None
        ports: dict[Channel, int] = {"hb": heartbeat.getsockname()[1]}
        stop(attrs.evolve(found, connection=found.connection.with_ports(ports)), grace=DEADLINE)
    assert seen == [True, False]


def test_one_that_does_not_obey_is_killed_if_it_is_to_be(runtime: Path) -> None:
    with scripted_kernelspec(always(request("shutdown"))) as name, launch(name) as bridge:
        found = found_kernel(runtime)
        with pytest.raises(OtherKernelError, match=r"has not ended within 0\.2 s; --force"):
            stop(found, grace=0.2)
        ended = bridge.subscribe(types=["status"])
        stop(found, grace=0.2, force=True)
        assert ended.get(DEADLINE).content["execution_state"] == "dead"


def test_an_interrupt_is_a_request_to_who_answers_it(runtime: Path) -> None:
    with launch("kernelbridge") as bridge:
        found = found_kernel(runtime)
        execution = bridge.execute(WORKS)
        next(message for message in execution if message.msg_type == "stream")
        assert interrupt(found, seconds=DEADLINE) == "request"
        assert execution.result(DEADLINE).content["ename"] == "KeyboardInterrupt"


def test_an_interrupt_is_a_signal_to_who_does_not_answer(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(others, "_signal", lambda pid, number: sent.append((pid, number)))
    with scripted_kernelspec(always(request("interrupt"))) as name, launch(name) as bridge:
        assert interrupt(found_kernel(runtime), seconds=0.2) == "signal"
        assert sent == [(own_pid(bridge), signal.SIGINT)]


def test_no_signal_is_sent_to_a_program_that_only_holds_a_kernel(runtime: Path) -> None:
    with ScriptedKernel(always(request("interrupt"))) as kernel:
        (found,) = running_kernels([kernel.connection_file])
        assert (found.pid, found.is_program) == (os.getpid(), False)
        with pytest.raises(OtherKernelError, match="no process that is known to be its own"):
            interrupt(found, seconds=0.2)


def test_a_refusal_is_told(runtime: Path) -> None:
    refusal = reply(status="error", ename="No", evalue="not now", traceback=[])
    with ScriptedKernel(on(request("interrupt"), refusal)) as kernel:
        (found,) = running_kernels([kernel.connection_file])
        with pytest.raises(OtherKernelError, match="not now"):
            interrupt(found, seconds=DEADLINE)


def test_a_restart_is_its_launchers(runtime: Path) -> None:
    with launch("kernelbridge", on_death="restart"):
        found = found_kernel(runtime)
        new = restart(found, seconds=DEADLINE)
        assert new.pid != found.pid
        assert (new.launcher, new.name) == (os.getpid(), "kernelbridge")


def test_a_restart_by_nobody_is_told(runtime: Path) -> None:
    with launch("kernelbridge"):
        with pytest.raises(OtherKernelError) as told:
            restart(found_kernel(runtime), seconds=0)
        assert f"its launcher, process {os.getpid()}, has not started it again within 0 s" in str(told.value)


def test_who_takes_the_place_of_a_kernel() -> None:
    """The same file and another process, as Jupyter Server restarts; or a new file by the same launcher, as a bridge
    does."""
    former = FoundKernel(
        connection_file=Path("a"),
        connection=None,
        name="n",
        status="idle",
        pid=1,
        launcher=2,
        age=0.0,
        frontends=0,
        is_program=True,
    )
    before = {Path("a"), Path("b")}
    for change, expected in (
        ({"pid": 3}, True),
        ({}, False),
        ({"connection_file": Path("c"), "pid": 3}, True),
        ({"connection_file": Path("b"), "pid": 3}, False),
        ({"connection_file": Path("c"), "pid": 3, "launcher": 4}, False),
        ({"connection_file": Path("c"), "pid": 3, "name": "m"}, False),
    ):
        assert others._is_successor(attrs.evolve(former, **change), former, before) is expected, change


def test_the_age_is_that_of_the_process(runtime: Path) -> None:
    with launch("kernelbridge"):
        file = found_kernel(runtime).connection_file
        os.utime(file, (0, 0))
        assert found_kernel(runtime).age < time.time() / 2
