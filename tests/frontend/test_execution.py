"""The tracker: which message ends which request, once. No thread, no socket."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelbridge.frontend.errors import BridgeClosedError, KernelDiedError
from kernelbridge.frontend.execution import Execution, Home, Request, Running
from kernelbridge.frontend.tracker import Ended, Tracker
from kernelbridge.testing import Matcher, busy, execute_reply, idle, message, reply, status, stdout
from kernelbridge.testing.making import Maker
from kernelbridge.wire.messages import Header, Message, Session
from kernelbridge.wire.strays import Strays

OURS = Session(lambda: "2026-01-01T00:00:00Z", "ours")
MAKER = Maker(Session(lambda: "2026-01-01T00:00:00Z", "kernel"), "5.5")
Outcome = Message | Exception


class Scene:
    """A tracker, and what has ended, in order."""

    def __init__(self) -> None:
        self.strays = Strays()
        self.tracker = Tracker(OURS, self.strays, lambda: 0.0)
        self.tracker.queue.open()
        self.ended: list[tuple[Request, Outcome]] = []

    def execution(self) -> Execution:
        """One that has been sent: each has a shell of its own, so that none waits."""
        header = OURS.header("execute_request")
        execution = Execution(attrs.evolve(header, subshell_id=header.msg_id), "pass", self.home)
        self.ask(execution.running)
        return execution

    @property
    def home(self) -> Home:
        return Home(threading.Lock(), self.strays, lambda running: bool(self.tracker.cancel(running)))

    def ask(self, request: Request) -> None:
        ended = self.tracker.add(request)
        self.settle(ended)
        if not ended:
            self.tracker.ask(request, [])

    def request(self, msg_type: str, **needs: bool) -> Request:
        request = Request(OURS.header(msg_type), **needs)
        self.ask(request)
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


def made(matcher: Matcher, parent: Request | None) -> Message:
    """Return what the matcher says, as a kernel would send it because of `parent`."""
    _, message = MAKER.make(matcher.with_parent(None if parent is None else parent.header), None)
    return message


class TestDone:
    """F2: an execution is complete when both its reply and its idle have been seen."""

    def test_reply_before_idle(self) -> None:
        scene = Scene()
        execution = scene.execution()
        answer = made(execute_reply(), execution)
        scene.reply(answer)
        assert not execution.done
        scene.publish(made(stdout("late"), execution), made(idle(), execution))
        assert execution.result(0) is answer
        assert [message.msg_type for message in execution.messages] == ["stream", "status"]

    def test_idle_before_reply(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(made(busy(), execution), made(stdout("x"), execution), made(idle(), execution))
        assert not execution.done
        answer = made(execute_reply(), execution)
        scene.reply(answer)
        assert execution.result(0) is answer

    def test_the_idle_of_another_request_is_not_its_own(self) -> None:
        scene = Scene()
        execution, completion = scene.execution(), scene.request("complete_request")
        scene.reply(made(execute_reply(), execution))
        scene.publish(made(idle(), completion), made(idle(), None))
        assert not execution.done

    def test_other_requests_are_done_at_their_reply(self) -> None:
        scene = Scene()
        request = scene.request("complete_request")
        answer = made(reply("complete_reply"), request)
        scene.reply(answer)
        assert request.result(0) is answer

    def test_a_comm_message_is_done_at_its_idle(self) -> None:
        scene = Scene()
        request = scene.request("comm_msg", needs_reply=False, needs_idle=True)
        last = made(idle(), request)
        scene.publish(made(busy(), request))
        assert not request.done
        scene.publish(last)
        assert request.result(0) is last

    def test_what_comes_after_the_idle_belongs_to_it_while_the_reply_is_missing_and_to_nobody_afterwards(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(made(idle(), execution), made(stdout("a thread's"), execution))
        scene.reply(made(execute_reply(), execution))
        scene.publish(made(stdout("too late"), execution))
        assert [message.content.get("text") for message in execution.messages] == [None, "a thread's"]
        assert scene.strays.counts() == {}

    def test_what_comes_with_the_idle_and_behind_it_belongs_to_nobody_where_the_reply_has_come(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.reply(made(execute_reply(), execution))
        scene.publish(made(idle(), execution), made(stdout("too late"), execution))
        assert [message.msg_type for message in execution.messages] == ["status"]


class TestStrays:
    """F10: counted, never fatal, never delivered as something else."""

    def test_a_reply_to_nobody(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(made(idle(), execution))
        scene.reply(made(execute_reply(parent="nobody"), None))
        scene.reply(made(execute_reply(), None))
        assert not execution.done
        assert scene.strays.counts() == {"shell: unknown parent": 2}

    def test_a_reply_of_another_type_ends_nothing(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(made(idle(), execution))
        scene.reply(made(reply("complete_reply"), execution))
        assert not execution.done
        assert scene.strays.counts() == {"shell: unexpected type": 1}

    def test_a_second_reply_ends_nothing(self) -> None:
        scene = Scene()
        execution = scene.execution()
        first = made(execute_reply(), execution)
        scene.reply(first)
        scene.reply(made(execute_reply(), execution))
        scene.publish(made(idle(), execution))
        assert execution.result(0) is first
        assert scene.strays.counts() == {"shell: unexpected type": 1}

    def test_published_by_another_frontends_request_and_of_an_unknown_type(self) -> None:
        scene = Scene()
        execution = scene.execution()
        theirs = made(stdout("x", parent=Header("x", "execute_request", "theirs")), None)
        custom = made(message("custom"), execution)
        scene.publish(theirs, custom, made(status(7), execution))
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
        scene.publish(made(stdout("1"), execution))
        early = iter(execution)
        assert next(early).content["text"] == "1"
        scene.publish(made(stdout("2"), execution), made(stdout("x"), None), made(idle(), execution))
        scene.reply(made(execute_reply(), execution))
        assert [message.msg_type for message in early] == ["stream", "status"]
        assert [message.msg_type for message in execution] == ["stream", "stream", "status"]

    def test_a_reader_that_leaves_is_not_kept(self) -> None:
        scene = Scene()
        execution = scene.execution()
        scene.publish(made(stdout("a"), execution))
        for _ in range(3):
            next(iter(execution))
        gc.collect()
        scene.publish(made(stdout("b"), execution))
        assert execution._readers == []

    def test_a_reader_ends_with_an_execution_that_dies(self) -> None:
        scene = Scene()
        execution = scene.execution()
        reader = iter(execution)
        scene.publish(made(stdout("1"), execution))
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
        scene.reply(made(execute_reply(), execution))
        scene.publish(made(idle(), execution))
        assert len(scene.ended) == 1
        assert scene.strays.counts() == {}


EVENTS: dict[str, Callable[[Scene, Execution], None]] = {
    "busy": lambda scene, execution: scene.publish(made(busy(), execution)),
    "stream": lambda scene, execution: scene.publish(made(stdout("x"), execution)),
    "idle": lambda scene, execution: scene.publish(made(idle(), execution)),
    "reply": lambda scene, execution: scene.reply(made(execute_reply(), execution)),
    "wrong reply": lambda scene, execution: scene.reply(made(reply("inspect_reply"), execution)),
    "stray": lambda scene, execution: scene.publish(made(stdout("x"), None), made(idle(), None)),
    "one batch": lambda scene, execution: scene.publish(
        made(stdout("x"), execution), made(idle(), execution), made(stdout("x"), None), made(stdout("x"), execution)
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
    running = Execution(OURS.header("execute_request"), "pass", scene.home).running
    scene.ask(running)
    message = made(stdout("text"), running)
    references = sys.getrefcount(message)
    # A few are kept, unread, for a snapshot of what runs; of many no more than their text.
    scene.publish(message, *(made(stdout("x"), running) for _ in range(1024)))
    assert (running.execution, sys.getrefcount(message)) == (None, references)
    scene.publish(made(idle(), running), kept := made(stdout("text"), held))
    assert held.messages == [kept]
    (end,) = scene.tracker.replied("shell", made(execute_reply(), running))
    end.settle()
    assert running.result(0).content["status"] == "ok"
