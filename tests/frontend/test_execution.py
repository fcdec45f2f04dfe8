"""The tracker: which message ends which request, once. No thread, no socket."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelbridge.frontend.errors import BridgeClosedError, KernelDiedError
from kernelbridge.frontend.execution import Ended, Execution, Request, Running, Tracker
from kernelbridge.wire.messages import Header, Message, Session
from kernelbridge.wire.strays import Strays

OURS = Session(lambda: "2026-01-01T00:00:00Z", "ours")
KERNEL = Session(lambda: "2026-01-01T00:00:00Z", "kernel")
Outcome = Message | Exception


class Scene:
    """A tracker, and what has ended, in order."""

    def __init__(self) -> None:
        self.strays = Strays()
        self.tracker = Tracker("ours", self.strays)
        self.ended: list[tuple[Request, Outcome]] = []

    def execution(self) -> Execution:
        execution = Execution(OURS.header("execute_request"), "pass", threading.Lock())
        self.settle(self.tracker.add(execution.running))
        return execution

    def request(self, msg_type: str, **needs: bool) -> Request:
        request = Request(OURS.header(msg_type), **needs)
        self.settle(self.tracker.add(request))
        return request

    def settle(self, ended: list[Ended]) -> None:
        for end in ended:
            end.settle()
            held = end.request.execution if isinstance(end.request, Running) else end.request
            assert held is not None, "nobody holds the execution"
            self.ended.append((held, end.outcome))

    def publish(self, *messages: Message) -> None:
        self.settle(self.tracker.published(messages))

    def reply(self, message: Message) -> None:
        self.settle(self.tracker.replied("shell", message))


def header(request: Request | None) -> Header | None:
    return None if request is None else request.header


def status(state: str, parent: Request | None) -> Message:
    return Message(KERNEL.header("status"), {"execution_state": state}, header(parent))


def stream(text: str, parent: Request | None) -> Message:
    return Message(KERNEL.header("stream"), {"name": "stdout", "text": text}, header(parent))


def reply(parent: Request, msg_type: str = "execute_reply") -> Message:
    return Message(KERNEL.header(msg_type), {"status": "ok"}, parent.header)


class TestDone:
    """F2: an execution is complete when both its reply and its idle have been seen."""

    def test_reply_before_idle(self) -> None:
        scene = Scene()
        execution = scene.execution()
        answer = reply(execution)
        scene.reply(answer)
        assert not execution.done
        scene.publish(stream("late", execution), status("idle", execution))
        assert execution.result(0) is answer
        assert [message.msg_type for message in execution.messages] == ["stream", "status"]

    def test_idle_before_reply(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(status("busy", execution), stream("x", execution), status("idle", execution))
        assert not execution.done
        answer = reply(execution)
        scene.reply(answer)
        assert execution.result(0) is answer

    def test_the_idle_of_another_request_is_not_its_own(self) -> None:
        scene = Scene()
        execution, completion = scene.execution(), scene.request("complete_request")
        scene.reply(reply(execution))
        scene.publish(status("idle", completion), status("idle", None))
        assert not execution.done

    def test_other_requests_are_done_at_their_reply(self) -> None:
        scene = Scene()
        request = scene.request("complete_request")
        answer = reply(request, "complete_reply")
        scene.reply(answer)
        assert request.result(0) is answer

    def test_a_comm_message_is_done_at_its_idle(self) -> None:
        scene = Scene()
        request = scene.request("comm_msg", needs_reply=False, needs_idle=True)
        idle = status("idle", request)
        scene.publish(status("busy", request))
        assert not request.done
        scene.publish(idle)
        assert request.result(0) is idle

    def test_what_comes_after_the_idle_belongs_to_it_while_the_reply_is_missing_and_to_nobody_afterwards(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(status("idle", execution), stream("a thread's", execution))
        scene.reply(reply(execution))
        scene.publish(stream("too late", execution))
        assert [message.content.get("text") for message in execution.messages] == [None, "a thread's"]
        assert scene.strays.counts() == {}


class TestStrays:
    """F10: counted, never fatal, never delivered as something else."""

    def test_a_reply_to_nobody(self) -> None:
        scene = Scene()
        scene.reply(Message(KERNEL.header("execute_reply"), {}, Header("x", "execute_request")))
        scene.reply(Message(KERNEL.header("execute_reply"), {}))
        assert scene.strays.counts() == {"shell: unknown parent": 2}

    def test_a_reply_of_another_type_ends_nothing(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(status("idle", execution))
        scene.reply(reply(execution, "complete_reply"))
        assert not execution.done
        assert scene.strays.counts() == {"shell: unexpected type": 1}

    def test_a_second_reply_ends_nothing(self) -> None:
        scene = Scene()
        execution = scene.execution()
        first = reply(execution)
        scene.reply(first)
        scene.reply(reply(execution))
        scene.publish(status("idle", execution))
        assert execution.result(0) is first
        assert scene.strays.counts() == {"shell: unexpected type": 1}

    def test_published_by_another_frontends_request_and_of_an_unknown_type(self) -> None:
        scene = Scene()
        execution = scene.execution()
        theirs = Message(KERNEL.header("stream"), {}, Header("x", "execute_request", "theirs"))
        custom = Message(KERNEL.header("custom"), {}, execution.header)
        scene.publish(theirs, custom, Message(KERNEL.header("status"), {"execution_state": 7}, execution.header))
        assert scene.strays.counts() == {
            "iopub: unknown parent": 1,
            "iopub: unknown type": 1,
            "iopub: status without execution_state": 1,
        }
        assert [message.msg_type for message in execution.messages] == ["custom", "status"]


class TestReaders:
    def test_a_reader_gets_the_past_and_the_rest_and_then_the_end(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(stream("1", execution))
        early = iter(execution)
        assert next(early).content["text"] == "1"
        scene.publish(stream("2", execution), stream("x", None), status("idle", execution))
        scene.reply(reply(execution))
        assert [message.msg_type for message in early] == ["stream", "status"]
        assert [message.msg_type for message in execution] == ["stream", "stream", "status"]

    def test_a_reader_ends_with_an_execution_that_dies(self) -> None:
        scene = Scene()
        execution = scene.execution()
        reader = iter(execution)
        scene.publish(stream("1", execution))
        next(reader)
        scene.settle(scene.tracker.end_all(lambda: KernelDiedError("gone")))
        assert list(reader) == []


class TestEnd:
    """F6: each running and queued execution ends as died, once."""

    def test_each_open_request_ends_with_an_exception_of_its_own(self) -> None:
        scene = Scene()
        first, second = scene.execution(), scene.request("complete_request")
        scene.settle(scene.tracker.end_all(lambda: KernelDiedError("gone")))
        errors = [request._future.exception(0) for request in (first, second)]
        assert [type(error) for error in errors] == [KernelDiedError] * 2
        assert errors[0] is not errors[1]

    def test_a_request_that_comes_later_ends_at_once(self) -> None:
        scene = Scene()
        scene.tracker.end_all(lambda: BridgeClosedError("closed"))
        with pytest.raises(BridgeClosedError):
            scene.execution().result(0)

    def test_what_still_arrives_is_no_stray(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.settle(scene.tracker.end_all(lambda: KernelDiedError("gone")))
        scene.reply(reply(execution))
        scene.publish(status("idle", execution))
        assert len(scene.ended) == 1
        assert scene.strays.counts() == {}


EVENTS: dict[str, Callable[[Scene, Execution], None]] = {
    "busy": lambda scene, execution: scene.publish(status("busy", execution)),
    "stream": lambda scene, execution: scene.publish(stream("x", execution)),
    "idle": lambda scene, execution: scene.publish(status("idle", execution)),
    "reply": lambda scene, execution: scene.reply(reply(execution)),
    "wrong reply": lambda scene, execution: scene.reply(reply(execution, "inspect_reply")),
    "stray": lambda scene, execution: scene.publish(stream("x", None), status("idle", None)),
    "one batch": lambda scene, execution: scene.publish(
        stream("x", execution), status("idle", execution), stream("x", None), stream("x", execution)
    ),
    "death": lambda scene, execution: scene.settle(scene.tracker.end_all(lambda: KernelDiedError("gone"))),
}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(sorted(EVENTS))), max_size=25))
def test_whatever_arrives_each_execution_ends_once_and_as_the_table_says(program: list[tuple[int, str]]) -> None:
    """F2, F6, F10."""
    scene = Scene()
    executions = [scene.execution() for _ in range(3)]
    # The model: what each execution has seen until it ended, and how.
    seen: list[set[str]] = [set(), set(), set()]
    published: list[int] = [0, 0, 0]
    end: list[str | None] = [None, None, None]
    for number, event in program:
        EVENTS[event](scene, executions[number])
        if event == "death":
            end = [how or "died" for how in end]
        if end[number] is None:
            published[number] += {"busy": 1, "stream": 1, "idle": 1, "one batch": 2}.get(event, 0)
            seen[number] |= {"idle"} if event == "one batch" else {event}
            if {"idle", "reply"} <= seen[number]:
                end[number] = "done"
            elif event == "one batch":
                published[number] += 1
    assert [execution.done for execution in executions] == [how is not None for how in end]
    assert len(scene.ended) == sum(how is not None for how in end)
    for execution, how, count in zip(executions, end, published, strict=True):
        assert len(execution.messages) == count
        outcomes = [outcome for request, outcome in scene.ended if request is execution]
        assert [isinstance(outcome, Message) for outcome in outcomes] == ([] if how is None else [how == "done"])


def test_what_nobody_can_read_is_not_kept() -> None:
    """Who asks for an execution and lets go of it reads its messages, if at all, from a subscription."""
    scene = Scene()
    held = scene.execution()
    running = Execution(OURS.header("execute_request"), "pass", threading.Lock()).running
    scene.tracker.add(running)
    message = stream("text", running)
    references = sys.getrefcount(message)
    scene.publish(message)
    assert (running.execution, sys.getrefcount(message)) == (None, references)
    scene.publish(status("idle", running), kept := stream("text", held))
    assert held.messages == [kept]
    (end,) = scene.tracker.replied("shell", reply(running))
    end.settle()
    assert running.result(0).content["status"] == "ok"
