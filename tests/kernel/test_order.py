"""A whole kernel over real sockets keeps the order contract (K1-K6, K9), message by message."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import zmq

from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    ANY,
    DEADLINE,
    Matcher,
    ProtocolClient,
    busy,
    clear_output,
    comm_close,
    comm_msg,
    comm_open,
    display,
    execute_input,
    execute_reply,
    idle,
    iopub_welcome,
    message,
    result,
    stderr,
    stdout,
)
from kernelbridge.wire.connection import ConnectionInfo, random_key
from kernelbridge.wire.messages import Message
from tests.support.exchange import ask, run
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
    stdout("one\n"),
    comm_open("target", {"n": 1}),
    stdout("two\n"),
    comm_msg({"n": 2}),
    stderr("three\n"),
    stdout("four\n"),
    display("five"),
    comm_close({"n": 3}),
    stdout("six\n"),
    clear_output(wait=False),
    message("custom_type"),
    result("seven", execution_count=1),
    stdout("eight\n"),
]
MIX_CELL = [busy(), execute_input("mix"), *MIX, idle()]


def test_k1_k2_k5_what_a_cell_shows_comes_in_the_order_of_the_program(wired: tuple[ConnectionInfo, Context]) -> None:
    """On every transport: brackets around, nothing overtakes anything, neighbouring writes are one message."""
    info, context = wired
    with (
        serving(Cells(mix=mix), info, context=context) as kernel,
        ProtocolClient(kernel, context=context) as client,
    ):
        for _ in range(20):
            request = client.execute("mix")
            found = client.iopub.expect(*MIX_CELL, parent=request)
            client.shell.expect(execute_reply(parent=request))
            # Two numbers for "six" and its end of line would be two messages.
            first = found[0].seq or 0
            assert [message.seq for message in found] == list(range(first, first + len(MIX_CELL)))


def test_k9_numbers_are_gapless_from_1_on() -> None:
    """K5: `starting` is sent once. Who is subscribed before sees it, and the number 1."""
    with ProtocolClient(Cells(mix=mix), settle=False) as client:
        found = client.iopub.expect(message(ANY), message(ANY), parent=None)
        # Which of the two is first is up to the kernel.
        assert {each.content.get("execution_state", each.msg_type) for each in found} == {"starting", "iopub_welcome"}
        for _ in range(2):
            found += client.iopub.expect(*MIX_CELL, parent=client.execute("mix"))
            client.shell.expect(execute_reply())
        assert [each.seq for each in found] == list(range(1, len(found) + 1))


def test_k9_metadata_of_a_message_keeps_its_place_beside_the_number() -> None:
    def show(kernel: Kernel) -> None:
        kernel.publish("custom", {}, {"own": 1, "kernelbridge": "not mine"})

    with ProtocolClient(Cells(show=show)) as client:
        run(client, "show", message("custom", metadata={"own": 1, "kernelbridge": {"seq": ANY}}))


def test_what_is_displayed_has_its_own_metadata() -> None:
    def show(kernel: Kernel) -> None:
        kernel.display({"image/png": "x"}, {"image/png": {"width": 1}})
        kernel.result({"image/png": "y"}, 7, {"image/png": {"width": 2}})

    with ProtocolClient(Cells(show=show)) as client:
        request = client.execute("show")
        shown = [display({"image/png": "x"}), result({"image/png": "y"}, execution_count=7)]
        _, _, *found, _ = client.iopub.expect(busy(), execute_input("show"), *shown, idle(), parent=request)
        client.shell.expect(execute_reply(parent=request))
    assert [each.content["metadata"]["image/png"]["width"] for each in found] == [1, 2]


def test_k3_a_flush_returns_when_the_text_is_on_the_socket() -> None:
    """What was flushed is there while the cell still runs, well before its age would show it."""
    flushed, go = threading.Semaphore(0), threading.Semaphore(0)

    def cell(kernel: Kernel) -> None:
        kernel.write("stdout", "begun")
        kernel.flush()
        flushed.release()
        assert go.acquire(timeout=DEADLINE)
        kernel.write("stdout", "end")

    with ProtocolClient(Cells(cell=cell)) as client:
        for _ in range(20):
            request = client.execute("cell")
            assert flushed.acquire(timeout=DEADLINE)
            # Inside of one process, what is on the socket can be read at once.
            client.deadline = 0
            client.iopub.expect(busy(), execute_input("cell"), stdout("begun"), parent=request)
            client.deadline = DEADLINE
            go.release()
            client.iopub.expect(stdout("end"), idle(), parent=request)
            client.shell.expect(execute_reply())


def test_k3_text_comes_by_itself_while_a_cell_runs_on() -> None:
    go = threading.Event()

    def cell(kernel: Kernel) -> None:
        kernel.write("stdout", "begun\n")
        assert go.wait(DEADLINE)

    with ProtocolClient(Cells(cell=cell)) as client:
        request = client.execute("cell")
        client.iopub.expect(busy(), execute_input("cell"), stdout("begun\n"), parent=request)
        go.set()
        client.iopub.expect(idle(parent=request))
        client.shell.expect(execute_reply())


def test_k4_a_task_keeps_the_cell_that_started_it() -> None:
    """K3: neighbouring texts of two parents are two messages."""
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

    with ProtocolClient(Cells(start=start, other=other)) as client:
        first = run(client, "start").parent_id
        run(
            client,
            "other",
            stdout("before\n"),
            stdout("from the task\n", parent=first),
            comm_open("target", parent=first),
            stdout("after\n"),
        )


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

    with ProtocolClient(Cells(start=start, use=use)) as client:
        run(client, "start")
        running = run(client, "use", stdout("from the thread\n"))
        # A completion shows nothing anywhere: what a thread prints is not its.
        ask(client, "complete", {"code": "x", "cursor_pos": 1})
        told[1][0].set()
        client.iopub.expect(stdout("from the thread\n", parent=running.parent_id))


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

    with ProtocolClient(Cells(remember=remember, use=use)) as client:
        one = run(client, "remember")
        run(client, "use", stdout("given\n", parent=one.parent_id), stdout("running\n"))


def test_k4_a_comms_answer_may_carry_the_request_that_it_answers() -> None:
    asked: list[Message] = []

    def opened(comm: Comm, message: Message) -> None:
        comm.on_msg = asked.append

    def answer(kernel: Kernel) -> None:
        (comm,) = kernel.comms.all()
        comm.send({"answer": 1}, parent=asked[0].header)

    handler = Cells(answer=answer)
    with ProtocolClient(handler) as client:
        handler.kernel.comms.register_target("rpc", opened)
        opening = client.send("comm_open", comm_id="1", target_name="rpc", data={})
        question = client.send("comm_msg", comm_id="1", data={})
        client.iopub.expect(busy(), idle(), parent=opening)
        client.iopub.expect(busy(), idle(), parent=question)
        run(client, "answer", comm_msg({"answer": 1}, comm_id="1", parent=question))


@pytest.mark.parametrize(
    ("msg_type", "content", "channel"),
    [
        ("execute_request", {"code": "quiet", "silent": True}, "shell"),
        ("execute_request", {"code": "fail", "silent": True}, "shell"),
        ("execute_request", {}, "shell"),
        ("complete_request", {"code": "", "cursor_pos": 0}, "shell"),
        ("kernel_info_request", {}, "shell"),
        ("kernel_info_request", {}, "control"),
        ("interrupt_request", {}, "control"),
    ],
)
def test_k5_idle_is_put_when_the_reply_was_handed_to_shell(
    monkeypatch: pytest.MonkeyPatch, msg_type: str, content: dict[str, Any], channel: Literal["shell", "control"]
) -> None:
    """Who has seen the idle has the reply: here the kernel does nothing more until the frontend has looked."""
    looked = threading.Event()

    def fail(kernel: Kernel) -> None:
        raise ValueError("as you wished")

    handler = Cells(quiet=lambda kernel: None, fail=fail)
    with ProtocolClient(handler) as client:
        publish = handler.kernel.outputs.publish

        def and_wait(msg_type: str, content: Any, *more: Any, **options: Any) -> None:
            publish(msg_type, content, *more, **options)
            if b"idle" in content:
                assert looked.wait(DEADLINE)

        monkeypatch.setattr(handler.kernel.outputs, "publish", and_wait)
        request = client.send(msg_type, content, channel=channel)
        try:
            client.iopub.expect(busy(), idle(), parent=request)
            # Inside of one process, what was handed to the socket can be read at once.
            client.deadline = 0
            replies = client.shell if channel == "shell" else client.control
            replies.expect(message(msg_type.replace("request", "reply"), parent=request))
            client.deadline = DEADLINE
        finally:
            looked.set()


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_k5_every_request_has_its_brackets(channel: Literal["shell", "control"]) -> None:
    with ProtocolClient(Cells()) as client:
        ask(client, "kernel_info", channel=channel, implementation="cells", protocol_version="5.5")


def test_k1_two_subscribers_see_the_same() -> None:
    with (
        serving(Cells(mix=mix)) as kernel,
        ProtocolClient(kernel) as client,
        ProtocolClient(kernel) as other,
    ):
        client.iopub.expect(iopub_welcome())
        request = client.execute("mix")
        client.shell.expect(execute_reply(parent=request))
        one, two = (each.iopub.expect(*MIX_CELL, parent=request) for each in (client, other))
        assert [(each.msg_id, each.seq) for each in one] == [(each.msg_id, each.seq) for each in two]


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

    with ProtocolClient(Cells(cell=cell)) as client:
        request = client.execute("cell")
        client.iopub.expect(busy(), execute_input("cell"), parent=request)
        found: list[Message] = []
        while not found or found[-1].msg_type != "status":
            found += client.iopub.expect(message(ANY, parent=request))
        client.shell.expect(execute_reply())
    assert found.pop().content == {"execution_state": "idle"}
    for thread in range(threads):
        assert [each.content["number"] for each in found if each.content.get("thread") == thread] == list(range(rounds))
    assert "".join(each.content.get("text", "") for each in found) == "x" * threads * rounds


def test_k2_between_threads_the_order_is_that_of_the_puts() -> None:
    """Here two take turns."""
    rounds = 50

    def cell(kernel: Kernel) -> None:
        turns = [threading.Semaphore(1), threading.Semaphore(0)]

        def work(thread: int) -> None:
            for number in range(rounds):
                assert turns[thread].acquire(timeout=DEADLINE)
                kernel.write("stdout", f"{number}.{thread}\n")
                kernel.publish("custom", {"number": number, "thread": thread})
                kernel.write("stdout", "-")
                turns[1 - thread].release()

        other = threading.Thread(target=work, args=(1,))
        other.start()
        work(0)
        other.join(DEADLINE)

    shown: list[Matcher] = []
    for number in range(rounds):
        for thread in (0, 1):
            shown += [stdout(f"{number}.{thread}\n"), message("custom", number=number, thread=thread), stdout("-")]
    with ProtocolClient(Cells(cell=cell)) as client:
        run(client, "cell", *shown)


def test_a_cell_may_put_more_than_the_queue_holds_before_anybody_is_rung() -> None:
    """Back-pressure holds it back, and the reader is woken to make room."""
    count = 10_000

    def cell(kernel: Kernel) -> None:
        for number in range(count):
            kernel.publish("custom", {"number": number})

    with ProtocolClient(Cells(cell=cell)) as client:
        run(client, "cell", *(message("custom", number=number) for number in range(count)))


def test_iopub_welcome_comes_for_each_subscription() -> None:
    """JEP 65: also for one whose topic somebody has already; it says what was subscribed to."""
    topics = ["status", "stream", ""]
    with (
        serving(Cells()) as kernel,
        ProtocolClient(kernel) as first,
        ProtocolClient(kernel, topics=topics, settle=False) as second,
    ):
        for client in (first, second):
            client.iopub.expect(*map(iopub_welcome, topics), parent=None)


def test_a_subscription_that_is_no_text_is_ignored() -> None:
    with ProtocolClient(Cells(mix=mix)) as client:
        client.subscribe(b"\xff\xfe")
        client.subscribe("stream")
        client.iopub.expect(iopub_welcome("stream"))
        run(client, "mix", *MIX)


def test_a_subscriber_of_one_topic_gets_that_topic() -> None:
    with serving(Cells(mix=mix)) as kernel, ProtocolClient(kernel, topics=["comm_"]) as client:
        request = client.execute("mix")
        client.iopub.expect(comm_open("target"), comm_msg({"n": 2}), comm_close({"n": 3}), parent=request)
        client.shell.expect(execute_reply(parent=request))
