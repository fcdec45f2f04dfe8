"""Whose turn it is on Shell: the rules of the module's docstring, and aborts (K5, K6, K11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelbridge.kernel.router import Request
from kernelbridge.kernel.shell import COMM_TYPES, Answer, Run, ShellCore
from kernelbridge.wire.errors import ContentError
from kernelbridge.wire.messages import Header, Message

RUN = ["execute_request", "complete_request", "inspect_request", "is_complete_request", "history_request"]
ANSWERED = ["kernel_info_request", "comm_info_request", "shutdown_request", "nonesuch_request"]


def request(msg_type: str, msg_id: str = "1", fault: bool = False) -> Request:
    return Request(Message(Header(msg_id, msg_type), {}), {}, ContentError(msg_type, "a", "is b") if fault else None)


def test_a_request_runs_and_the_next_waits_for_its_end() -> None:
    core, first, second = ShellCore(), request("execute_request"), request("execute_request")
    assert core.received(first) == [Run([first])]
    assert core.received(second) == []
    assert core.finished(failed=False) == [Run([second])]
    assert core.finished(failed=False) == []


@pytest.mark.parametrize("msg_type", ANSWERED)
def test_what_needs_no_language_is_answered_here_and_has_its_turn(msg_type: str) -> None:
    core, cell, info = ShellCore(), request("execute_request"), request(msg_type)
    assert core.received(info) == [Answer(info)]
    core.received(cell)
    assert core.received(info) == []
    assert core.finished(failed=False) == [Answer(info)]


def test_a_faulty_request_is_answered_and_never_runs() -> None:
    core, faulty = ShellCore(), request("execute_request", fault=True)
    assert core.received(faulty) == [Answer(faulty)]


def test_a_row_of_comm_messages_runs_at_once_with_the_request_behind_it() -> None:
    core, cell = ShellCore(), request("execute_request")
    core.received(cell)
    row = [request("comm_open"), request("comm_msg"), request("comm_close"), request("execute_request")]
    for one in [*row, request("comm_msg")]:
        assert core.received(one) == []
    assert core.finished(failed=False) == [Run(row)]


def test_k11_a_failure_aborts_the_executions_that_wait_and_nothing_else() -> None:
    core = ShellCore()
    core.received(request("execute_request"))
    waiting = [
        request(name) for name in ("execute_request", "comm_msg", "complete_request", "execute_request", "comm_open")
    ]
    for one in waiting:
        core.received(one)
    first, comm, completion, second, opening = waiting
    assert core.finished(failed=True) == [Answer(first), Run([comm, completion])]
    assert first.aborted
    assert second.aborted
    assert not completion.aborted
    assert core.finished(failed=False) == [Answer(second), Run([opening])]


def test_k11_what_comes_after_a_failure_runs() -> None:
    core, later = ShellCore(), request("execute_request")
    core.received(request("execute_request"))
    assert core.finished(failed=True) == []
    assert core.received(later) == [Run([later])]


@given(
    st.lists(
        st.tuples(st.sampled_from([*RUN, *COMM_TYPES, *ANSWERED]), st.booleans())
        | st.sampled_from(["finished", "failed"])
    )
)
def test_every_request_has_its_turn_once_in_the_order_of_arrival(events: list[tuple[str, bool] | str]) -> None:
    core, running = ShellCore(), False
    arrived: list[Request] = []
    had_turn: list[Request] = []

    def follow(turns: list[Run | Answer]) -> None:
        nonlocal running
        for turn in turns:
            # One at a time: nothing has its turn while something runs.
            assert not running
            if isinstance(turn, Run):
                running = True
                had_turn.extend(turn.requests)
                # Only the last may have a reply, and what must not run does not.
                assert all(one.msg_type in COMM_TYPES for one in turn.requests[:-1])
                assert not any(one.aborted or one.fault for one in turn.requests)
            else:
                had_turn.append(turn.request)

    def finish(failed: bool) -> None:
        nonlocal running
        running = False
        follow(core.finished(failed))

    for event in events:
        if isinstance(event, tuple):
            arrived.append(request(event[0], str(len(arrived)), event[1]))
            follow(core.received(arrived[-1]))
        elif running:
            finish(event == "failed")
    while running:
        finish(failed=False)
    assert had_turn == arrived
