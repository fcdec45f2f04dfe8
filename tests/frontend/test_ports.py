"""TCP ports that are chosen for a kernel are its own from then on (jupyter_client#487, papermill#511)."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
import zmq

from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.files import Files, LaunchTransport, new_files
from kernelbridge.frontend.ports import Ports
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.connection import CHANNELS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they cannot be held")

LOOPBACK = "127.0.0.1"


def is_taken(port: int) -> bool:
    """Return whether somebody has a port, for who does not allow that it is shared."""
    with closing(socket.socket()) as asking:
        try:
            asking.bind((LOOPBACK, port))
        except OSError:
            return True
        return False


def are_held(ports: Ports) -> bool:
    """Return whether ports are still held. To ask the system would tell of other programs as well."""
    return any(held.fileno() != -1 for held in ports._held)


def test_they_are_nobody_elses_until_they_are_released() -> None:
    one, other = Ports(LOOPBACK, 5), Ports(LOOPBACK, 5)
    try:
        assert len({*one.numbers, *other.numbers}) == 10
        assert all(map(is_taken, one.numbers))
        one.release()
        assert not are_held(one)
        assert all(map(is_taken, other.numbers))
    finally:
        one.release()
        other.release()


def test_a_kernel_can_bind_them_while_they_are_held_and_is_reached() -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as kernel, context.socket(zmq.PAIR) as frontend:
        ports = Ports(LOOPBACK, 1)
        try:
            kernel.bind(f"tcp://{LOOPBACK}:{ports.numbers[0]}")
            frontend.connect(f"tcp://{LOOPBACK}:{ports.numbers[0]}")
            frontend.send(b"hello")
            assert kernel.recv() == b"hello"
        finally:
            ports.release()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Files]:
    """The files of the kernels that are launched."""
    made: list[Files] = []

    def make(transport: LaunchTransport) -> Files:
        made.append(new_files(transport))
        return made[-1]

    monkeypatch.setattr("kernelbridge.frontend.launch.new_files", make)
    return made


def test_they_are_held_while_the_kernel_starts_and_released_when_it_does_not(
    made: list[Files], kernel_that: Callable[[str], str]
) -> None:
    bridge = launch(kernel_that("import threading; threading.Event().wait()"), transport="tcp")
    ports = made[0].ports
    assert ports is not None
    assert len(ports.numbers) == len(CHANNELS)
    assert all(map(is_taken, ports.numbers))
    bridge.close()
    assert not are_held(ports)


def test_they_are_released_when_the_kernel_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    released, release = threading.Event(), Ports.release

    def release_and_tell(ports: Ports) -> None:
        release(ports)
        released.set()

    monkeypatch.setattr(Ports, "release", release_and_tell)
    with launch("python3", transport="tcp"):
        assert released.wait(DEADLINE)
