"""Kernels on another machine, launched over SSH by gateway_provisioners: the machine is a network namespace."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from kernelbridge.testing import DEADLINE

ROOT = Path(__file__).parents[2]

# In a process of its own: gateway_provisioners reads its environment when it is imported, and its response manager,
# with its socket, stays until the process ends.
FRONTEND = """
from kernelbridge import KernelDiedError, launch

with launch("distant") as bridge:
    def run(code, **options):
        execution = bridge.execute(code, **options)
        reply = execution.result(60).content
        shown = "".join(one.content["text"] for one in execution.messages if one.msg_type == "stream")
        return reply.get("ename") or reply["status"], shown

    print("where:", bridge.connection.ip, bridge.connection.transport)
    print("network:", run("import os; print(os.readlink('/proc/self/ns/net'))")[1].strip())
    print("answer:", run("print(input('who? '))", on_input=lambda prompt, _: prompt.upper()))
    endless = bridge.execute("print('waits', flush=True)\\nimport time; time.sleep(3600)")
    next(message for message in endless if message.msg_type == "stream")
    bridge.interrupt()
    print("interrupted:", endless.result(60).content["ename"])
    first = run("print(os.getpid())")[1]
    bridge.restart()
    print("restarted:", run("import os; print(os.getpid())")[1] != first, run("first")[0])
    try:
        bridge.execute("os._exit(3)").result(60)
    except KernelDiedError as death:
        print("died:", death)
    bridge.restart()
    print("again:", run("print('here')"))
"""


@attrs.frozen
class Host:
    """A machine that is reached by SSH, and this one's address as that one sees it."""

    address: str
    here: str
    network: str
    """What a process there has as its network, as /proc says it."""


def ip(*command: str) -> str:
    return subprocess.run(["ip", *command], capture_output=True, text=True, check=True).stdout


def end_all(namespace: str) -> None:
    for pid in ip("netns", "pids", namespace).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def why_not() -> str | None:
    """Return what is missing for a machine of the test's own, if anything is."""
    if importlib.util.find_spec("gateway_provisioners") is None:
        return "gateway_provisioners is not installed"
    if shutil.which("ip") is None:
        return "there is no `ip`, which makes network namespaces"
    name = f"kb-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    ip("netns", "delete", name)
    return None


@pytest.fixture
def host(folder: Path) -> Iterator[Host]:
    if (missing := why_not()) is not None:
        pytest.skip(missing)
    import paramiko

    number = os.getpid()
    # Of the addresses that are set aside for tests of networks (RFC 2544), one pair for each process.
    pair = [f"198.18.{number % 250}.{4 * (number // 250 % 62) + place}" for place in (1, 2)]
    name, link = f"kb-{number}", f"kb{number}"
    key_file = folder / "host_key"
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(os.fspath(key_file))
    (folder / ".ssh").mkdir(mode=0o700)
    (folder / ".ssh" / "known_hosts").write_text(f"{pair[1]} {key.get_name()} {key.get_base64()}\n")
    with ExitStack() as stack:
        ip("netns", "add", name)
        # Its end of the link goes with it, and so does the other end.
        stack.callback(ip, "netns", "delete", name)
        ip("link", "add", f"{link}a", "type", "veth", "peer", "name", f"{link}b", "netns", name)
        ip("address", "add", f"{pair[0]}/30", "dev", f"{link}a")
        ip("link", "set", f"{link}a", "up")
        for command in (("address", "add", f"{pair[1]}/30", "dev", f"{link}b"), ("link", "set", f"{link}b", "up")):
            ip("-n", name, *command)
        ip("-n", name, "link", "set", "lo", "up")
        # The kernelspec says `python`.
        path = os.pathsep.join((os.fspath(Path(sys.executable).parent), os.environ["PATH"]))
        environment = os.environ | {"HOST_PASSWORD": "let-me-in", "PATH": path, "TMPDIR": os.fspath(folder)}
        program = [sys.executable, str(Path(__file__).with_name("ssh_host.py")), pair[1], os.fspath(key_file)]
        daemon = stack.enter_context(
            subprocess.Popen(["ip", "netns", "exec", name, *program], stdout=subprocess.PIPE, env=environment)
        )
        # With the kernels: told to end, ipykernel takes half a minute more beside gateway_provisioners' listener. That
        # is a child which has ended, which nobody reaps, and for which it waits.
        stack.callback(end_all, name)
        assert daemon.stdout is not None and daemon.stdout.readline() == b"listens\n"
        network = os.readlink(f"/proc/{daemon.pid}/ns/net")  # noqa: PTH115 - what it names is no path.
        yield Host(pair[1], pair[0], network)


@pytest.mark.slow
def test_a_kernel_of_another_machine(host: Host, folder: Path) -> None:
    """F6 to F9, with kernels that are launched by SSH, and watched and signalled by a listener beside each."""
    install = ["-m", "gateway_provisioners.cli.ssh_specapp", "install", "--prefix", os.fspath(folder)]
    named = ["--kernel-name", "distant", "--remote-hosts", host.address]
    subprocess.run([sys.executable, *install, *named], capture_output=True, check=True)
    environment = os.environ | {
        "HOME": os.fspath(folder),
        "PYTHONPATH": os.fspath(ROOT),
        "JUPYTER_PATH": os.fspath(folder / "share" / "jupyter"),
        "KERNEL_USERNAME": "ada",
        "GP_REMOTE_USER": "ada",
        "GP_REMOTE_PWD": "let-me-in",
        "GP_RESPONSE_IP": host.here,
        "GP_KERNEL_LOG_DIR": os.fspath(folder),
        "GP_POLL_INTERVAL": "0.1",
    }
    ran = subprocess.run(
        [sys.executable, "-c", FRONTEND],
        env=environment,
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
        check=False,
    )
    logs = "\n".join(log.read_text() for log in folder.glob("kernel-*.log"))
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}\n{logs}"
    *said, died, again = ran.stdout.splitlines()
    assert said == [
        f"where: {host.address} tcp",
        f"network: {host.network}",
        "answer: ('ok', 'WHO? \\n')",
        "interrupted: KeyboardInterrupt",
        "restarted: True NameError",
    ]
    assert died.startswith("died: kernel 'distant' ended")
    assert again == "again: ('ok', 'here\\n')"
