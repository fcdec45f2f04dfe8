"""Where a kernel listens and how it reports it, and that each frontend gets what is its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import DEADLINE, ProtocolClient, reply, stdout
from kernelbridge.wire.connection import (
    CHANNELS,
    ConnectionInfo,
    RegistrationInfo,
    random_curve_keys,
    random_key,
    write_connection_file,
    write_registration_file,
)
from kernelbridge.wire.errors import ConnectionFileError, WireError
from kernelbridge.wire.handshake import decode_handshake, encode_handshake, handshake_reply, parse_handshake_request
from kernelbridge.wire.signing import Signer
from tests.support.exchange import ask, run
from tests.support.kernels import Cells, Serving, encoded, serving, tcp

MILLISECONDS = int(DEADLINE * 1000)


def hello(kernel: Kernel) -> None:
    kernel.write("stdout", "hello\n")


HELLO = stdout("hello\n")


# --- where it listens -----------------------------------------------------------------------------------------------


def test_a_port_of_zero_becomes_a_free_one() -> None:
    with serving(Cells()) as one, serving(Cells()) as two:
        ports = [port for kernel in (one, two) for port in kernel.connection.ports.values()]
        assert 0 not in ports
        assert len(set(ports)) == 2 * len(CHANNELS)


def test_a_connection_file_names_the_ports(tmp_path: Path) -> None:
    with serving(Cells()) as free:
        ports = free.connection
    file = tmp_path / "connection.json"
    write_connection_file(file, ports)
    with serving(Cells(hello=hello), str(file)) as kernel, ProtocolClient(ports) as client:
        assert kernel.connection == ports
        run(client, "hello", HELLO)


def test_ipc_files_are_there_while_it_serves_and_gone_after(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("k")
    info = ConnectionInfo(transport="ipc", ip=str(folder / "s"), key=random_key())
    with serving(Cells(hello=hello), info) as kernel, ProtocolClient(kernel) as client:
        assert len(list(folder.iterdir())) == len(CHANNELS)
        run(client, "hello", HELLO)
    assert list(folder.iterdir()) == []


def test_a_port_that_is_taken_is_one_line_that_names_the_field(tmp_path: Path) -> None:
    """And all that was started before is gone: nothing waits for what will never come."""
    for channel in CHANNELS:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as taken:
            port = taken.bind_to_random_port("tcp://127.0.0.1")
            kernel = Kernel(Cells(), tcp().with_ports({channel: port}))
            with pytest.raises(ConnectionFileError, match=f"{channel}_port cannot be bound") as caught:
                kernel.serve()
            assert str(port) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_a_file_that_another_kernel_listens_on_is_left_to_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """libzmq would remove it. One that nobody listens on any more is taken."""
    folder = tmp_path_factory.mktemp("k")
    info = ConnectionInfo(transport="ipc", ip=str(folder / "s"), key=random_key())
    with serving(Cells(hello=hello), info) as kernel, ProtocolClient(kernel) as client:
        with pytest.raises(ConnectionFileError, match=r"_port cannot be bound: ipc:.*: Address already in use"):
            Kernel(Cells(), kernel.connection).serve()
        run(client, "hello", HELLO)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(kernel.connection.endpoint("shell").removeprefix("ipc://"))
    with serving(Cells(hello=hello), info) as kernel, ProtocolClient(kernel) as client:
        run(client, "hello", HELLO)


def test_curve_encrypts_and_a_stranger_hears_nothing() -> None:
    public, secret = random_curve_keys()
    info = ConnectionInfo(ip="127.0.0.1", key=random_key(), curve_publickey=public, curve_secretkey=secret)
    with serving(Cells(hello=hello), info) as kernel, ProtocolClient(kernel) as client:
        run(client, "hello", HELLO)
        stranger: Context = zmq.Context()
        plain = stranger.socket(zmq.DEALER)
        plain.linger = 0
        monitor = plain.get_monitor_socket()
        plain.connect(kernel.connection.endpoint("shell"))
        events: list[int] = []
        while zmq.EVENT_DISCONNECTED not in events:
            assert monitor.poll(MILLISECONDS)
            events.append(parse_monitor_message(monitor.recv_multipart())["event"])
        assert zmq.EVENT_HANDSHAKE_SUCCEEDED not in events
        plain.disable_monitor()
        monitor.close(0)
        plain.close(0)
        stranger.term()


def test_without_a_key_nothing_is_signed() -> None:
    with (
        serving(Cells(hello=hello), ConnectionInfo(ip="127.0.0.1", key=b"")) as kernel,
        ProtocolClient(kernel) as client,
    ):
        run(client, "hello", HELLO)


def test_the_heartbeat_echoes_to_many_frontends_at_once() -> None:
    with serving(Cells()) as kernel, zmq.Context() as context, ExitStack() as stack:
        frontends = [stack.enter_context(context.socket(zmq.REQ)) for _ in range(3)]
        for number, frontend in enumerate(frontends):
            frontend.connect(kernel.connection.endpoint("hb"))
            frontend.send_multipart([b"ping", b"%d" % number])
        for number, frontend in enumerate(frontends):
            assert frontend.poll(MILLISECONDS)
            assert frontend.recv_multipart() == [b"ping", b"%d" % number]


def test_replies_go_to_the_frontend_that_asked() -> None:
    """ROUTER identities: many frontends, each with requests under way, each gets its own replies in its own order."""
    with serving(Cells()) as kernel, ExitStack() as stack:
        clients = [
            stack.enter_context(ProtocolClient(kernel, topics=(), identity=b"\x01frontend-%d" % number))
            for number in range(5)
        ]
        asked = [[client.send("kernel_info_request") for _ in range(20)] for client in clients]
        for client, requests in zip(clients, asked, strict=True):
            client.shell.expect(*(reply("kernel_info", parent=request) for request in requests))


def test_a_frontend_that_comes_back_under_its_name_gets_its_replies() -> None:
    """Also while the kernel has not seen yet that it was away."""
    with serving(Cells(hello=hello)) as kernel, zmq.Context() as context, context.socket(zmq.DEALER) as before:
        before.setsockopt(zmq.IDENTITY, b"frontend")
        before.setsockopt(zmq.RECONNECT_IVL, -1)
        before.connect(kernel.connection.endpoint("shell"))
        before.send_multipart(encoded(kernel, "kernel_info_request"))
        assert before.poll(MILLISECONDS)
        with ProtocolClient(kernel, identity=b"frontend") as client:
            run(client, "hello", HELLO)


# --- registration (JEP 66) ------------------------------------------------------------------------------------------


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[tuple[zmq.Socket[bytes], RegistrationInfo, Path]]:
    """The launcher's socket, what the registration file says, and the file."""
    context: Context = zmq.Context()
    with context.socket(zmq.ROUTER) as socket:
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        info = RegistrationInfo(kernel_id="k-1", registration_ip="127.0.0.1", registration_port=port, key=random_key())
        file = tmp_path / "registration.json"
        write_registration_file(file, info)
        yield socket, info, file
    context.term()


def test_a_registration_file_makes_the_kernel_report_its_ports(
    launcher: tuple[zmq.Socket[bytes], RegistrationInfo, Path],
) -> None:
    socket, info, file = launcher
    signer = Signer(info.key)
    kernel = Kernel(Cells(hello=hello), file)
    thread = Serving(kernel)
    thread.start()
    assert socket.poll(MILLISECONDS)
    sender, report = decode_handshake(socket.recv_multipart(), signer)
    ports = parse_handshake_request(report, kernel_id="k-1")
    socket.send_multipart(encode_handshake(handshake_reply(), signer, sender))
    bound = ConnectionInfo(ip="127.0.0.1", key=info.key).with_ports(ports)
    with ProtocolClient(bound) as client:
        ask(client, "kernel_info")
        assert bound.ports == kernel.connection.ports
    kernel.stop()
    assert thread.end() is None


@pytest.mark.parametrize("refusal", ["refused", "forged"])
def test_a_registration_that_fails_is_one_line(
    launcher: tuple[zmq.Socket[bytes], RegistrationInfo, Path], refusal: str
) -> None:
    socket, info, file = launcher
    thread = Serving(Kernel(Cells(), file))
    thread.start()
    assert socket.poll(MILLISECONDS)
    sender = socket.recv_multipart()[:1]
    if refusal == "refused":
        answer = {"status": "error", "evalue": "no such kernel"}
        socket.send_multipart(encode_handshake(answer, Signer(info.key), sender))
        expected = "no such kernel"
    else:
        socket.send_multipart(encode_handshake(handshake_reply(), Signer(b"another key"), sender))
        expected = "wrong signature"
    failure = thread.end()
    assert isinstance(failure, WireError)
    assert expected in str(failure)
    assert "\n" not in str(failure)
