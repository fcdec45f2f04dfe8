"""A whole kernel over real sockets keeps the order contract (K1-K6, K9), seen by a raw frontend."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import zmq

from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.wire.connection import ConnectionInfo, random_key
from kernelbridge.wire.messages import Message
from tests.support.client import DEADLINE, Client, is_idle, lines
from tests.support.kernels import Cells, serving, tcp


@pytest.fixture(params=["tcp", "ipc", "inproc"])
def wired(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ConnectionInfo, Context]]:
    """Where a kernel may listen, on each transport, and a context that a frontend in this process may share."""
    context: Context = zmq.Context()
    match request.param:
        case "tcp":
            info = tcp()
        case "ipc":
            info = ConnectionInfo(transport="ipc", ip=str(tmp_path_factory.mktemp("k") / "s"), key=random_key())
        case _:
            info = ConnectionInfo(transport="inproc", ip="kernel", key=random_key())
    yield info, context
    context.term()


def mix(kernel: Kernel) -> None:
    """Show something of each kind."""
    kernel.write("stdout", "one\n")
    comm = kernel.comms.open("target", {"n": 1})
    kernel.write("stdout", "two\n")
    comm.send({"n": 2})
    kernel.write("stderr", "three\n")
    kernel.write("stdout", "four\n")
    kernel.display({"text/plain": "five"})
    comm.close({"n": 3})
    kernel.write("stdout", "six")
    kernel.write("stdout", "\n")
    kernel.publish("clear_output", {"wait": False})
    kernel.publish("custom_type", {})
    kernel.result({"text/plain": "seven"}, 1)
    kernel.write("stdout", "eight\n")


MIX = [
    "busy",
    "execute_input mix",
    "stdout 'one\\n'",
    "comm_open {'n': 1}",
    "stdout 'two\\n'",
    "comm_msg {'n': 2}",
    "stderr 'three\\n'",
    "stdout 'four\\n'",
    "display_data five",
    "comm_close {'n': 3}",
    "stdout 'six\\n'",
    "clear_output",
    "custom_type",
    "execute_result seven",
    "stdout 'eight\\n'",
    "idle",
]


def test_k1_k2_k5_what_a_cell_shows_comes_in_the_order_of_the_program(wired: tuple[ConnectionInfo, Context]) -> None:
    """On every transport: brackets around, nothing overtakes anything, neighbouring writes are one message."""
    info, context = wired
    with (
        serving(Cells(mix=mix), info, context=context) as kernel,
        Client(kernel.connection, context=context) as client,
    ):
        for _ in range(20):
            reply, messages = client.run("mix")
            assert reply.content["status"] == "ok"
            assert lines(messages) == MIX
            assert {message.parent_id for message in messages} == {reply.parent_id}


def test_k9_numbers_are_gapless_from_the_first_subscriber_on() -> None:
    with serving(Cells(mix=mix)) as kernel, Client(kernel.connection) as client:
        found = [*client.welcomed]
        for _ in range(10):
            found += client.run("mix")[1]
        numbers = [message.seq or 0 for message in found]
        assert all(after == before + 1 for before, after in pairwise(numbers))


def test_k9_the_first_number_is_that_of_starting() -> None:
    """K5: `starting` is sent once, and has the first number: who is subscribed before sees 1."""
    info = ConnectionInfo(transport="inproc", ip="early", key=random_key())
    context: Context = zmq.Context()
    early = context.socket(zmq.SUB)
    early.linger = 0
    early.subscribe(b"status")
    early.connect(info.with_ports({"iopub": 2}).endpoint("iopub"))
    with (
        serving(Cells(mix=mix), info, context=context) as kernel,
        Client(kernel.connection, context=context) as client,
    ):
        client.run("mix")
        client.run("mix")
        states: list[bytes] = []
        while early.poll(0):
            states.append(early.recv_multipart()[-1])
        assert states.count(b'{"execution_state":"starting"}') == 1
    early.close(0)
    context.term()


def test_metadata_of_a_message_keeps_its_place_beside_the_number() -> None:
    def show(kernel: Kernel) -> None:
        kernel.publish("display_data", {"data": {}, "metadata": {}}, {"own": 1, "kernelbridge": "not mine"})

    with serving(Cells(show=show)) as kernel, Client(kernel.connection) as client:
        shown = next(message for message in client.run("show")[1] if message.msg_type == "display_data")
        assert shown.metadata["own"] == 1
        assert shown.seq is not None


def test_k3_a_flush_returns_when_the_text_is_on_the_socket() -> None:
    """What was flushed is there while the cell still runs, well before its age would show it."""
    go = threading.Event()

    def cell(kernel: Kernel) -> None:
        kernel.write("stdout", "begun")
        kernel.flush()
        assert go.wait(DEADLINE)
        kernel.write("stdout", "end")

    with serving(Cells(cell=cell)) as kernel, Client(kernel.connection) as client:
        request = client.execute("cell")
        begun = [client.receive("iopub") for _ in range(3)]
        assert lines(begun)[-1] == "stdout 'begun'"
        go.set()
        assert lines(client.until_idle(request)) == ["stdout 'end'", "idle"]
        client.reply(request)


def test_k3_text_comes_by_itself_while_a_cell_runs_on() -> None:
    go = threading.Event()

    def cell(kernel: Kernel) -> None:
        kernel.write("stdout", "begun\n")
        assert go.wait(DEADLINE)

    with serving(Cells(cell=cell)) as kernel, Client(kernel.connection) as client:
        request = client.execute("cell")
        assert lines(client.receive("iopub") for _ in range(3))[-1] == "stdout 'begun\\n'"
        go.set()
        client.until_idle(request)


def test_k4_a_task_keeps_the_cell_that_started_it() -> None:
    started: list[asyncio.Task[None]] = []
    go = asyncio.Event()

    async def start(kernel: Kernel) -> None:
        async def work() -> None:
            await go.wait()
            kernel.write("stdout", "from the task\n")
            kernel.comms.open("target")

        started.append(asyncio.create_task(work()))

    async def other(kernel: Kernel) -> None:
        kernel.write("stdout", "before\n")
        go.set()
        await started[0]
        kernel.write("stdout", "after\n")

    with serving(Cells(start=start, other=other)) as kernel, Client(kernel.connection) as client:
        first, _ = client.run("start")
        second, messages = client.run("other")
        assert lines(messages) == [
            "busy",
            "execute_input other",
            "stdout 'before\\n'",
            "stdout 'from the task\\n'",
            "comm_open {}",
            "stdout 'after\\n'",
            "idle",
        ]
        parents = [message.parent_id for message in messages]
        own, tasks = second.parent_id, first.parent_id
        assert parents == [own, own, own, tasks, tasks, own, own]


def test_k4_a_threads_output_goes_to_the_request_that_runs_or_the_last() -> None:
    told: list[tuple[threading.Event, threading.Event]] = []

    def start(kernel: Kernel) -> None:
        def work() -> None:
            for go, done in told:
                assert go.wait(DEADLINE)
                kernel.write("stdout", "from the thread\n")
                done.set()

        told.extend((threading.Event(), threading.Event()) for _ in range(2))
        threading.Thread(target=work).start()

    def use(kernel: Kernel) -> None:
        told[0][0].set()
        assert told[0][1].wait(DEADLINE)

    with serving(Cells(start=start, use=use)) as kernel, Client(kernel.connection) as client:
        client.run("start")
        running, messages = client.run("use")
        assert lines(messages)[2:] == ["stdout 'from the thread\\n'", "idle"]
        assert messages[2].parent_id == running.parent_id
        told[1][0].set()
        late = client.receive("iopub")
        assert (late.msg_type, late.parent_id) == ("stream", running.parent_id)


def test_k4_a_thread_may_be_given_a_parent() -> None:
    first: list[Message | None] = []

    def remember(kernel: Kernel) -> None:
        first.append(kernel.request)

    def use(kernel: Kernel) -> None:
        def work() -> None:
            with kernel.parent(first[0]):
                kernel.write("stdout", "given\n")
            kernel.write("stdout", "running\n")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(DEADLINE)

    with serving(Cells(remember=remember, use=use)) as kernel, Client(kernel.connection) as client:
        one, _ = client.run("remember")
        two, messages = client.run("use")
        assert [message.parent_id for message in messages[2:]] == [one.parent_id, two.parent_id, two.parent_id]


def test_k4_a_comms_answer_may_carry_the_request_that_it_answers() -> None:
    asked: list[Message] = []

    def opened(comm: Comm, message: Message) -> None:
        comm.on_msg = asked.append

    def answer(kernel: Kernel) -> None:
        (comm,) = kernel.comms.all()
        comm.send({"answer": 1}, parent=asked[0].header)

    with serving(Cells(answer=answer)) as kernel, Client(kernel.connection) as client:
        kernel.comms.register_target("rpc", opened)
        client.until_idle(client.send("comm_open", {"comm_id": "1", "target_name": "rpc", "data": {}}))
        question = client.send("comm_msg", {"comm_id": "1", "data": {}})
        client.until_idle(question)
        _, messages = client.run("answer")
        (shown,) = [message for message in messages if message.msg_type == "comm_msg"]
        assert shown.parent_id == question.msg_id


def test_k5_idle_is_put_when_the_reply_was_handed_to_shell() -> None:
    """Who has seen the idle finds the reply on its way, each time; and busy comes before all else."""
    with serving(Cells(mix=mix)) as kernel, Client(kernel.connection) as client:
        for _ in range(50):
            request = client.execute("mix")
            messages = client.until_idle(request)
            assert [message.content["execution_state"] for message in messages if message.msg_type == "status"] == [
                "busy",
                "idle",
            ]
            client.reply(request)


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_k5_every_request_has_its_brackets(channel: str) -> None:
    with serving(Cells()) as kernel, Client(kernel.connection) as client:
        assert channel in ("shell", "control")
        reply, messages = client.ask("kernel_info_request", channel="shell" if channel == "shell" else "control")
        assert lines(messages) == ["busy", "idle"]
        assert reply.content["implementation"] == "cells"
        assert reply.content["protocol_version"] == "5.5"
        assert reply.content["status"] == "ok"


def test_k1_two_subscribers_see_the_same(tmp_path: Path) -> None:
    with (
        serving(Cells(mix=mix)) as kernel,
        Client(kernel.connection) as client,
        Client(kernel.connection, identity=b"other") as other,
    ):
        request = client.execute("mix")
        assert [m.seq for m in client.until_idle(request)][-16:] == [m.seq for m in other.until_idle(request)][-16:]
        client.reply(request)


def test_k2_many_threads_keep_their_own_order() -> None:
    threads, rounds = 4, 100

    def cell(kernel: Kernel) -> None:
        def work(thread: int) -> None:
            for number in range(rounds):
                kernel.publish("custom", {"thread": thread, "number": number})
                kernel.write("stdout", "x")

        workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(DEADLINE)

    with serving(Cells(cell=cell)) as kernel, Client(kernel.connection) as client:
        _, messages = client.run("cell")
        custom = [message.content for message in messages if message.msg_type == "custom"]
        for thread in range(threads):
            assert [item["number"] for item in custom if item["thread"] == thread] == list(range(rounds))
        text = "".join(message.content["text"] for message in messages if message.msg_type == "stream")
        assert text == "x" * threads * rounds
        assert is_idle(messages[-1])


def test_a_cell_may_put_more_than_the_queue_holds_before_anybody_is_rung() -> None:
    """Back-pressure holds it back, and the reader is woken to make room."""
    count = 20_000

    def cell(kernel: Kernel) -> None:
        for number in range(count):
            kernel.publish("custom", {"number": number})

    with serving(Cells(cell=cell)) as kernel, Client(kernel.connection) as client:
        _, messages = client.run("cell")
        assert [m.content["number"] for m in messages if m.msg_type == "custom"] == list(range(count))


def test_iopub_welcome_comes_for_each_subscription() -> None:
    """JEP 65: also for one whose topic somebody has already; it says what was subscribed to."""
    with serving(Cells()) as kernel:
        for identity in (b"one", b"two"):
            with Client(kernel.connection, identity=identity, subscribe=(b"status", b"stream", b"")) as client:
                topics = [message.content["subscription"] for message in client.welcomed]
                assert topics == ["status", "stream", ""]


def test_a_subscription_that_is_no_text_is_ignored() -> None:
    with serving(Cells(mix=mix)) as kernel, Client(kernel.connection) as client:
        client.sockets["iopub"].subscribe(b"\xff\xfe")
        for _ in range(2):
            assert lines(client.run("mix")[1]) == MIX


def test_a_subscriber_of_one_topic_gets_that_topic() -> None:
    with (
        serving(Cells(mix=mix)) as kernel,
        Client(kernel.connection) as client,
        Client(kernel.connection, identity=b"filter", subscribe=(b"comm_",)) as other,
    ):
        client.run("mix")
        assert lines(other.receive("iopub") for _ in range(3)) == MIX_COMMS


MIX_COMMS = ["comm_open {'n': 1}", "comm_msg {'n': 2}", "comm_close {'n': 3}"]
