"""Subshells (JEP 91): requests run beside the main shell's, each with its own parent (K1, K4, K5, K7, K9, K11)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kernelbridge.kernel import subshells
from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import SUBSHELL_REQUESTS, Kernel
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    comm_close,
    comm_msg,
    execute_input,
    execute_reply,
    idle,
    message,
    regex,
    reply,
    stdout,
)
from kernelbridge.wire.contents import CompleteReply, CompleteRequest
from kernelbridge.wire.messages import Message
from tests.support.exchange import ask, run
from tests.support.kernels import Cells
from tests.support.subshells import HELLO, WAITS, Beside, begun, create, delete, ended, listed, run_in


@pytest.fixture
def handler() -> Beside:
    return Beside()


@pytest.fixture
def client(handler: Beside) -> Iterator[ProtocolClient]:
    with ProtocolClient(handler) as client:
        yield client


# --- who has subshells ----------------------------------------------------------------------------------------------


def features(client: ProtocolClient) -> list[str]:
    return list(ask(client, "kernel_info").content["supported_features"])


def test_a_language_says_whether_it_can_run_beside_itself(client: ProtocolClient) -> None:
    assert "kernel subshells" in features(client)
    with ProtocolClient(Cells()) as other:
        assert "kernel subshells" not in features(other)


def test_a_kernel_without_subshells_answers_nothing_about_them_and_ignores_the_field() -> None:
    """'Kernels not supporting subshells' in JEP 91."""
    with ProtocolClient(Cells(hello=lambda kernel: kernel.write("stdout", "hello\n"))) as client:
        for msg_type in SUBSHELL_REQUESTS:
            request = client.send(msg_type, subshell_id="nonesuch")
            client.iopub.expect(busy(), idle(), parent=request)
        run_in(client, "nonesuch", "hello", HELLO)


def test_they_are_created_listed_and_deleted(client: ProtocolClient) -> None:
    assert listed(client) == []
    one, two = create(client), create(client)
    assert listed(client) == [one, two]
    delete(client, one)
    assert listed(client) == [two]
    run_in(client, two, "hello", HELLO)


def test_what_is_not_there_cannot_be_deleted(client: ProtocolClient) -> None:
    request = client.send("delete_subshell_request", subshell_id="nonesuch")
    client.iopub.expect(busy(), idle(), parent=request)
    client.control.expect(reply("delete_subshell", status="error", evalue=regex("'nonesuch'")), parent=request)
    faulty = client.send("delete_subshell_request")
    client.iopub.expect(busy(), idle(), parent=faulty)
    client.control.expect(reply("delete_subshell", status="error", evalue=regex("'subshell_id'")), parent=faulty)


def test_when_the_system_gives_no_thread_the_reply_says_so(
    client: ProtocolClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(subshells.Subshell, "start", refuse)
    request = client.send("create_subshell_request")
    client.iopub.expect(busy(), idle(), parent=request)
    client.control.expect(reply("create_subshell", status="error", evalue="can't start new thread"), parent=request)
    assert listed(client) == []


# --- beside each other ----------------------------------------------------------------------------------------------


def test_k4_k5_a_cell_of_a_subshell_runs_while_the_main_shells_does(handler: Beside, client: ProtocolClient) -> None:
    handler.cells["open"] = lambda kernel: handler.go.set()
    subshell = create(client)
    main = begun(client, "wait", None, WAITS)
    # Only this lets the main shell's cell end.
    run_in(client, subshell, "open")
    ended(client, main)


def test_the_main_shells_cell_runs_while_a_subshells_does(handler: Beside, client: ProtocolClient) -> None:
    side = begun(client, "wait", create(client), WAITS)
    run_in(client, None, "hello", HELLO)
    handler.go.set()
    ended(client, side)


def test_two_subshells_and_the_main_shell_run_at_the_same_time() -> None:
    everybody = threading.Barrier(3)

    def meet(kernel: Kernel) -> None:
        everybody.wait(DEADLINE)

    with ProtocolClient(Beside(meet=meet)) as client:
        requests = [client.execute("meet", subshell=where) for where in (None, create(client), create(client))]
        counts = []
        for request in requests:
            (_, shown, _) = client.iopub.of(request).expect(busy(), execute_input("meet"), idle())
            (replied,) = client.shell.of(request).expect(execute_reply())
            assert replied.content["execution_count"] == shown.content["execution_count"]
            counts.append(replied.content["execution_count"])
        # Each execution has a number of its own.
        assert sorted(counts) == [1, 2, 3]


def test_an_execution_that_starts_over_takes_no_number_from_one_that_came_since(
    handler: Beside, client: ProtocolClient
) -> None:
    def starts_over(kernel: Kernel) -> None:
        handler.cells["wait"](kernel)
        kernel.count_back(1, 0)

    handler.cells["starts over"] = starts_over
    main = begun(client, "starts over", None, WAITS)
    assert run_in(client, create(client), "hello", HELLO).content["execution_count"] == 2
    handler.go.set()
    ended(client, main)
    assert run(client, "hello", HELLO).content["execution_count"] == 3
    handler.cells["starts over"] = lambda kernel: kernel.count_back(4, 0)
    run(client, "starts over")
    assert run(client, "hello", HELLO).content["execution_count"] == 1


def test_the_requests_of_one_subshell_have_their_turn_in_order(handler: Beside, client: ProtocolClient) -> None:
    subshell = create(client)
    first = begun(client, "wait", subshell, WAITS)
    second = client.execute("hello", subshell=subshell)
    info = client.send("kernel_info_request", subshell=subshell)
    comm = client.send("comm_msg", {"comm_id": "none", "data": {}}, subshell=subshell)
    # The main shell's is answered meanwhile; it was sent behind them.
    run_in(client, None, "hello", HELLO)
    handler.go.set()
    ended(client, first)
    client.iopub.expect(busy(), execute_input("hello"), HELLO, idle(), parent=second)
    client.iopub.expect(busy(), idle(), parent=info)
    client.iopub.expect(busy(), idle(), parent=comm)
    client.shell.expect(execute_reply(parent=second), reply("kernel_info", parent=info))


def test_each_has_a_thread_and_a_loop_of_its_own() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def loop(kernel: Kernel) -> None:
        loops.append(asyncio.get_running_loop())

    with ProtocolClient(Beside(loop=loop)) as client:
        shells = [None, create(client), create(client)]
        for where in [*shells, *shells]:
            run_in(client, where, "loop")
        for subshell in shells[1:]:
            assert subshell is not None
            run_in(client, subshell, "thread", stdout(f"kernelbridge-subshell-{subshell}"))
    assert loops[:3] == loops[3:]
    assert len(set(loops)) == 3


def test_questions_are_answered_beside_a_running_cell() -> None:
    class Completing(Beside):
        def complete(self, request: CompleteRequest) -> CompleteReply:
            return CompleteReply(matches=[request.code], cursor_start=0, cursor_end=1)

    handler = Completing()
    with ProtocolClient(handler) as client:
        subshell = create(client)
        main = begun(client, "wait", None, WAITS)
        for name in ("complete", "inspect", "is_complete", "history"):
            content = {"code": "a", "cursor_pos": 1, "hist_access_type": "tail", "output": False, "raw": True}
            request = client.send(f"{name}_request", content, subshell=subshell)
            client.iopub.expect(busy(), idle(), parent=request)
            fields: dict[str, Any] = {"matches": ["a"]} if name == "complete" else {}
            client.shell.expect(reply(name, **fields), parent=request)
        handler.go.set()
        ended(client, main)


def test_one_that_is_not_there_is_an_error_at_once(handler: Beside, client: ProtocolClient) -> None:
    """As ipykernel answers it (ipykernel#1557)."""
    main = begun(client, "wait", None, WAITS)
    request = client.execute("hello", subshell="nonesuch")
    client.iopub.expect(busy(), idle(), parent=request)
    says = execute_reply("error", evalue=regex("'subshell_id' names no subshell: 'nonesuch'"), execution_count=1)
    client.shell.expect(says, parent=request)
    comm = client.send("comm_msg", {"comm_id": "c", "data": {}}, subshell="nonesuch")
    client.iopub.expect(busy(), idle(), parent=comm)
    handler.go.set()
    ended(client, main)


# --- parents --------------------------------------------------------------------------------------------------------


def test_k4_comm_messages_are_handled_in_their_subshell_with_their_own_parent(
    handler: Beside, client: ProtocolClient
) -> None:
    """The case of ipykernel#1564: the main shell's cell runs meanwhile, and nothing of either shows with the other."""
    subshell = create(client)

    def opened(comm: Comm, opening: Message) -> None:
        def said(message: Message) -> None:
            handler.kernel.write("stdout", threading.current_thread().name)
            comm.send({"heard": message.content["data"]})

        comm.on_msg = said
        comm.on_close = said

    handler.kernel.comms.register_target("t", opened)
    main = begun(client, "wait", None, WAITS)
    comm = {"comm_id": "c", "target_name": "t", "data": {"n": 1}}
    opening = client.send("comm_open", comm, subshell=subshell)
    client.iopub.expect(busy(), idle(), parent=opening)
    for msg_type in ("comm_msg", "comm_close"):
        said = client.send(msg_type, {"comm_id": "c", "data": {"n": 1}}, subshell=subshell)
        shown = stdout(f"kernelbridge-subshell-{subshell}"), comm_msg({"heard": {"n": 1}}, comm_id="c")
        client.iopub.expect(busy(), *shown, idle(), parent=said)
    refused = client.send("comm_open", {**comm, "target_name": "nonesuch"}, subshell=subshell)
    client.iopub.expect(busy(), comm_close(comm_id="c"), idle(), parent=refused)
    handler.go.set()
    ended(client, main)


def test_k4_a_task_of_a_subshell_keeps_the_cell_that_started_it() -> None:
    handler = Beside()

    async def start(kernel: Kernel) -> None:
        async def work() -> None:
            await asyncio.to_thread(handler.go.wait, DEADLINE)
            kernel.write("stdout", "from the task\n")

        tasks.append(asyncio.create_task(work()))

    async def use(kernel: Kernel) -> None:
        kernel.write("stdout", "before\n")
        handler.go.set()
        await tasks[0]
        kernel.write("stdout", "after\n")

    tasks: list[asyncio.Task[None]] = []
    handler.cells |= {"start": start, "use": use}
    with ProtocolClient(handler) as client:
        subshell = create(client)
        start_request = begun(client, "start", subshell)
        ended(client, start_request)
        request = client.execute("use", subshell=subshell)
        client.iopub.expect(
            busy(parent=request),
            execute_input("use", parent=request),
            stdout("before\n", parent=request),
            stdout("from the task\n", parent=start_request),
            stdout("after\n", parent=request),
            idle(parent=request),
        )
        client.shell.expect(execute_reply(parent=request))


def from_a_thread(say: Callable[[], None]) -> None:
    thread = threading.Thread(target=say)
    thread.start()
    thread.join(DEADLINE)


def test_k4_a_plain_threads_output_goes_to_the_main_shells_cell_while_one_runs() -> None:
    def write(kernel: Kernel) -> None:
        from_a_thread(lambda: kernel.write("stdout", "thread\n"))

    handler = Beside(write=write)
    with ProtocolClient(handler) as client:
        subshell = create(client)
        # Nothing else runs: it is the subshell's.
        run_in(client, subshell, "write", stdout("thread\n"))
        main = begun(client, "wait", None, WAITS)
        run_in(client, subshell, "write")
        client.iopub.expect(stdout("thread\n"), parent=main)
        handler.go.set()
        ended(client, main)
        # What ran last: the main shell's own, and then again the subshell's.
        from_a_thread(lambda: handler.kernel.write("stdout", "late\n"))
        client.iopub.expect(stdout("late\n"), parent=main)
        run_in(client, subshell, "write", stdout("thread\n"))


def test_k1_k9_what_all_of_them_put_at_once_is_in_one_order_and_each_in_its_own() -> None:
    """The client holds that the numbers have no gap."""

    def count(kernel: Kernel) -> None:
        for number in range(100):
            kernel.write("stdout", f"{number}\n")
            kernel.publish("tick", {"number": number})

    with ProtocolClient(Beside(count=count)) as client:
        requests = [client.execute("count", subshell=where) for where in (None, create(client), create(client))]
        for request in requests:
            shown = [one for n in range(100) for one in (stdout(f"{n}\n"), message("tick", number=n))]
            client.iopub.of(request).expect(busy(), execute_input("count"), *shown, idle())
            client.shell.of(request).expect(execute_reply())


def test_a_kernel_that_uses_no_subshell_has_none_of_it(handler: Beside, client: ProtocolClient) -> None:
    before = threading.active_count()
    run(client, "hello", HELLO)
    assert threading.active_count() == before
    assert handler.kernel._subshells is None
