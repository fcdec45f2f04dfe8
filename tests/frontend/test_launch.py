"""Launching real kernels: what starts, what does not, and that nothing is left (contract F6, F11).

That no thread, process, descriptor or file is left is checked after every test, by the fixture `runtime`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from kernelbridge.frontend import files as kernel_files
from kernelbridge.frontend import launch as launching
from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.errors import BridgeClosedError, KernelDiedError, KernelStartError, NoSuchKernelError
from kernelbridge.frontend.heartbeat import Heartbeat
from kernelbridge.frontend.process import KernelProcess
from kernelbridge.wire.connection import IPC_PATH_LIMIT
from kernelbridge.wire.frames import Frame
from tests.support.running import install_deno

DEADLINE = 60.0


@pytest.fixture
def kernels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of kernelspecs that Jupyter looks into."""
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    return folder / "jupyter" / "kernels"


def install(kernels: Path, name: str, argv: list[str], **fields: Any) -> None:
    (kernels / name).mkdir(parents=True)
    spec = {"argv": argv, "display_name": name, "language": "python", **fields}
    (kernels / name / "kernel.json").write_text(json.dumps(spec))


def output(bridge: Bridge, code: str) -> str:
    execution = bridge.execute(code)
    execution.result(DEADLINE)
    return "".join(message.content["text"] for message in execution.messages if message.msg_type == "stream")


class TestStart:
    @pytest.mark.parametrize("transport", ["ipc", "tcp"])
    def test_ipykernel(self, transport: Any, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        beaten, read = threading.Event(), Heartbeat.read

        def read_and_tell(heartbeat: Heartbeat, frames: list[Frame]) -> None:
            read(heartbeat, frames)
            beaten.set()

        monkeypatch.setattr(Heartbeat, "read", read_and_tell)
        with launch("python3", transport=transport, env={"GIVEN": "yes"}, cwd="/") as bridge:
            assert bridge.connection is not None
            assert bridge.connection.transport == transport
            assert output(bridge, "import os; print(os.environ['GIVEN'], os.getcwd())") == "yes /\n"
            connection_file, kernel_folder = sorted(runtime.iterdir())
            assert connection_file.suffix == ".json"
            assert stat.S_IMODE(connection_file.stat().st_mode) == 0o600
            assert stat.S_IMODE(kernel_folder.stat().st_mode) == 0o700
            # Readiness does not wait for it.
            assert beaten.wait(DEADLINE)
            assert bridge.last_beat is not None

    def test_the_built_in_kernel_needs_no_installation(self, kernels: Path) -> None:
        with launch() as bridge:
            assert bridge.connection is not None
            assert bridge.connection.transport == "ipc"
            assert output(bridge, "print(1)") == "1\n"

    def test_a_kernel_that_knows_registration_chooses_its_own_ports(self, kernels: Path, runtime: Path) -> None:
        """JEP 66."""
        argv = [sys.executable, "-m", "kernelbridge.python", "-f", "{connection_file}"]
        install(kernels, "registers", argv, kernel_protocol_version="5.6")
        with launch("registers", transport="tcp") as bridge:
            assert bridge.connection is not None
            written = json.loads(next(runtime.glob("*.json")).read_text())
            assert written["shell_port"] == bridge.connection.shell_port
            assert output(bridge, "print(1)") == "1\n"

    def test_a_kernel_that_dies_before_it_registers(self, kernels: Path) -> None:
        install(kernels, "bad", [sys.executable, "-c", "import sys; sys.exit('boom')"], kernel_protocol_version="5.6")
        with pytest.raises(KernelStartError, match="ended with exit status 1 while starting: boom"):
            launch("bad", transport="tcp").__enter__()

    def test_a_kernel_that_does_not_know_ipc_is_started_on_tcp(self, kernels: Path, folder: Path) -> None:
        if not install_deno(kernels):
            pytest.skip("deno is not installed: `pip install deno`")
        with launch("deno", env={"DENO_DIR": str(folder / "deno")}) as bridge:
            assert bridge.connection is not None
            assert bridge.connection.transport == "tcp"
            subscription = bridge.subscribe()
            bridge.execute("'%' + 6 * 7").result(DEADLINE)
            # Read from the stream: Deno may publish outputs behind the idle that is to end them.
            while (message := subscription.get(DEADLINE)).msg_type != "execute_result":
                pass
            assert "%42" in message.content["data"]["text/plain"]

    def test_where_the_runtime_folder_is_too_deep_the_sockets_lie_elsewhere(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deep = folder / ("x" * IPC_PATH_LIMIT)
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(deep))
        files = kernel_files.new_files("ipc")
        assert files.socket_folder is not None
        assert len(os.fsencode(files.socket_folder)) < IPC_PATH_LIMIT - 10
        assert stat.S_IMODE(files.socket_folder.stat().st_mode) == 0o700
        info = launching.new_connection("ipc", files, "k", launching.Secrets())
        assert info.endpoint("shell").startswith(f"ipc://{files.socket_folder}")
        files.remove()
        assert not files.socket_folder.exists()
        assert list(deep.iterdir()) == []


class TestNoStart:
    def test_a_name_that_does_not_exist(self, kernels: Path) -> None:
        install(kernels, "there-is", ["x"])
        with pytest.raises(NoSuchKernelError) as raised:
            launch("nope")
        text = str(raised.value)
        assert "\n" not in text
        assert "no kernel named 'nope'" in text
        assert "there-is" in text
        assert "kernelbridge" in text
        assert str(kernels) in text

    @pytest.mark.parametrize("text", ["{", "[]", '{"argv": []}', '{"argv": 7}'])
    def test_a_kernelspec_that_cannot_be_read(self, kernels: Path, text: str) -> None:
        install(kernels, "bad", ["x"])
        (kernels / "bad" / "kernel.json").write_text(text)
        with pytest.raises(KernelStartError, match="the kernelspec of 'bad' cannot be used"):
            launch("bad")

    @pytest.mark.parametrize("transport", [None, "ipc", "tcp"])
    def test_a_kernel_that_exits_while_starting(self, kernels: Path, transport: Any) -> None:
        """Its exit status and its last words, at once: the start's own deadline is far away."""
        install(kernels, "bad", [sys.executable, "-c", "import sys; sys.exit('boom')"])
        bridge = launch("bad", transport=transport)
        execution = bridge.execute("1")
        for wait in (lambda: bridge.wait_ready(DEADLINE), lambda: execution.result(DEADLINE)):
            with pytest.raises(KernelStartError) as raised:
                wait()
            assert str(raised.value) == "kernel 'bad' ended with exit status 1 while starting: boom"
        assert bridge.status == "dead"
        bridge.close()

    def test_a_kernel_that_is_gone_is_not_waited_for_to_take_what_was_sent(
        self, kernels: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kernelbridge.frontend.channel.LINGER_MS", 1000 * 3600)
        install(kernels, "bad", [sys.executable, "-c", "raise SystemExit('boom')"])
        with pytest.raises(KernelStartError, match="boom"):
            launch("bad").__enter__()

    def test_a_program_that_is_not_there(self, kernels: Path) -> None:
        install(kernels, "bad", ["/nowhere/kernel", "{connection_file}"])
        with pytest.raises(KernelStartError, match="kernel 'bad' could not be started: No such file or directory"):
            launch("bad").__enter__()

    def test_closed_while_it_starts(self, kernels: Path) -> None:
        install(kernels, "slow", [sys.executable, "-c", "import signal; signal.pause()"])
        bridge = launch("slow")
        execution = bridge.execute("1")
        bridge.close()
        for wait in (bridge.wait_ready, execution.result):
            with pytest.raises(BridgeClosedError):
                wait()

    def test_a_kernel_that_is_not_ready_in_time_is_killed(self, kernels: Path) -> None:
        install(kernels, "slow", [sys.executable, "-c", "import signal; signal.pause()"])
        with pytest.raises(KernelStartError, match=r"was not ready after 0.1 s: it has not answered"):
            launch("slow", timeout=0.1).__enter__()


class TestDeath:
    def test_what_runs_and_what_waits_ends_once_and_the_last_words_are_there(self) -> None:
        """F6."""
        with launch("python3") as bridge:
            subscription = bridge.subscribe()
            running = bridge.execute("import os, sys; print('last words', flush=True); os.kill(os.getpid(), 9)")
            waiting = [bridge.execute("1"), bridge.complete("x")]
            for request in (running, *waiting):
                with pytest.raises(KernelDiedError, match="kernel 'python3' was ended by SIGKILL"):
                    request.result(DEADLINE)
            assert bridge.status == "dead"
            with pytest.raises(KernelDiedError):
                bridge.execute("2").result(0)
        last = list(subscription)[-1]
        assert (last.msg_type, last.content) == ("status", {"execution_state": "dead"})

    def test_a_kernel_that_answers_and_goes_has_answered(self) -> None:
        with launch("python3") as bridge:
            subscription = bridge.subscribe()
            shutdown = bridge.shutdown()
            assert shutdown.result(DEADLINE).msg_type == "shutdown_reply"
            while subscription.get(DEADLINE).content.get("execution_state") != "dead":
                pass
            assert bridge.status == "dead"
            with pytest.raises(KernelDiedError, match="ended with exit status 0"):
                bridge.execute("1").result(DEADLINE)

    def test_a_kernel_that_does_not_obey_is_killed_with_all_that_it_started(self) -> None:
        """F11."""
        with launch("python3") as bridge, child(bridge) as ended:
            bridge.execute("get_ipython().kernel.do_shutdown = lambda restart: {'status': 'ok'}").result(DEADLINE)
            bridge.execute("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()")
            bridge.close(grace=0.1)
            assert ended()

    def test_ctrl_c_ends_the_grace_and_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """F11."""
        with launch("python3") as bridge:
            bridge.execute("get_ipython().kernel.do_shutdown = lambda restart: {'status': 'ok'}").result(DEADLINE)
            bridge.execute("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()")
            process = bridge._link.process
            assert process is not None
            wait, interrupts = process.wait, [KeyboardInterrupt]

            def interrupted_once() -> None:
                while interrupts:
                    raise interrupts.pop()
                wait()

            monkeypatch.setattr(process, "wait", interrupted_once)
            with pytest.raises(KeyboardInterrupt):
                bridge.close(grace=3600)
            assert not process.alive

    def test_what_a_kernel_that_obeys_leaves_behind_is_killed(self) -> None:
        """F11."""
        with launch() as bridge, child(bridge) as ended:
            bridge.close()
            assert ended()

    def test_what_a_kernel_that_crashes_leaves_behind_is_killed(self) -> None:
        """F11: it could not end its children itself."""
        with launch() as bridge, child(bridge) as ended:
            bridge.execute("import os; os._exit(1)")
            assert ended()


@contextmanager
def child(bridge: Bridge) -> Iterator[Callable[[], bool]]:
    """Have the kernel start a process that never ends by itself, and yield what waits for its end."""
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])"
    # A process of the kernel is no child of this one: a descriptor tells of its end.
    descriptor = os.pidfd_open(int(output(bridge, f"{code}; print(p.pid)")))
    try:
        yield lambda: bool(select.select([descriptor], [], [], DEADLINE)[0])
    finally:
        os.close(descriptor)


def test_an_interrupt_ends_what_runs() -> None:
    with launch("python3") as bridge:
        execution = bridge.execute("print('here', flush=True)\nwhile True: pass")
        for message in execution:
            if message.msg_type == "stream":
                assert bridge.interrupt() is None
        assert execution.result(DEADLINE).content["ename"] == "KeyboardInterrupt"
        assert output(bridge, "print('alive')") == "alive\n"


def test_an_interrupt_does_not_end_a_kernel_that_still_starts(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[int] = []
    monkeypatch.setattr(KernelProcess, "signal", lambda process, number, sent: signals.append(number))
    install(kernels, "slow", [sys.executable, "-c", "import signal; signal.pause()"])
    bridge = launch("slow")
    assert bridge.interrupt() is None
    bridge.close()
    assert signals == []


class Recording(LocalProvisioner):
    """A provisioner of somebody else's, which asks its parent what jupyter_client's kernel manager answers."""

    seen: ClassVar[dict[str, Any]] = {}

    async def pre_launch(self, **options: Any) -> dict[str, Any]:
        assert self.parent is not None
        self.seen["connection_file"] = self.parent.connection_file
        self.seen["shell_port"] = self.parent.shell_port
        return await super().pre_launch(**options)

    async def send_signal(self, signum: int) -> None:
        self.seen.setdefault("signals", []).append(signum)
        await super().send_signal(signum)


def test_other_provisioners_launch_kernels_too(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "recording"

        @staticmethod
        def load() -> type[LocalProvisioner]:
            return Recording

    factory = KernelProvisionerFactory.instance()
    monkeypatch.setitem(factory.provisioners, "recording", Point())
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    install(kernels, "elsewhere", argv, metadata={"kernel_provisioner": {"provisioner_name": "recording"}})
    with launch("elsewhere") as bridge:
        assert bridge.connection is not None
        assert Recording.seen["shell_port"] == bridge.connection.shell_port
        execution = bridge.execute("print('here', flush=True)\nwhile True: pass")
        for message in execution:
            if message.msg_type == "stream":
                bridge.interrupt()
        execution.result(DEADLINE)
        assert Recording.seen["signals"] == [signal.SIGINT]
