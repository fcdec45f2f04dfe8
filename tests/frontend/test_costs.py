"""What the frontend does not do for every message that it hands on: ingest is paid for by the message."""

from __future__ import annotations

import threading

import pytest

from kernelbridge.frontend.execution import Execution, Home
from kernelbridge.frontend.execution_states import State
from kernelbridge.frontend.subscribers import Filter, Subscribers
from kernelbridge.frontend.tracker import Tracker, settle
from kernelbridge.wire.frames import decode, encode
from kernelbridge.wire.messages import Header, Message, Session
from kernelbridge.wire.signing import Signer
from kernelbridge.wire.strays import Strays


def test_no_header_is_made_for_what_nobody_asks_the_header_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs reach the execution, its outputs and all readers with the headers as they came: as text."""
    ordering, strays, signer = threading.Lock(), Strays(), Signer(b"")
    session = Session(lambda: "2026-01-02T03:04:05Z")
    tracker, subscribers = Tracker(session, strays, lambda: 0.0), Subscribers(ordering)
    execution = Execution(session.header("execute_request"), "1", Home(ordering, strays, lambda _: False))
    tracker.queue.open()
    tracker.add(execution.running)
    tracker.ask(execution.running, [])
    readers = [subscribers.add(), subscribers.add(only=Filter(frozenset({"stream"})))]

    def arrived(msg_type: str, content: dict[str, object]) -> Message:
        return decode(encode(Message(session.header(msg_type), content, execution.header), signer), signer)

    batch = [
        arrived("status", {"execution_state": "busy"}),
        arrived("execute_input", {"code": "1", "execution_count": 1}),
        *(arrived("stream", {"name": "stdout", "text": f"{number}\n"}) for number in range(3)),
        arrived("display_data", {"data": {"text/plain": "x"}, "metadata": {}, "transient": {"display_id": "d"}}),
        arrived("status", {"execution_state": "idle"}),
    ]
    monkeypatch.setattr(Header, "from_dict", lambda *_: pytest.fail("a header was made"))

    settle(tracker.published(batch))
    subscribers.hand(batch)

    assert [output["output_type"] for output in execution.outputs] == ["stream", "display_data"]
    assert [reader.get(0).msg_type for reader in readers] == ["status", "stream"]
    assert execution.state is State.RUNNING
