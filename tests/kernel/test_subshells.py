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
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    message,
    regex,
    reply,
    stdout,
)
from kernelbridge.wire.contents import CompleteReply, CompleteRequest
from kernelbridge.wire.messages import Message
from tests.support.exchange import ask, run
from tests.support.kernels import Cell, Cells, serving
from tests.support.subshells import begun, create, delete, ended, listed, run_in


class Beside(Cells):
    """A language whose cells can run beside each other.

    Beside the cells that it is given it has ``wait``, which shows that it runs and waits for `go`; ``later``, the same
    in a coroutine; ``hello``; ``ask``, for input; and ``thread``, which is the name of the one it runs on.
    """

    subshells = True

    def __init__(self, **cells: Cell) -> None:
        super().__init__(
            wait=self._wait,
            later=self._later,
            hello=lambda kernel: kernel.write("stdout", "hello\n"),
            ask=lambda kernel: kernel.write("stdout", kernel.input("? ")),
            thread=lambda kernel: kernel.write("stdout", threading.current_thread().name),
        )
        self.cells |= cells
        self.go = threading.Event()

    def _wait(self, kernel: Kernel) -> None:
        kernel.write("stdout", "waits\n")
        assert self.go.wait(DEADLINE)

    async def _later(self, kernel: Kernel) -> None:
        kernel.write("stdout", "waits\n")
        await asyncio.Event().wait()


WAITS = stdout("waits\n")
HELLO = stdout("hello\n")


@pytest.fixture
def handler() -> Beside:
    return Beside()


@pytest.fixture
def client(handler: Beside) -> Iterator[ProtocolClient]:
    with ProtocolClient(handler) as client:
        yield client


def threads_of(subshell: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if subshell in thread.name]


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


# --- errors, deletions, interrupts, the end -------------------------------------------------------------------------


def test_k11_an_error_aborts_what_waits_in_its_own_subshell_only(handler: Beside, client: ProtocolClient) -> None:
    fails = threading.Event()

    def fail(kernel: Kernel) -> None:
        assert fails.wait(DEADLINE)
        raise ValueError("as you wished")

    handler.cells["fail"] = fail
    subshell, other = create(client), create(client)
    main = begun(client, "wait", None, WAITS)
    waits = client.execute("hello")
    failing = begun(client, "fail", subshell)
    aborted = client.execute("hello", subshell=subshell)
    # Shell has read that one when it has answered this.
    run_in(client, other, "hello", HELLO)
    fails.set()
    client.iopub.expect(error("ValueError"), idle(), parent=failing)
    client.iopub.expect(busy(), idle(), parent=aborted)
    client.shell.expect(execute_reply("error", parent=failing), execute_reply("aborted", parent=aborted))
    run_in(client, subshell, "hello", HELLO)
    handler.go.set()
    ended(client, main)
    client.iopub.expect(busy(), execute_input("hello"), HELLO, idle(), parent=waits)
    client.shell.expect(execute_reply(parent=waits))


def test_k11_what_runs_when_a_subshell_is_deleted_goes_on_and_what_waits_is_aborted(
    handler: Beside, client: ProtocolClient
) -> None:
    subshell = create(client)
    (thread,) = threads_of(subshell)
    runs = begun(client, "wait", subshell, WAITS)
    cell = client.execute("hello", subshell=subshell)
    question = client.send("complete_request", {"code": "a", "cursor_pos": 1}, subshell=subshell)
    comm = client.send("comm_msg", {"comm_id": "c", "data": {}}, subshell=subshell)
    info = client.send("kernel_info_request", subshell=subshell)
    # Shell has read them when it has answered this.
    run_in(client, None, "hello", HELLO)
    delete(client, subshell)
    late = client.execute("hello", subshell=subshell)
    client.iopub.expect(busy(), idle(), parent=late)
    client.shell.expect(execute_reply("error", evalue=regex("names no subshell")), parent=late)
    handler.go.set()
    ended(client, runs)
    for request in (cell, question, comm, info):
        client.iopub.expect(busy(), idle(), parent=request)
    client.shell.expect(execute_reply("aborted", parent=cell), reply("complete", status="aborted", parent=question))
    client.shell.expect(reply("kernel_info", status="ok"), parent=info)
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_the_thread_of_one_that_rests_ends_when_it_is_deleted(client: ProtocolClient) -> None:
    subshell = create(client)
    (thread,) = threads_of(subshell)
    run_in(client, subshell, "hello", HELLO)
    delete(client, subshell)
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_one_that_is_deleted_while_a_comm_message_is_handled_ends(handler: Beside, client: ProtocolClient) -> None:
    """Nobody waits for the end of a comm message, so nobody but the deletion makes Shell hear of it."""
    client_of: dict[str, Comm] = {}
    handler.kernel.comms.register_target("t", lambda comm, message: client_of.update(one=comm))
    client.send("comm_open", {"comm_id": "c", "target_name": "t", "data": {}})
    client.iopub.expect(busy(), idle())
    client_of["one"].on_msg = lambda message: handler._wait(handler.kernel)
    subshell = create(client)
    (thread,) = threads_of(subshell)
    said = client.send("comm_msg", {"comm_id": "c", "data": {}}, subshell=subshell)
    client.iopub.expect(busy(), WAITS, parent=said)
    delete(client, subshell)
    # When Control has answered this, Shell has heard of the deletion, or will before it sleeps again.
    assert listed(client) == []
    handler.go.set()
    client.iopub.expect(idle(), parent=said)
    thread.join(DEADLINE)
    assert not thread.is_alive()


def interrupt(client: ProtocolClient) -> None:
    request = client.send("interrupt_request")
    client.control.of(request).expect(reply("interrupt", status="ok"))
    client.iopub.of(request).expect(busy(), idle())


INTERRUPTED: dict[str, Any] = {"replied": execute_reply("error", ename="KeyboardInterrupt")}


def test_an_interrupt_is_for_all_shells(client: ProtocolClient) -> None:
    """'Interrupts are handled at the kernel level' in JEP 91: here whatever can be interrupted is."""
    shells = [None, create(client), create(client)]
    requests = [begun(client, "later", where, WAITS) for where in shells]
    interrupt(client)
    for request in requests:
        ended(client, request, error("KeyboardInterrupt"), **INTERRUPTED)
    for where in shells:
        run_in(client, where, "hello", HELLO)


def test_k7_each_asks_for_input_by_itself_and_an_interrupt_ends_all(client: ProtocolClient) -> None:
    shells = [None, create(client), create(client)]
    for answers in (True, False):
        requests = [begun(client, "ask", where) for where in shells]
        prompts = [client.stdin.of(request).expect(input_request("? "))[0] for request in requests]
        if answers:
            for prompt, request, answer in [*zip(prompts, requests, "abc", strict=True)][::-1]:
                client.answer(answer, prompt)
                ended(client, request, stdout(answer))
        else:
            interrupt(client)
            for request in requests:
                ended(client, request, error("KeyboardInterrupt"), **INTERRUPTED)


def test_what_computes_in_a_subshell_goes_on_after_an_interrupt(handler: Beside, client: ProtocolClient) -> None:
    """Python interrupts the main thread only, and ipykernel no other either."""
    side = begun(client, "wait", create(client), WAITS)
    interrupt(client)
    handler.go.set()
    ended(client, side)


def test_a_shutdown_ends_what_awaits_in_subshells_and_their_threads() -> None:
    with ProtocolClient(Beside()) as client:
        subshell = create(client)
        side = begun(client, "later", subshell, WAITS)
        request = client.send("shutdown_request", restart=False)
        client.iopub.of(request).expect(busy(), message("shutdown_reply"), idle())
        client.control.expect(reply("shutdown", status="ok"), parent=request)
        ended(client, side, error("KeyboardInterrupt"), **INTERRUPTED)
        client.expect_end()
        assert not threads_of(subshell)


def test_a_stop_does_not_wait_for_what_computes_in_a_subshell(
    handler: Beside, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subshells, "STOP_SECONDS", 0.0)
    with ProtocolClient(handler) as client:
        subshell = create(client)
        side = begun(client, "wait", subshell, WAITS)
        handler.kernel.stop()
        client.expect_end()
        assert client.iopub.of(side).unread == []
    (left,) = threads_of(subshell)
    assert f"subshell {subshell} still runs" in caplog.text
    handler.go.set()
    left.join(DEADLINE)
    assert not left.is_alive()


def test_at_the_kernels_end_what_computes_in_a_subshell_is_given_up_once(
    handler: Beside, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the language stops, and not once more when the channels do."""
    monkeypatch.setattr(subshells, "STOP_SECONDS", 0.0)
    with ProtocolClient(handler) as client:
        subshell = create(client)
        begun(client, "wait", subshell, WAITS)
        handler.kernel.end()
        client.expect_end()
        assert caplog.text.count("still runs") == 1
        (left,) = threads_of(subshell)
        handler.go.set()
        left.join(DEADLINE)


def test_a_cell_of_a_subshell_can_stop_the_kernel() -> None:
    with serving(Beside(stop=lambda kernel: kernel.stop())) as kernel, ProtocolClient(kernel) as client:
        subshell = create(client)
        (thread,) = threads_of(subshell)
        client.execute("stop", subshell=subshell)
        client.expect_end()
        client.read_all()
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.mark.parametrize("leave", [SystemExit, KeyboardInterrupt])
def test_a_task_that_exits_in_a_subshell_ends_only_itself(leave: type[BaseException]) -> None:
    async def start(kernel: Kernel) -> None:
        async def fail() -> None:
            raise leave

        asyncio.get_running_loop().call_soon(asyncio.create_task, fail())

    with ProtocolClient(Beside(start=start)) as client:
        subshell = create(client)
        run_in(client, subshell, "start")
        run_in(client, subshell, "hello", HELLO)
        run_in(client, None, "hello", HELLO)


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
