"""Readers of one stream (F1): who leaves takes nothing from the others, and who is told of an end finds all there."""

from __future__ import annotations

from concurrent.futures import Future

import zmq

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.frontend.execution import Execution
from kernelbridge.frontend.link import Link, Settings
from kernelbridge.frontend.subscribers import Subscribers
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.messages import Header, Message
from kernelbridge.wire.signing import Signer


def message(number: int) -> Message:
    return Message(Header(str(number), "display_data"), {})


def test_f1_who_leaves_takes_nothing_from_the_others() -> None:
    subscribers = Subscribers()
    all_of_them = [subscribers.add() for _ in range(4)]
    leaving, staying = all_of_them[::2], all_of_them[1::2]
    for subscription in leaving:
        subscription.close()
    batches = [[message(1), message(2)], [message(3)]]
    for batch in batches:
        subscribers.hand(batch)
    for subscription in staying:
        assert [subscription.get(0).msg_id for _ in range(3)] == ["1", "2", "3"]
        subscription.close()


def test_f2_who_is_told_that_an_execution_is_done_finds_its_outputs_handed_out() -> None:
    context: Context = zmq.Context()
    link = Link(
        Settings(
            name="kernel",
            signer=Signer(b""),
            context=context,
            clock=SystemClock(),
            limits=Limits(),
            timeout=None,
            beat_seconds=None,
            may_be_busy=False,
        )
    )
    execution = Execution(link.session.header("execute_request"), "1", link.ordering)
    subscription = link.subscribers.add()
    link.tracker.add(execution.running)
    link._replied("shell", Message(Header("r", "execute_reply"), {"status": "ok"}, execution.header))
    found: list[str] = []

    def done(future: Future[Message]) -> None:
        found.extend(subscription.get(0).msg_type for _ in range(2))

    execution._future.add_done_callback(done)
    text = Message(Header("s", "stream"), {"name": "stdout", "text": "1"}, execution.header)
    idle = Message(Header("i", "status"), {"execution_state": "idle"}, execution.header)
    link._published([text, idle])
    assert found == ["stream", "status"]
    subscription.close()
    link.close(0)
    context.term()
