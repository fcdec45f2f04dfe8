"""What a launch may be told: encryption, where the kernel runs, its folder, its environment, its arguments."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.errors import KernelDiedError, KernelStartError
from kernelbridge.frontend.launch import BUILT_IN, find_kernelspec, knows_registration
from kernelbridge.frontend.process import provisioners_loop
from kernelbridge.python.install import kernel_spec
from kernelbridge.testing import DEADLINE, VirtualClock
from kernelbridge.wire.connection import CHANNELS, RegistrationInfo, load_connection_file

PYTHON_KERNEL = "import runpy; runpy.run_module('kernelbridge.python', run_name='__main__')"

PROVISIONER = '''
"""A provisioner of somebody else's, which shares nothing with the one that jupyter_client brings."""
import asyncio
import json
import pathlib
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

class Elsewhere(KernelProvisionerBase):
    process = None
    calls = []

    @property
    def has_process(self):
        return self.process is not None

    async def pre_launch(self, **options):
        argv = self.parent.format_kernel_cmd(extra_arguments=options.pop("extra_arguments", []))
        return await super().pre_launch(cmd=argv, **options)

    async def launch_kernel(self, cmd, **options):
        self.calls.append("launch_kernel")
        self.process = await asyncio.create_subprocess_exec(*cmd, env=options["env"], start_new_session=True)
        return self.parent.get_connection_info()

    async def poll(self):
        return None if self.process is None else self.process.returncode

    async def wait(self):
        status = await self.process.wait()
        self.process = None
        return status

    async def send_signal(self, signum):
        self.calls.append(f"send_signal {signum}")
        self.process.send_signal(signum)

    async def kill(self, restart=False):
        self.process.kill()

    async def terminate(self, restart=False):
        self.process.terminate()

    async def cleanup(self, restart=False):
        self.calls.append("cleanup")

class Far(Elsewhere):
    """One whose kernels choose their own key, and whose wait gives up."""

    async def launch_kernel(self, cmd, **options):
        given = pathlib.Path(self.parent.connection_file)
        own = given.with_name("far.json")
        info = json.loads(given.read_text()) | {"key": "of its own"}
        own.write_text(json.dumps(info))
        await super().launch_kernel([own if part == str(given.resolve()) else part for part in cmd], **options)
        return info | {"key": info["key"].encode()}

    async def post_launch(self, **options):
        self.calls.append("post_launch")

    async def wait(self):
        return None if self.process.returncode is None else await super().wait()

    async def shutdown_requested(self, restart=False):
        self.calls.append("shutdown_requested")

    async def cleanup(self, restart=False):
        await super().cleanup(restart)
        pathlib.Path(self.parent.connection_file).with_name("far.json").unlink()

    def get_shutdown_wait_time(self, recommended):
        self.calls.append(f"grace {recommended:g}")
        return recommended
'''


@pytest.fixture(autouse=True, scope="module")
def stays() -> None:
    """One thread for all such provisioners, which stays: made before a test looks for what it leaves."""
    provisioners_loop()


@pytest.fixture
def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An installed package with provisioners, the first named elsewhere: what has been called of them."""
    site = folder / "site"
    about = site / "elsewhere-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[jupyter_client.kernel_provisioners]\nelsewhere = elsewhere_provisioner:Elsewhere\n"
        "far = elsewhere_provisioner:Far\nbroken = elsewhere_provisioner:Nothing\n"
    )
    (site / "elsewhere_provisioner.py").write_text(PROVISIONER)
    monkeypatch.syspath_prepend(str(site))
    from elsewhere_provisioner import Elsewhere  # type: ignore[import-not-found]

    yield Elsewhere.calls
    Elsewhere.calls.clear()
    del sys.modules["elsewhere_provisioner"]


def test_a_provisioner_that_is_installed_carries_the_kernel(
    elsewhere: list[str], kernel_that: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = kernel_that(PYTHON_KERNEL, metadata={"kernel_provisioner": {"provisioner_name": "elsewhere"}})
    with launch(name, env={"GIVEN": "yes"}) as bridge:
        execution = bridge.execute("import os; print(os.environ['GIVEN'], flush=True)\nwhile True: pass")
        assert next(one for one in execution if one.msg_type == "stream").content["text"] == "yes\n"
        bridge.interrupt()
        assert execution.result(DEADLINE).content["ename"] == "KeyboardInterrupt"
        bridge.restart()
        with pytest.raises(KernelDiedError, match="ended with exit status 3"):
            bridge.execute("import os; os._exit(3)").result(DEADLINE)
    kernel = ["launch_kernel", "cleanup"]
    assert elsewhere == ["launch_kernel", f"send_signal {int(signal.SIGINT)}", "cleanup", *kernel]


def test_a_provisioner_says_where_its_kernel_is_and_with_which_key(
    elsewhere: list[str], kernel_that: Callable[..., str]
) -> None:
    """As those do whose kernels are on other machines. What was asked before is signed again."""
    name = kernel_that(PYTHON_KERNEL, metadata={"kernel_provisioner": {"provisioner_name": "far"}})
    bridge = launch(name)
    early = bridge.execute("6 * 7")
    with bridge:
        assert early.result(DEADLINE).content["status"] == "ok"
        assert bridge.connection is not None and bridge.connection_file is not None
        assert (bridge.connection.transport, bridge.connection.key) == ("tcp", b"of its own")
        assert load_connection_file(bridge.connection_file) == bridge.connection
        assert bridge.execute("1").result(DEADLINE).content["status"] == "ok"
        bridge.restart(grace=3)
        with pytest.raises(KernelDiedError, match="ended with exit status 3"):
            bridge.execute("import os; os._exit(3)").result(DEADLINE)
    assert "grace 3" in elsewhere
    kernel = ["launch_kernel", "post_launch"]
    called = [call for call in elsewhere if not call.startswith("grace")]
    assert called == [*kernel, "shutdown_requested", "cleanup", *kernel, "cleanup"]


def test_a_provisioner_that_cannot_be_loaded_is_named(elsewhere: list[str], kernel_that: Callable[..., str]) -> None:
    name = kernel_that(PYTHON_KERNEL, metadata={"kernel_provisioner": {"provisioner_name": "broken"}})
    with pytest.raises(KernelStartError, match="the provisioner 'broken' cannot be loaded"):
        launch(name)


def test_a_provisioner_that_is_not_there_is_named(kernel_that: Callable[..., str]) -> None:
    name = kernel_that(PYTHON_KERNEL, metadata={"kernel_provisioner": {"provisioner_name": "nowhere"}})
    with pytest.raises(KernelStartError, match="'made' asks for the provisioner 'nowhere', which is not installed"):
        launch(name).__enter__()


def mechanism(endpoint: str) -> bytes:
    """Return how a socket wants its peers to prove who they are: what a greeting of ZMTP 3 says (ZeroMQ RFC 23)."""
    transport, _, place = endpoint.partition("://")
    host, _, port = place.rpartition(":")
    with socket.socket(socket.AF_INET if transport == "tcp" else socket.AF_UNIX) as peer:
        peer.settimeout(DEADLINE)
        peer.connect((host, int(port)) if transport == "tcp" else place)
        # The beginning of a greeting: the version, and not yet what this peer would have.
        peer.sendall(b"\xff" + bytes(8) + b"\x7f\x03")
        greeting = peer.makefile("rb").read(32)
    return greeting[12:32].rstrip(b"\0")


class TestCurve:
    """The keys are in the connection file, and who does not have them hears nothing."""

    @pytest.mark.parametrize(
        ("name", "transport"), [("kernelbridge", "tcp"), ("kernelbridge", "ipc"), ("python3", "tcp")]
    )
    def test_all_is_encrypted(self, name: str, transport: Any, runtime: Path) -> None:
        with launch(name, transport=transport, curve=True) as bridge:
            (file,) = runtime.glob("*.json")
            info = load_connection_file(file)
            assert info == bridge.connection
            assert info.curve_publickey is not None
            assert bridge.execute("1").result(DEADLINE).content["status"] == "ok"
            for channel in CHANNELS:
                assert mechanism(info.endpoint(channel)) == b"CURVE"

    def test_each_launch_has_keys_of_its_own_and_a_restart_keeps_them(self) -> None:
        with launch(curve=True) as bridge:
            assert bridge.connection is not None
            before = bridge.connection
            bridge.restart()
            assert bridge.connection.curve_publickey == before.curve_publickey
            assert bridge.connection.ip != before.ip

    def test_a_kernel_that_does_not_know_it_is_given_up_with_a_hint(self, kernel_that: Callable[..., str]) -> None:
        clock = VirtualClock()
        name = kernel_that("import signal; signal.pause()")
        bridge = launch(name, transport="ipc", curve=True, timeout=30, clock=clock)
        clock.advance(30)
        with pytest.raises(KernelStartError, match="the connection is encrypted: does it know CURVE"):
            bridge.wait_ready(DEADLINE)
        bridge.close()

    def test_a_registration_file_says_the_keys(self) -> None:
        keys = dict.fromkeys(("curve_publickey", "curve_secretkey"), "a" * 39 + "0")
        given = {"kernel_id": "k", "registration_ip": "127.0.0.1", "registration_port": 1, "key": "k", **keys}
        info = RegistrationInfo.from_json(given)
        assert {name: info.to_json()[name] for name in keys} == keys


class TestHandshake:
    """JEP 66: no port is chosen by one process and bound by another."""

    def test_the_built_in_kernel_announces_it_installed_or_not(self) -> None:
        built_in, installed = find_kernelspec(BUILT_IN), kernel_spec()
        assert knows_registration(built_in)
        assert built_in.kernel_protocol_version == installed["kernel_protocol_version"]

    def test_the_built_in_kernel_is_given_no_ports(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def race(*_: object) -> None:
            raise AssertionError("ports are looked for, which somebody else may take")

        monkeypatch.setattr("kernelbridge.frontend.launch.Ports", race)
        with launch(transport="tcp") as bridge:
            assert bridge.connection is not None
            assert bridge.connection.transport == "tcp"


def test_extra_arguments_end_the_command_line(kernel_that: Callable[..., str]) -> None:
    program = "import sys; sys.exit(' '.join(sys.argv[-2:]))"
    with pytest.raises(KernelStartError, match="while starting: --one two"):
        launch(kernel_that(program), transport="tcp", extra_arguments=["--one", "two"]).__enter__()


def test_an_exit_is_known_by_itself_and_not_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """F6: within 100 ms. No time is waited for: the clock stands."""
    clock = VirtualClock()
    bridge = launch(clock=clock)
    with clock.flowing():
        bridge.wait_ready(DEADLINE)
    try:
        monkeypatch.setattr(asyncio, "sleep", None)
        with pytest.raises(KernelDiedError, match="exit status 3"):
            bridge.execute("import os; os._exit(3)").result(DEADLINE)
    finally:
        bridge.close()
