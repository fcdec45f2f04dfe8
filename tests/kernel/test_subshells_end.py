"""What ends in subshells (JEP 91): errors, deletions, interrupts, the kernel (K7, K11)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kernelbridge.kernel import subshells
from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
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
from tests.support.kernels import serving
from tests.support.subshells import HELLO, WAITS, Beside, begun, create, delete, ended, listed, run_in, threads_of


@pytest.fixture
def handler() -> Beside:
    return Beside()


@pytest.fixture
def client(handler: Beside) -> Iterator[ProtocolClient]:
    with ProtocolClient(handler) as client:
        yield client


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
