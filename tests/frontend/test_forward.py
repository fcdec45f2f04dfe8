"""Requests of programs that speak the protocol themselves, sent through a bridge as they are."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.errors import BridgeError, KernelDiedError
from kernelbridge.frontend.execution import Execution
from kernelbridge.testing import DEADLINE, ScriptedKernel
from kernelbridge.wire.messages import Header, Message


def theirs(msg_type: str, content: dict[str, Any], **fields: Any) -> Message:
    return Message(Header(f"their-{msg_type}", msg_type, "their session", "ada"), content, **fields)


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with launch() as bridge:
        yield bridge


def test_the_header_and_the_metadata_are_theirs(bridge: Bridge) -> None:
    code = "import json; print(json.dumps(get_ipython().get_parent()))"
    request = theirs("execute_request", {"code": code}, metadata={"cellId": "c1"})
    execution = bridge.forward(request)
    assert isinstance(execution, Execution)
    assert execution.result(DEADLINE).parent_id == "their-execute_request"
    assert {message.parent_id for message in execution.messages} == {"their-execute_request"}
    (printed,) = (message.content["text"] for message in execution.messages if message.msg_type == "stream")
    assert '"cellId": "c1"' in printed and '"their session"' in printed

    assert bridge.forward(theirs("complete_request", {"code": "impor", "cursor_pos": 5})).result(DEADLINE)
    opened = bridge.forward(theirs("comm_open", {"comm_id": "c", "target_name": "nobody", "data": {}}))
    assert opened.result(DEADLINE).is_idle


def test_an_execution_takes_its_turn_like_any_other(bridge: Bridge) -> None:
    """F7: what waits is aborted by an interrupt."""
    running = bridge.execute("print('works', flush=True)\nwhile True: pass")
    next(message for message in running if message.msg_type == "stream")
    waiting = bridge.forward(theirs("execute_request", {"code": "1"}))
    bridge.interrupt()
    assert waiting.result(DEADLINE).content["status"] == "aborted"


def test_a_question_goes_to_who_sent_the_execution(bridge: Bridge) -> None:
    asking = theirs("execute_request", {"code": "assert input('who? ') == 'WHO? '", "allow_stdin": True})
    execution = bridge.forward(asking, on_input=lambda prompt, _: prompt.upper())
    assert execution.result(DEADLINE).content["status"] == "ok"


def test_a_shutdown_is_no_accident() -> None:
    told: list[Bridge] = []
    with launch(on_death=told.append) as bridge, bridge.subscribe(types=["status"]) as statuses:
        bridge.forward(theirs("shutdown_request", {"restart": False}), "control")
        while statuses.get(DEADLINE).content["execution_state"] != "dead":
            continue
    assert told == []


def test_a_signal_of_any_kind(bridge: Bridge) -> None:
    execution = bridge.execute("import signal; signal.pause()")
    bridge.signal(signal.SIGKILL)
    with pytest.raises(KernelDiedError, match="was ended by SIGKILL"):
        execution.result(DEADLINE)


def test_only_who_launched_a_kernel_can_signal_it() -> None:
    asked = pytest.raises(BridgeError, match="who launched it can signal it")
    with ScriptedKernel() as kernel, connect(kernel.connection_file) as bridge, asked:
        bridge.signal(signal.SIGTERM)
