"""A bridge against a scripted kernel: orders, readiness, strays, input, the end."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from pathlib import Path
from typing import Any

import pytest

from kernelbridge.frontend.bridge import connect
from kernelbridge.frontend.errors import BridgeClosedError, KernelStartError
from kernelbridge.frontend.execution import Execution
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.errors import ConnectionFileError
from kernelbridge.wire.frames import Limits, encode
from kernelbridge.wire.messages import Header, Message
from kernelbridge.wire.signing import Signer
from tests.frontend.scripted import DEADLINE, ScriptedKernel, scripted


class TestReady:
    def test_a_kernel_that_welcomes_is_asked_once(self, folder: Path) -> None:
        with scripted(folder) as (_, bridge):
            assert bridge.kernel_info_reply["protocol_version"] == "5.5"
            assert bridge.status == "idle"
            assert bridge.counters == {}

    def test_a_kernel_that_does_not_welcome_is_asked_until_iopub_is_heard(self, folder: Path) -> None:
        kernel = ScriptedKernel(folder, "5.3")
        bridge = connect(kernel.connection, timeout=DEADLINE)
        # The first reply comes, but its status messages are lost: the subscription was not known in time.
        first = kernel.take(msg_type="kernel_info_request")
        kernel.reply(first, {"protocol_version": "5.3"})
        second = kernel.take(msg_type="kernel_info_request")
        assert not bridge._link.ready.done()
        kernel.status("busy", second)
        kernel.reply(second, {"protocol_version": "5.3"})
        kernel.status("idle", second)
        bridge.wait_ready(DEADLINE)
        bridge.close()
        kernel.close()

    def test_what_is_asked_before_is_held_and_sent_in_order(self, folder: Path) -> None:
        kernel = ScriptedKernel(folder)
        bridge = connect(kernel.connection, timeout=DEADLINE)
        requests = [bridge.execute("1"), bridge.complete("2"), bridge.execute("3")]
        assert kernel.take().msg_type == "kernel_info_request"
        assert kernel.sockets["shell"].poll(0) == 0
        bridge.close()
        kernel.close()
        for request in requests:
            with pytest.raises(BridgeClosedError):
                request.result(0)

    def test_held_requests_reach_the_kernel(self, folder: Path) -> None:
        kernel = ScriptedKernel(folder)
        bridge = connect(kernel.connection, timeout=DEADLINE)
        executions = [bridge.execute(str(number)) for number in range(5)]
        kernel.become_ready()
        for number, execution in enumerate(executions):
            request = kernel.take()
            assert request.content["code"] == str(number)
            kernel.run(request)
            execution.result(DEADLINE)
        bridge.close()
        kernel.close()

    def test_a_kernel_that_never_answers(self, folder: Path) -> None:
        kernel = ScriptedKernel(folder)
        bridge = connect(kernel.connection, timeout=0.05)
        execution = bridge.execute("1")
        with pytest.raises(KernelStartError, match=r"was not ready after 0.05 s: it has not answered .* on Shell"):
            bridge.wait_ready(DEADLINE)
        with pytest.raises(KernelStartError):
            execution.result(DEADLINE)
        assert bridge.status == "dead"
        bridge.close()
        kernel.close()

    def test_a_connection_file_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(ConnectionFileError, match=r"nowhere\.json: does not exist"):
            connect(folder / "nowhere.json")


class TestOrder:
    def test_idle_before_reply_and_reply_before_idle(self, folder: Path) -> None:
        """F2."""
        with scripted(folder) as (kernel, bridge):
            first, second = bridge.execute("1"), bridge.execute("2")
            one, two = kernel.take(), kernel.take()
            kernel.status("busy", one)
            kernel.stream("1", one)
            kernel.status("idle", one)
            kernel.reply(one, {"execution_count": 1})
            kernel.reply(two, {"execution_count": 2})
            kernel.status("busy", two)
            kernel.stream("2", two)
            kernel.status("idle", two)
            assert [message.msg_type for message in second] == ["status", "stream", "status"]
            assert second.result(DEADLINE).content["execution_count"] == 2
            assert first.result(DEADLINE).content["execution_count"] == 1
            assert [message.content.get("text") for message in first.messages] == [None, "1", None]

    def test_every_subscriber_sees_the_same_and_a_slow_one_delays_nobody(self, folder: Path) -> None:
        """F1."""
        with scripted(folder) as (kernel, bridge):
            slow, quick, unread = bridge.subscribe(), bridge.subscribe(), bridge.subscribe()
            execution = bridge.execute("1")
            kernel.run(kernel.take(), *(str(number) for number in range(5000)))
            execution.result(DEADLINE)
            read = [quick.get(DEADLINE).msg_id for _ in range(5002)]
            # All of it was handed out before the execution was done.
            assert [slow.get(0).msg_id for _ in range(5002)] == read
            assert read == [message.msg_id for message in execution.messages]
            unread.close()

    def test_a_subscription_ends_with_the_bridge_and_behind_what_was_published(self, folder: Path) -> None:
        with scripted(folder) as (kernel, bridge):
            subscription = bridge.subscribe()
            execution = bridge.execute("1")
            kernel.run(kernel.take(), "x")
            execution.result(DEADLINE)
        assert [message.msg_type for message in subscription] == ["status", "stream", "status"]
        assert list(bridge.subscribe()) == []
        with pytest.raises(EOFError):
            subscription.get(0)

    def test_a_subscription_that_waits_in_vain(self, folder: Path) -> None:
        with scripted(folder) as (_, bridge), pytest.raises(TimeoutError):
            bridge.subscribe().get(timeout=0)

    def test_a_comm_message_is_done_at_its_idle(self, folder: Path) -> None:
        with scripted(folder) as (kernel, bridge):
            sent = bridge.send_comm("comm_msg", {"comm_id": "c", "data": {}}, [b"buffer", bytearray(b"more")])
            request = kernel.take()
            assert (request.msg_type, request.buffers) == ("comm_msg", [b"buffer", b"more"])
            kernel.status("busy", request)
            kernel.status("idle", request)
            assert sent.result(DEADLINE).content == {"execution_state": "idle"}


def test_requests_say_what_the_specification_wants(folder: Path) -> None:
    with scripted(folder) as (kernel, bridge):
        bridge.execute("x", silent=True)
        bridge.complete("abc")
        bridge.inspect("abc", 1, detail_level=1)
        bridge.is_complete("x")
        bridge.history("tail", n=3)
        bridge.comm_info("target")
        bridge.kernel_info()
        assert [(message.msg_type, message.content) for message in (kernel.take() for _ in range(7))] == [
            (
                "execute_request",
                {
                    "code": "x",
                    "silent": True,
                    "store_history": False,
                    "user_expressions": {},
                    "allow_stdin": False,
                    "stop_on_error": True,
                },
            ),
            ("complete_request", {"code": "abc", "cursor_pos": 3}),
            ("inspect_request", {"code": "abc", "cursor_pos": 1, "detail_level": 1}),
            ("is_complete_request", {"code": "x"}),
            ("history_request", {"hist_access_type": "tail", "output": False, "raw": True, "n": 3}),
            ("comm_info_request", {"target_name": "target"}),
            ("kernel_info_request", {}),
        ]
        interrupt = bridge.interrupt()
        assert interrupt is not None
        kernel.reply(kernel.take("control", "interrupt_request"), channel="control")
        assert interrupt.result(DEADLINE).msg_type == "interrupt_reply"
        shutdown = bridge.shutdown()
        kernel.reply(kernel.take("control", "shutdown_request"), {"restart": False}, channel="control")
        assert shutdown.result(DEADLINE).content["restart"] is False


class TestStrays:
    def test_malformed_input_is_counted_logged_once_and_never_fatal(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """F10."""
        with scripted(folder) as (kernel, bridge), caplog.at_level(logging.INFO, "kernelbridge"):
            execution = bridge.execute("1")
            request = kernel.take()
            forged = encode(kernel.message("stream", {"text": "forged"}, request), Signer(b"another key"))
            good = encode(kernel.message("stream", {"text": "good"}, request), kernel.signer)
            channels: list[tuple[Channel, list[bytes]]] = [
                ("iopub", [b"topic"]),
                ("shell", request.identities),
                ("control", []),
            ]
            for channel, identities in channels:
                if channel == "control":
                    # The kernel learns the identity that it can send to from a request.
                    interrupt = bridge.interrupt()
                    assert interrupt is not None
                    identities = kernel.take("control").identities
                for _ in range(3):
                    kernel.send(channel, [*identities, b"garbage"])
                    kernel.send(channel, [*identities, *forged])
                    kernel.send(channel, [*identities, *good[:3]])
            kernel.send("iopub", good)
            kernel.send("iopub", good)
            kernel.publish("of_my_own", {}, request)
            kernel.publish("stream", {"text": "?"}, Header("nobody", "execute_request", "elsewhere"))
            kernel.reply(request, msg_type="complete_reply")
            kernel.send("shell", [*request.identities, *encode(kernel.message("execute_reply"), kernel.signer)])
            kernel.send("stdin", [*request.identities, *encode(kernel.message("input_request"), kernel.signer)])
            kernel.run(request)
            execution.result(DEADLINE)
            kernel.send("stdin", [*request.identities, b"garbage"])
            # Stdin has been read when an answer to what came behind the garbage arrives.
            again = bridge.execute("2", on_input=lambda prompt, password: "yes")
            asking = kernel.take()
            kernel.ask_input(asking, "?")
            assert kernel.take("stdin").content == {"value": "yes"}
            kernel.run(asking)
            again.result(DEADLINE)
            assert [message.content.get("text") for message in execution.messages if message.msg_type == "stream"] == [
                "good"
            ]
            assert bridge.counters == {
                "iopub: malformed message": 6,
                "iopub: wrong signature": 3,
                "iopub: replayed message": 1,
                "iopub: unknown type": 1,
                "iopub: unknown parent": 1,
                "shell: malformed message": 6,
                "shell: wrong signature": 3,
                "shell: unexpected type": 1,
                "shell: unknown parent": 1,
                "control: malformed message": 6,
                "control: wrong signature": 3,
                "stdin: malformed message": 1,
                "stdin: unknown parent": 1,
            }
            assert len(caplog.records) == len(bridge.counters)

    def test_a_message_over_the_limit_is_refused_at_the_sender_and_dropped_at_the_receiver(self, folder: Path) -> None:
        kernel = ScriptedKernel(folder)
        bridge = connect(kernel.connection, timeout=DEADLINE, limits=Limits(message_bytes=2000))
        kernel.become_ready()
        bridge.wait_ready(DEADLINE)
        with pytest.raises(Exception, match="over the limit of 2,000 bytes"):
            bridge.execute("x" * 2000)
        execution = bridge.execute("x")
        request = kernel.take()
        kernel.stream("x" * 2000, request)
        kernel.run(request)
        execution.result(DEADLINE)
        assert bridge.counters == {"iopub: malformed message": 1}
        bridge.close()
        kernel.close()


class TestInput:
    """F9."""

    def test_the_prompt_comes_after_the_output_that_preceded_it(self, folder: Path) -> None:
        shown: list[str] = []
        with scripted(folder) as (kernel, bridge):
            subscription = bridge.subscribe()

            def on_input(prompt: str, password: bool) -> str:
                # What was published before is there already: nothing is waited for.
                shown.extend(subscription.get(0).msg_type for _ in range(1001))
                return f"{prompt}{password}"

            execution = bridge.execute("1", on_input=on_input)
            request = kernel.take()
            assert request.content["allow_stdin"] is True
            kernel.status("busy", request)
            for _ in range(1000):
                kernel.stream("x", request)
            # All of it has left the kernel's IOPub socket before the kernel asks (contract K7).
            _wait_for(execution, 1001)
            kernel.ask_input(request, "name? ", password=True)
            answer = kernel.take("stdin")
            assert answer.msg_type == "input_reply"
            assert answer.content == {"value": "name? True"}
            assert answer.parent is not None
            assert answer.parent.msg_type == "input_request"
            kernel.reply(request)
            kernel.status("idle", request)
            execution.result(DEADLINE)
        assert shown == ["status", *["stream"] * 1000]

    @pytest.mark.parametrize("failure", [ValueError, SystemExit, asyncio.CancelledError])
    def test_a_handler_that_raises_answers_with_nothing(
        self, failure: type[BaseException], folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def on_input(prompt: str, password: bool) -> str:
            raise failure("no")

        with scripted(folder) as (kernel, bridge):
            bridge.execute("1", on_input=on_input)
            kernel.ask_input(kernel.take(), "?")
            assert kernel.take("stdin").content == {"value": ""}
        assert "the input handler failed" in caplog.text

    @pytest.mark.parametrize(("given", "said"), [(None, "returned NoneType"), ("x" * 10_000, "cannot be sent")])
    def test_an_answer_that_cannot_be_sent_is_none(
        self, given: Any, said: str, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The kernel waits for an answer: no mistake of the handler's may leave it without one."""
        with scripted(folder, limits=Limits(message_bytes=9000)) as (kernel, bridge):
            bridge.execute("1", on_input=lambda prompt, password: given)
            kernel.ask_input(kernel.take(), "?")
            assert kernel.take("stdin").content == {"value": ""}
        assert said in caplog.text

    def test_an_answer_that_comes_after_the_next_question_is_not_taken_for_its_answer(self, folder: Path) -> None:
        """A cell that catches its interrupt may ask again, while the first question's handler still waits."""
        first_asked, answer_first = threading.Event(), threading.Event()

        def on_input(prompt: str, password: bool) -> str:
            if prompt == "first":
                first_asked.set()
                answer_first.wait(DEADLINE)
            return f"to {prompt}"

        with scripted(folder) as (kernel, bridge):
            execution = bridge.execute("1", on_input=on_input)
            request = kernel.take()
            kernel.ask_input(request, "first")
            assert first_asked.wait(DEADLINE)
            waiting = [thread for thread in threading.enumerate() if thread.name == "kernelbridge-frontend-input"]
            kernel.ask_input(request, "second")
            assert kernel.take("stdin").content == {"value": "to second"}
            answer_first.set()
            for thread in waiting:
                thread.join(DEADLINE)
            kernel.ask_input(request, "third")
            assert kernel.take("stdin").content == {"value": "to third"}
            kernel.run(request)
            execution.result(DEADLINE)

    def test_a_request_that_nobody_can_answer_is_answered_with_nothing(self, folder: Path) -> None:
        with scripted(folder) as (kernel, bridge):
            bridge.execute("1")
            kernel.ask_input(kernel.take(), "?")
            assert kernel.take("stdin").content == {"value": ""}

    def test_unanswered_it_blocks_neither_an_interrupt_nor_the_end_and_its_answer_reaches_nobody(
        self, folder: Path
    ) -> None:
        asked: queue.Queue[str] = queue.Queue()
        answer, finished = threading.Event(), threading.Event()

        def on_input(prompt: str, password: bool) -> str:
            asked.put(prompt)
            answer.wait(DEADLINE)
            finished.set()
            return "too late"

        with scripted(folder) as (kernel, bridge):
            execution = bridge.execute("1", on_input=on_input)
            request = kernel.take()
            kernel.ask_input(request, "?")
            asked.get(timeout=DEADLINE)
            interrupt = bridge.interrupt()
            assert interrupt is not None
            kernel.reply(kernel.take("control"), channel="control")
            interrupt.result(DEADLINE)
            kernel.run(request)
            execution.result(DEADLINE)
        answer.set()
        assert finished.wait(DEADLINE)
        for thread in threading.enumerate():
            if thread.name == "kernelbridge-frontend-input":
                thread.join(DEADLINE)


def _wait_for(execution: Execution, count: int) -> None:
    """Wait until an execution has had `count` messages."""
    reader = iter(execution)
    for _ in range(count):
        next(reader)


class TestEnd:
    def test_closing_ends_what_is_open_and_refuses_what_comes(self, folder: Path) -> None:
        with scripted(folder) as (kernel, bridge):
            execution = bridge.execute("1")
            request = kernel.take()
            kernel.stream("x", request)
            reader = iter(execution)
            assert next(reader).msg_type == "stream"
            bridge.close()
            assert bridge.status == "closed"
            assert list(reader) == []
            for refused in (execution, bridge.execute("2"), bridge.shutdown()):
                with pytest.raises(BridgeClosedError):
                    refused.result(0)
            bridge.close()

    def test_closing_a_connected_bridge_leaves_the_kernel_alone_and_what_was_sent_arrives(self, folder: Path) -> None:
        with scripted(folder) as (kernel, bridge):
            sent = [bridge.send_comm("comm_msg", {"comm_id": str(number), "data": {}}) for number in range(100)]
            bridge.close()
            assert [kernel.take().content["comm_id"] for _ in sent] == [str(number) for number in range(100)]
            assert kernel.sockets["control"].poll(0) == 0

    def test_a_crashed_thread_ends_what_is_open(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with scripted(folder) as (kernel, bridge):
            execution = bridge.execute("1")
            request = kernel.take()

            def fail(batch: list[Message]) -> None:
                raise ZeroDivisionError("a fault of this library")

            assert bridge._link._channels is not None
            monkeypatch.setattr(bridge._link._channels.iopub, "_on_batch", fail)
            kernel.stream("x", request)
            with pytest.raises(Exception, match=r"frontend-iopub thread crashed: ZeroDivisionError"):
                execution.result(DEADLINE)
            assert bridge.status == "dead"
        assert "a fault of this library" in caplog.text
