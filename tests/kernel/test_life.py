"""The life of a kernel: where it listens, how it ends, what its crash does, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from kernelbridge.bridges.socket_bridge import Context, SocketBridge
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    execute_input,
    execute_reply,
    idle,
    message,
    reply,
    stdout,
)
from kernelbridge.wire.connection import (
    CHANNELS,
    Channel,
    ConnectionInfo,
    RegistrationInfo,
    random_curve_keys,
    random_key,
    write_connection_file,
    write_registration_file,
)
from kernelbridge.wire.errors import ConnectionFileError, WireError
from kernelbridge.wire.frames import Frame, encode
from kernelbridge.wire.handshake import decode_handshake, encode_handshake, handshake_reply, parse_handshake_request
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.signing import Signer
from tests.support.exchange import ask, run
from tests.support.kernels import Cells, Serving, serving, tcp

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


def test_a_kernel_that_never_served_stops() -> None:
    Kernel(Cells(), tcp()).stop()
    with Kernel(Cells(), tcp()):
        """Leaving the block stops it."""


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
    with serving(Cells(hello=hello)) as kernel, zmq.Context() as context:
        with context.socket(zmq.DEALER) as before:
            before.setsockopt(zmq.IDENTITY, b"frontend")
            before.connect(kernel.connection.endpoint("shell"))
            before.send_multipart(encoded(kernel, "kernel_info_request"))
            assert before.poll(MILLISECONDS)
        with ProtocolClient(kernel, identity=b"frontend") as client:
            run(client, "hello", HELLO)


def encoded(kernel: Kernel, msg_type: str, **content: str) -> list[Frame]:
    """Return the frames of a request, for a frontend that is no strict client."""
    return encode(Message(Session(lambda: "").header(msg_type), content), Signer(kernel.connection.key))


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


# --- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["shell", "control"])
@pytest.mark.parametrize("restart", [True, False])
def test_a_shutdown_is_answered_shown_and_done(channel: Channel, restart: bool) -> None:
    handler = Cells(hello=hello)
    with serving(handler) as kernel, ProtocolClient(kernel) as client:
        run(client, "hello", HELLO)
        request = client.send("shutdown_request", restart=restart, channel=channel)
        done = reply("shutdown", status="ok", restart=restart, parent=request)
        client.iopub.expect(busy(), done, idle(), parent=request)
        (client.shell if channel == "shell" else client.control).expect(done)
        client.expect_end()
    assert handler.stopped == [restart]


def test_stop_does_not_wait_for_a_stalled_peer() -> None:
    """One that reads neither its replies nor the 20 MB that wait for it on IOPub."""
    flooded = threading.Event()

    def flood(kernel: Kernel) -> None:
        for _ in range(200):
            kernel.display({"text/plain": "x" * 100_000})
        kernel.flush()
        flooded.set()

    with (
        serving(Cells(flood=flood)) as kernel,
        zmq.Context() as context,
        context.socket(zmq.SUB) as iopub,
        context.socket(zmq.DEALER) as shell,
    ):
        iopub.rcvhwm = 1
        iopub.subscribe(b"")
        iopub.connect(kernel.connection.endpoint("iopub"))
        # It is welcome.
        assert iopub.poll(MILLISECONDS)
        shell.connect(kernel.connection.endpoint("shell"))
        shell.send_multipart(encoded(kernel, "execute_request", code="flood"))
        assert flooded.wait(DEADLINE)
        kernel.stop()
        assert kernel.wait(0)


def test_stop_may_be_called_again_and_from_many_threads() -> None:
    handler = Cells(hello=hello)
    kernel = Kernel(handler, tcp())
    thread = Serving(kernel)
    thread.start()
    assert handler.started.wait(DEADLINE)
    stoppers = [threading.Thread(target=kernel.stop) for _ in range(4)]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join(DEADLINE)
        assert not stopper.is_alive()
    kernel.stop()
    assert thread.end() is None
    assert kernel.wait(0)


def test_what_was_put_before_the_stop_is_sent() -> None:
    """Nothing that was put is lost by the end of the kernel."""

    def last_words(kernel: Kernel) -> None:
        for number in range(1000):
            kernel.publish("custom", {"number": number})
        kernel.write("stdout", "the end")
        kernel.end()

    with serving(Cells(last_words=last_words)) as kernel, ProtocolClient(kernel) as client:
        run(client, "last_words", *(message("custom", number=number) for number in range(1000)), stdout("the end"))
        client.expect_end()


def test_iopub_ends_when_nobody_is_left_who_puts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Shell, Control and Stdin put at their end is sent."""
    alive: list[str] = []
    with serving(Cells()) as kernel:
        stop = kernel._iopub.stop

        def watched() -> bool:
            alive.extend(one.name for one in (kernel._shell, kernel._control, kernel._stdin) if one.alive)
            return stop()

        monkeypatch.setattr(kernel._iopub, "stop", watched)
    assert alive == []


def test_puts_after_the_end_are_let_go() -> None:
    """Nobody waits and nothing is raised: a thread of the program may outlive its kernel."""
    with serving(Cells()) as kernel:
        comm = kernel.comms.open("target")
    kernel.write("stdout", "too late")
    kernel.display({"text/plain": "too late"})
    comm.send({})
    kernel.flush()


def test_a_flood_of_flushes_does_not_outlive_the_stop() -> None:
    """A thread that flushes while the kernel stops is let go, whenever the stop comes."""
    for _ in range(20):
        with serving(Cells()) as kernel:
            begun, end = threading.Event(), threading.Event()

            def work(kernel: Kernel = kernel, begun: threading.Event = begun, end: threading.Event = end) -> None:
                while not end.is_set():
                    kernel.write("stdout", "x")
                    kernel.flush()
                    begun.set()

            worker = threading.Thread(target=work)
            worker.start()
            assert begun.wait(DEADLINE)
        end.set()
        worker.join(DEADLINE)
        assert not worker.is_alive()


def test_a_kernel_serves_inside_a_running_event_loop() -> None:
    async def main() -> None:
        handler = Cells(hello=hello)
        kernel = Kernel(handler, tcp())
        serve = asyncio.create_task(kernel.aserve())
        while not handler.started.is_set():
            await asyncio.sleep(0)

        def talk() -> None:
            with ProtocolClient(kernel) as client:
                run(client, "hello", HELLO)
                request = client.send("shutdown_request", restart=False)
                client.iopub.expect(busy(), reply("shutdown"), idle(), parent=request)
                client.control.expect(reply("shutdown", parent=request))

        await asyncio.to_thread(talk)
        await asyncio.wait_for(serve, DEADLINE)

    asyncio.run(main())


# --- crashes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["shell", "control", "stdin", "iopub"])
def test_a_crash_of_a_channels_thread_surfaces_to_the_owner(
    channel: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `serve` and in `wait`, with its traceback in the log; all other threads end with it."""
    handler = Cells()
    kernel = Kernel(handler, tcp())
    thread = Serving(kernel)
    thread.start()
    assert handler.started.wait(DEADLINE)
    channels: dict[str, SocketBridge[Any]] = {
        "shell": kernel._shell,
        "control": kernel._control,
        "stdin": kernel._stdin,
        "iopub": kernel._iopub,
    }
    service = channels[channel]

    def crash(item: object) -> None:
        raise ArithmeticError("a fault of this library")

    monkeypatch.setattr(service, "deliver", crash)
    with caplog.at_level(logging.CRITICAL, "kernelbridge"):
        service.put(None)
        assert isinstance(thread.end(), ArithmeticError)
    with pytest.raises(ArithmeticError):
        kernel.wait(DEADLINE)
    assert f"{channel} thread crashed" in caplog.text
    assert "Traceback" in caplog.text


def test_what_the_handlers_start_raises_serve_raises() -> None:
    class Broken(Cells):
        def start(self) -> None:
            raise ValueError("no language")

    with pytest.raises(ValueError, match="no language"):
        Kernel(Broken(), tcp()).serve()


def test_kernel_info_is_answered_while_a_cell_runs() -> None:
    """On Control also while Shell is busy; on Shell when its turn comes."""
    go = threading.Event()

    def wait(kernel: Kernel) -> None:
        assert go.wait(DEADLINE)

    with ProtocolClient(Cells(wait=wait)) as client:
        cell = client.execute("wait")
        queued = client.send("kernel_info_request")
        info = client.send("kernel_info_request", channel="control")
        client.control.expect(reply("kernel_info", implementation="cells", parent=info))
        go.set()
        client.shell.expect(execute_reply(parent=cell), reply("kernel_info", parent=queued))
        client.iopub.of(info).expect(busy(), idle())
        client.iopub.expect(busy(), execute_input("wait"), idle(), parent=cell)
        client.iopub.expect(busy(), idle(), parent=queued)
