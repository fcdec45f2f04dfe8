"""Input requests (F9): who is asked, when, and what becomes of answers that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from kernelbridge.frontend.execution import Execution
from kernelbridge.testing import (
    DEADLINE,
    Step,
    busy,
    execute_request,
    flood,
    handle,
    idle,
    input_reply,
    input_request,
    on,
    reply,
    request,
    stdout,
)
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.messages import Message
from tests.support.bridges import connected, played


def asking(answer: str) -> Step:
    """A cell that asks, and is answered."""
    return on(execute_request("1"), input_request("?"), on(input_reply(answer)), handle())


def test_the_prompt_comes_after_the_output_that_preceded_it() -> None:
    shown: list[str] = []
    with played() as (kernel, bridge):
        subscription = bridge.subscribe()

        def on_input(prompt: str, password: bool) -> str:
            # What was published before is there already: nothing is waited for.
            shown.extend(subscription.get(0).msg_type for _ in range(1001))
            return f"{prompt}{password}"

        execution = bridge.execute("1", on_input=on_input)
        asked = kernel.take(execute_request("1", allow_stdin=True))
        kernel.play(busy(), flood(1000, stdout("x")), parent=asked)
        # All of it has left the kernel's IOPub socket before the kernel asks (contract K7).
        _wait_for(execution, 1001)
        kernel.play(input_request("name? ", password=True), parent=asked)
        answer = kernel.take(input_reply("name? True"))
        assert answer.content == {"value": "name? True"}
        assert answer.parent is not None
        assert answer.parent.msg_type == "input_request"
        kernel.play(reply(), idle(), parent=asked)
        execution.result(DEADLINE)
    assert shown == ["status", *["stream"] * 1000]


def test_the_prompt_waits_for_output_that_has_arrived_and_was_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, heard, go_on = threading.Event(), threading.Event(), threading.Event()
    shown: list[str] = []
    # Over inproc, what was sent has arrived.
    with played(transport="inproc") as (kernel, bridge):
        assert bridge._link.outbox.channels is not None
        iopub = bridge._link.outbox.channels.iopub
        hand_on, drained = iopub._on_batch, iopub.drained

        def hand_on_later(batch: list[Message]) -> None:
            reading.set()
            assert go_on.wait(DEADLINE)
            hand_on(batch)

        def drain_and_tell(then: Callable[[], None]) -> None:
            drained(then)
            heard.set()

        def on_input(prompt: str, password: bool) -> str:
            shown.extend(message.msg_type for message in execution.messages)
            heard.set()
            return "answer"

        monkeypatch.setattr(iopub, "_on_batch", hand_on_later)
        monkeypatch.setattr(iopub, "drained", drain_and_tell)
        execution = bridge.execute("1", on_input=on_input)
        asked = kernel.take(execute_request("1"))
        kernel.play(busy(), parent=asked)
        assert reading.wait(DEADLINE)
        kernel.play(flood(1000, stdout("x")), input_request("?"), parent=asked)
        assert heard.wait(DEADLINE)
        go_on.set()
        kernel.take(input_reply("answer"))
        kernel.play(reply(), idle(), parent=asked)
        execution.result(DEADLINE)
    assert shown == ["status", *["stream"] * 1000]


@pytest.mark.parametrize("failure", [ValueError, SystemExit, asyncio.CancelledError])
def test_a_handler_that_raises_answers_with_nothing(
    failure: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def on_input(prompt: str, password: bool) -> str:
        raise failure("no")

    with connected(asking("")) as bridge:
        bridge.execute("1", on_input=on_input).result(DEADLINE)
    assert "the input handler failed" in caplog.text


@pytest.mark.parametrize(("given", "said"), [(None, "returned NoneType"), ("x" * 10_000, "cannot be sent")])
def test_an_answer_that_cannot_be_sent_is_none(given: Any, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel waits for an answer: no mistake of the handler's may leave it without one."""
    with connected(asking(""), limits=Limits(message_bytes=9000)) as bridge:
        bridge.execute("1", on_input=lambda prompt, password: given).result(DEADLINE)
    assert said in caplog.text


def test_an_answer_that_comes_after_the_next_question_is_not_taken_for_its_answer() -> None:
    """A cell that catches its interrupt may ask again, while the first question's handler still waits."""
    first_asked, answer_first = threading.Event(), threading.Event()

    def on_input(prompt: str, password: bool) -> str:
        if prompt == "first":
            first_asked.set()
            answer_first.wait(DEADLINE)
        return f"to {prompt}"

    with played() as (kernel, bridge):
        execution = bridge.execute("1", on_input=on_input)
        asked = kernel.take(execute_request("1"))
        kernel.play(input_request("first"), parent=asked)
        assert first_asked.wait(DEADLINE)
        waiting = [thread for thread in threading.enumerate() if thread.name == "kernelbridge-frontend-input"]
        kernel.play(input_request("second"), on(input_reply("to second")), parent=asked)
        answer_first.set()
        for thread in waiting:
            thread.join(DEADLINE)
        kernel.play(input_request("third"), on(input_reply("to third")), handle(), parent=asked)
        execution.result(DEADLINE)


def test_a_handler_sees_the_context_variables_of_where_the_code_was_asked_for() -> None:
    """A program that serves several users tells by them whom it asks, and Textual which app its widgets are of."""
    whom = ContextVar("whom", default="nobody")

    def on_input(prompt: str, password: bool) -> str:
        return whom.get()

    async def on_input_later(prompt: str, password: bool) -> str:
        return whom.get()

    with connected(asking("ada"), asking("bob"), asking("eve")) as bridge:
        for user, handler in (("ada", on_input), ("bob", on_input_later)):
            whom.set(user)
            bridge.execute("1", on_input=handler).result(DEADLINE)

        async def main() -> None:
            whom.set("eve")
            await bridge.execute("1", on_input=on_input_later)

        asyncio.run(main())


def test_a_request_that_nobody_can_answer_is_answered_with_nothing() -> None:
    with connected(asking("")) as bridge:
        bridge.execute("1").result(DEADLINE)


class Unanswered:
    """A handler that does not answer until it is told to."""

    def __init__(self) -> None:
        self.asked, self._answer = threading.Event(), threading.Event()

    def __call__(self, prompt: str, password: bool) -> str:
        self.asked.set()
        assert self._answer.wait(DEADLINE)
        return "too late"

    def answer(self) -> None:
        """Answer, and return when the answer has gone where it goes."""
        self._answer.set()
        for thread in threading.enumerate():
            if thread.name == "kernelbridge-frontend-input":
                thread.join(DEADLINE)


def test_unanswered_it_does_not_block_an_interrupt_and_its_answer_reaches_nobody() -> None:
    on_input = Unanswered()
    script = on(execute_request("1"), input_request("?"), on(request("interrupt"), reply()), handle())
    with connected(script) as bridge:
        execution = bridge.execute("1", on_input=on_input)
        assert on_input.asked.wait(DEADLINE)
        interrupt = bridge.interrupt()
        assert interrupt is not None
        interrupt.result(DEADLINE)
        execution.result(DEADLINE)
        # The kernel would not expect it.
        on_input.answer()


def test_unanswered_it_does_not_block_the_end() -> None:
    on_input = Unanswered()
    with connected(on(execute_request("1"), input_request("?"))) as bridge:
        bridge.execute("1", on_input=on_input)
        assert on_input.asked.wait(DEADLINE)
        bridge.close()
        on_input.answer()


def _wait_for(execution: Execution, count: int) -> None:
    """Wait until an execution has had `count` messages."""
    reader = iter(execution)
    for _ in range(count):
        next(reader)
