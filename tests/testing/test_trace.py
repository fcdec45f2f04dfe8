"""The time line of a running kernel: what it shows, and of which kernel."""

from __future__ import annotations

import contextlib
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import zmq

from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.frontend.find import KernelNotFoundError
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.kernel.trace import TRACE_FEATURE, TRACE_REQUEST
from kernelbridge.testing import (
    Capture,
    ManualKernel,
    ProtocolClient,
    ScriptedKernel,
    bad_signature,
    busy,
    call,
    capture,
    die,
    duplicate,
    execute_input,
    execute_reply,
    flood,
    gap,
    garbage,
    idle,
    on,
    reply,
    request,
    stderr,
    stdout,
)
from kernelbridge.testing.report import describe
from kernelbridge.testing.steps import Step
from kernelbridge.testing.trace import Note, Tracer
from kernelbridge.testing.transcripts import Record
from kernelbridge.wire.connection import (
    CHANNELS,
    ConnectionInfo,
    Transport,
    random_curve_keys,
    random_key,
)
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.packing import pack
from kernelbridge.wire.signing import Signer
from tests.support.kernels import PYTHON_KERNEL, Cells, process, serving, tcp

DEADLINE = 60
COMMAND = [sys.executable, "-m", "kernelbridge", "trace"]
IPYTHON_KERNEL = (sys.executable, "-m", "ipykernel_launcher", "-f")


def said(item: Record | Note) -> str:
    """Return what a person would be shown, but for times and names."""
    if isinstance(item, Note):
        return item.text
    if item.message is None:
        return item.note
    return f"{item.direction} {item.channel} {describe(item.message.msg_type, item.message.content)}"


def until(items: Iterator[Record | Note], last: str) -> list[str]:
    """Return what is shown up to what begins with `last`."""
    found = [said(next(items))]
    while not found[-1].startswith(last):
        found.append(said(next(items)))
    return found


def begin(kernel: ManualKernel, tracer: Tracer) -> Iterator[Record | Note]:
    """Answer what a tracer asks at first, and return what it sees from then on.

    Its reply comes by another socket than what is played next."""
    kernel.take_subscription()
    asked = kernel.take(request("kernel_info"), channel="control")
    kernel.play(reply("kernel_info"), parent=asked)
    items = iter(tracer)
    assert until(items, "IOPub alone")
    return items


def say(kernel: Kernel) -> None:
    kernel.write("stdout", "x")


def test_a_kernel_of_ours_shows_both_ends() -> None:
    with serving(Cells(say=say)) as kernel, Tracer(kernel.connection) as tracer:
        items = iter(tracer)
        assert "all channels, as the kernel's threads receive and send" in until(items, "all channels")
        with ProtocolClient(kernel) as client:
            run = client.execute("say")
            client.iopub.expect(busy(), execute_input("say"), stdout("x"), idle(), parent=run)
            client.shell.expect(execute_reply(parent=run))
        found = list(items_until(items, run))
    # What the tracer itself has caused has numbers, too, and they are not missed.
    assert not [item for item in found if isinstance(item, Note)]
    seen = [item for item in found if isinstance(item, Record) and item.message is not None]
    shown = [
        said(item) for item in seen if item.message and run.msg_id in (item.message.msg_id, item.message.parent_id)
    ]
    assert shown[0] == "-> shell execute_request 'say'"
    assert [line for line in shown if "iopub" in line] == [
        "<- iopub busy",
        "<- iopub execute_input 'say'",
        "<- iopub stdout 'x'",
        "<- iopub idle",
    ]
    assert shown.index("<- shell execute_reply status='ok' execution_count=1") < shown.index("<- iopub idle")


def test_f11_what_a_killed_tracer_has_left_is_removed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whose path is short enough for the socket in it, other than that of tmp_path.
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        left = Path(folder, "kernelbridge-trace-left")
        left.mkdir()
        with serving(Cells(say=say)) as kernel, Tracer(kernel.connection) as tracer:
            until(iter(tracer), "all channels")
            assert not left.exists()
        assert list(Path(folder).iterdir()) == []


def test_a_kernel_with_curve_keys() -> None:
    public, secret = random_curve_keys()
    info = attrs.evolve(tcp(), curve_publickey=public, curve_secretkey=secret)
    with serving(Cells(), info) as kernel, Tracer(kernel.connection) as tracer:
        assert until(iter(tracer), "all channels")


def test_all_is_read_before_the_end_is_told() -> None:
    """However much it is."""
    with ManualKernel(numbered=True, welcome=False) as kernel, Tracer(kernel.connection) as tracer:
        items = begin(kernel, tracer)
        kernel.play(flood(2500, stdout("x")))
        kernel.settle()
        next(items)
        kernel.play(die())
        rest = [said(item) for item in items]
    assert (len(rest), rest[-1]) == (2500, "the kernel has gone")


def items_until(items: Iterator[Record | Note], last: Message) -> Iterator[Record | Note]:
    """Return what is seen up to the idle of a request."""
    for item in items:
        yield item
        message = item.message if isinstance(item, Record) else None
        if message and message.parent_id == last.msg_id and message.content.get("execution_state") == "idle":
            return


def test_what_a_kernel_of_ours_has_shown_before_its_end_is_seen_behind_it() -> None:
    with contextlib.ExitStack() as life:
        kernel = life.enter_context(serving(Cells(say=say)))
        with Tracer(kernel.connection) as tracer:
            items = iter(tracer)
            until(items, "all channels")
            with ProtocolClient(kernel) as client:
                # The tracer's own requests may still be ending beside it.
                client.iopub.of(client.execute("say")).expect(busy(), execute_input(), stdout("x"), idle())
                until(items, "-> shell execute_request 'say'")
                client.iopub.of(client.execute("say")).expect(busy(), execute_input(), stdout("x"), idle())
                client.read_all()
            life.close()
            rest = [said(item) for item in items]
    assert rest.count("<- iopub stdout 'x'") == 2
    assert rest[-1] == "the kernel has gone"


@pytest.mark.parametrize("command", [IPYTHON_KERNEL], ids=["ipykernel"])
def test_of_any_other_iopub_is_shown(command: Sequence[str], tmp_path: Path) -> None:
    with process(command, tmp_path) as (_, info, _path):
        # It listens then.
        with ProtocolClient(info):
            pass
        with Tracer(info) as tracer:
            items = iter(tracer)
            assert until(items, "IOPub alone")[-1] == (
                "IOPub alone: ipython does not show what passes on its other channels"
            )
            # What settles here is settled for whoever has subscribed before.
            with ProtocolClient(info) as client:
                run = client.execute("print('x')")
                client.iopub.expect(busy(), execute_input(), stdout("x\n"), idle())
                client.shell.expect(execute_reply())
            seen = [said(item) for item in items_until(items, run)]
    assert seen[-4:] == [
        "<- iopub busy",
        "<- iopub execute_input \"print('x')\"",
        "<- iopub stdout 'x\\n'",
        "<- iopub idle",
    ]


def test_gaps_and_rubbish_are_told() -> None:
    """K9, F10."""
    with ManualKernel(numbered=True, welcome=False) as kernel, Tracer(kernel.connection) as tracer:
        items = begin(kernel, tracer)
        kernel.play(
            stdout("a"),
            gap(1),
            stdout("b"),
            gap(3),
            duplicate(stdout("c")),
            bad_signature(stdout("d")),
            garbage(b"x"),
            stderr("end"),
        )
        seen = until(items, "<- iopub stderr 'end'")
    assert seen == [
        "<- iopub stdout 'a'",
        "1 message is missing: number 2",
        "<- iopub stdout 'b'",
        "3 messages are missing: numbers 4 to 6",
        "<- iopub stdout 'c'",
        "number 7 comes again",
        "<- iopub stdout 'c'",
        "wrong signature",
        "no delimiter among 1 frames",
        "1 message is missing: number 8",
        "<- iopub stderr 'end'",
    ]


class Copies:
    """What a kernel of ours hands to a tracer, handed over by a script."""

    def __init__(self, endpoint: Capture, signer: Signer) -> None:
        self._endpoint = endpoint
        self._signer = signer
        self._session = Session(lambda: NOW)
        self._context: Context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)

    def connect(self) -> None:
        self._socket.connect(self._endpoint.value)

    def stdout(self, text: str, number: int) -> None:
        content = {"name": "stdout", "text": text}
        message = Message(self._session.header("stream"), content, metadata={"kernelbridge": {"seq": number}})
        self.hand_over("<-", "iopub", message)

    def hand_over(self, direction: str, channel: str, message: Message, dropped: int = 0) -> None:
        about = {"date": NOW, "channel": channel, "direction": direction, "dropped": dropped}
        self._socket.send_multipart([pack(about), *encode(message, self._signer)])

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


class Subscribed(Step):
    """Waits for a subscription."""

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        kernel.take_subscription()

    def __str__(self) -> str:
        return "a subscription"


NOW = "2026-01-02T03:04:05Z"


def test_the_two_views_are_joined_without_a_gap_and_without_a_repeat(tmp_path: Path) -> None:
    """What the kernel hands over first is where IOPub's own view ends, whichever of the two is read first."""
    ports = {channel: number for number, channel in enumerate(CHANNELS, 1)}
    info = ConnectionInfo(transport="ipc", ip=str(tmp_path / "s"), key=random_key()).with_ports(ports)
    endpoint = capture("endpoint")
    copies = Copies(endpoint, Signer(info.key))
    asked = Message(Session(lambda: NOW).header("comm_info_request"), {})

    def hand_over() -> None:
        copies.connect()
        copies.stdout("3", 3)
        copies.hand_over("->", "shell", asked)
        copies.stdout("4", 4)

    script = (
        Subscribed(),
        on(
            request("kernel_info"),
            stdout("1", parent=None),
            reply(supported_features=[TRACE_FEATURE]),
            channel="control",
        ),
        on(
            request(TRACE_REQUEST, endpoint=endpoint),
            stdout("2", parent=None),
            stdout("3", parent=None),
            call(hand_over),
            reply(),
            stdout("4", parent=None),
            call(lambda: copies.stdout("5", 5)),
            stdout("5", parent=None),
            call(lambda: copies.hand_over("->", "shell", asked, dropped=2)),
            channel="control",
        ),
    )
    with contextlib.closing(copies):
        options: Any = {"connection": info, "numbered": True, "welcome": False}
        with ScriptedKernel(*script, **options), Tracer(info) as tracer:
            items = iter(tracer)
            seen = [said(item) for item in (next(items) for _ in range(9))]
    # It comes on another socket than what it stands among.
    seen.remove("all channels, as the kernel's threads receive and send")
    assert seen == [
        "<- iopub stdout '1'",
        "<- iopub stdout '2'",
        "<- iopub stdout '3'",
        "-> shell comm_info_request",
        "<- iopub stdout '4'",
        "<- iopub stdout '5'",
        "2 messages are not shown: more was unread than the kernel keeps",
        "-> shell comm_info_request",
    ]


def test_a_kernel_that_refuses_is_shown_from_outside() -> None:
    script = (
        Subscribed(),
        on(request("kernel_info"), reply(supported_features=[TRACE_FEATURE]), channel="control"),
        on(
            request(TRACE_REQUEST), stdout("x", parent=None), reply(status="error", evalue="not now"), channel="control"
        ),
    )
    with ScriptedKernel(*script, welcome=False) as kernel, Tracer(kernel.connection) as tracer:
        items = iter(tracer)
        assert until(items, "<- iopub stdout 'x'") == ["IOPub alone: the kernel says: not now", "<- iopub stdout 'x'"]


def test_the_end_is_told() -> None:
    with ManualKernel(welcome=False) as kernel, Tracer(kernel.connection) as tracer:
        items = begin(kernel, tracer)
        kernel.play(stdout("last words"))
        until(items, "<- iopub stdout 'last words'")
        kernel.play(die())
        assert [said(item) for item in items] == ["the kernel has gone"]


def test_a_killed_kernel_of_ours_has_gone(tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _):
        with ProtocolClient(info):
            pass
        with Tracer(info) as tracer:
            items = iter(tracer)
            until(items, "all channels")
            started.kill()
            assert until(items, "the kernel has gone")


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_where_none_listens_there_is_no_kernel(transport: Transport, tmp_path: Path) -> None:
    with (
        free_ports(transport, tmp_path) as info,
        Tracer(info) as tracer,
        pytest.raises(KernelNotFoundError, match=f"no kernel listens at {info.endpoint('iopub')}"),
    ):
        next(iter(tracer))


@contextlib.contextmanager
def free_ports(transport: Transport, folder: Path) -> Iterator[ConnectionInfo]:
    """Give addresses that nobody else has, and where nobody listens."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in CHANNELS]
        for one in held:
            one.bind(("127.0.0.1", 0))
        ports = dict(zip(CHANNELS, (one.getsockname()[1] for one in held), strict=True))
        ip = "127.0.0.1" if transport == "tcp" else str(folder / "s")
        yield ConnectionInfo(transport=transport, ip=ip, key=random_key()).with_ports(ports)
