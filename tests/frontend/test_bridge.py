"""A bridge against a scripted kernel: readiness, orders, strays, the end."""

from __future__ import annotations

import logging
import os
import queue
from pathlib import Path

import pytest

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.errors import BridgeClosedError, BridgeCrashedError
from kernelbridge.frontend.execution_states import State
from kernelbridge.frontend.link import Link
from kernelbridge.testing import (
    DEADLINE,
    ManualKernel,
    ScriptedKernel,
    bad_signature,
    busy,
    comm_msg,
    duplicate,
    execute_reply,
    execute_request,
    flood,
    garbage,
    handle,
    idle,
    input_reply,
    input_request,
    message,
    on,
    reply,
    request,
    send,
    stdout,
    truncated,
)
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.errors import ConnectionFileError, WireError
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.messages import Message
from tests.support.bridges import connected, played


class TestReady:
    def test_a_kernel_that_welcomes(self) -> None:
        with played() as (_, bridge):
            assert bridge.kernel_info_reply["protocol_version"] == "5.5"
            assert bridge.status == "idle"
            assert bridge.counters == {}

    def test_what_is_asked_before_is_held(self) -> None:
        with ManualKernel() as kernel:
            bridge = connect(kernel.connection, timeout=DEADLINE)
            requests = [bridge.execute("1"), bridge.complete("2"), bridge.execute("3")]
            kernel.take(request("kernel_info"))
            bridge.close()
            assert kernel.waiting() == []
        for held in requests:
            with pytest.raises(BridgeClosedError):
                held.result(0)

    def test_held_requests_reach_the_kernel_in_order(self) -> None:
        codes = [str(number) for number in range(5)]
        with ScriptedKernel(*(on(execute_request(code), handle()) for code in codes)) as kernel:
            bridge = connect(kernel.connection, timeout=DEADLINE)
            for execution in [bridge.execute(code) for code in codes]:
                execution.result(DEADLINE)
            bridge.close()

    def test_a_connection_file_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(ConnectionFileError, match=r"nowhere\.json: does not exist"):
            connect(folder / "nowhere.json")


class TestOrder:
    def test_idle_before_reply_and_reply_before_idle(self) -> None:
        """F2."""
        script = [
            on(
                execute_request("1"),
                *(busy(), stdout("1"), idle(), reply(execution_count=1)),
                on(execute_request("2"), reply(execution_count=2), busy(), stdout("2"), idle()),
            )
        ]
        with connected(*script) as bridge:
            first, second = bridge.execute("1"), bridge.execute("2")
            assert [message.msg_type for message in second] == ["status", "stream", "status"]
            assert second.result(DEADLINE).content["execution_count"] == 2
            assert first.result(DEADLINE).content["execution_count"] == 1
            assert [message.content.get("text") for message in first.messages] == [None, "1", None]

    def test_every_subscriber_sees_the_same_and_a_slow_one_delays_nobody(self) -> None:
        """F1."""
        with connected(on(execute_request("1"), handle(flood(5000, stdout("x"))))) as bridge:
            slow, quick, unread = bridge.subscribe(), bridge.subscribe(), bridge.subscribe()
            execution = bridge.execute("1")
            execution.result(DEADLINE)
            read = [quick.get(DEADLINE).msg_id for _ in range(5002)]
            # All of it was handed out before the execution was done.
            assert [slow.get(0).msg_id for _ in range(5002)] == read
            assert read == [message.msg_id for message in execution.messages]
            assert len(set(read)) == 5002
            unread.close()

    def test_a_subscription_ends_with_the_bridge_and_behind_what_was_published(self) -> None:
        with connected(on(execute_request("1"), handle(stdout("x")))) as bridge:
            subscription = bridge.subscribe()
            bridge.execute("1").result(DEADLINE)
        assert [message.msg_type for message in subscription] == ["status", "stream", "status"]
        assert list(bridge.subscribe()) == []
        with pytest.raises(EOFError):
            subscription.get(0)

    def test_a_subscription_that_waits_in_vain(self) -> None:
        with connected() as bridge, pytest.raises(TimeoutError):
            bridge.subscribe().get(timeout=0)

    def test_a_comm_message_is_done_at_its_idle(self) -> None:
        with connected(on(comm_msg({}, comm_id="c", buffers=[b"buffer", b"more"]), busy(), idle())) as bridge:
            sent = bridge.send_comm("comm_msg", {"comm_id": "c", "data": {}}, [b"buffer", bytearray(b"more")])
            assert sent.result(DEADLINE).content == {"execution_state": "idle"}


def test_requests_say_what_the_specification_wants() -> None:
    with played() as (kernel, bridge):
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
        kernel.play(reply(), parent=kernel.take(request("interrupt")))
        assert interrupt.result(DEADLINE).msg_type == "interrupt_reply"
        shutdown = bridge.shutdown()
        kernel.play(reply(), parent=kernel.take(request("shutdown", restart=False)))
        assert shutdown.result(DEADLINE).content["restart"] is False


class TestStrays:
    """F10."""

    def test_malformed_input_is_counted_logged_once_and_never_fatal(self, caplog: pytest.LogCaptureFixture) -> None:
        channels: list[Channel] = ["iopub", "shell", "control"]
        bad = {
            channel: [
                garbage(channel=channel),
                bad_signature(stdout("forged"), channel=channel),
                truncated(stdout("half"), channel=channel),
            ]
            * 3
            for channel in channels
        }
        script = [
            on(
                execute_request("1"),
                *bad["iopub"],
                *bad["shell"],
                on(request("interrupt"), *bad["control"], reply()),
                duplicate(stdout("good")),
                message("of_my_own"),
                stdout("?", parent="nobody"),
                reply("complete"),
                send(execute_reply(parent=None)),
                send(input_request(parent=None)),
                handle(),
                garbage(channel="stdin"),
            ),
            # Stdin has been read when an answer to what came behind the garbage arrives.
            on(execute_request("2"), input_request("?"), on(input_reply("yes")), handle()),
        ]
        with caplog.at_level(logging.INFO, "kernelbridge"), connected(*script) as bridge:
            execution = bridge.execute("1")
            interrupt = bridge.interrupt()
            assert interrupt is not None
            interrupt.result(DEADLINE)
            execution.result(DEADLINE)
            bridge.execute("2", on_input=lambda prompt, password: "yes").result(DEADLINE)
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

    def test_a_message_over_the_limit_is_refused_at_the_sender_and_dropped_at_the_receiver(self) -> None:
        script = on(execute_request("x"), stdout("x" * 2000), handle())
        with connected(script, limits=Limits(message_bytes=2000)) as bridge:
            with pytest.raises(WireError, match="over the limit of 2,000 bytes"):
                bridge.execute("x" * 2000)
            bridge.execute("x").result(DEADLINE)
            assert bridge.counters == {"iopub: malformed message": 1}


class TestEnd:
    def test_closing_ends_what_is_open_and_refuses_what_comes(self) -> None:
        with connected(on(execute_request("1"), stdout("x"))) as bridge:
            execution = bridge.execute("1")
            reader = iter(execution)
            assert next(reader).msg_type == "stream"
            bridge.close()
            assert bridge.status == "closed"
            assert list(reader) == []
            for refused in (execution, bridge.execute("2"), bridge.shutdown()):
                with pytest.raises(BridgeClosedError):
                    refused.result(0)
            bridge.close()

    def test_closing_a_connected_bridge_leaves_the_kernel_alone_and_what_was_sent_arrives(self) -> None:
        with played() as (kernel, bridge):
            for number in range(100):
                bridge.send_comm("comm_msg", {"comm_id": str(number), "data": {}})
            bridge.close()
            for number in range(100):
                kernel.take(comm_msg(comm_id=str(number)))
            assert kernel.waiting("control") == []

    def test_a_forked_child_closes_nothing(self) -> None:
        """It leaves the block, too, when it exits, and has neither the threads nor the right."""
        with launch() as bridge:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    bridge.close()
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            assert bridge.execute("1").wait(DEADLINE) is State.OK

    def test_a_crashed_thread_ends_what_is_open(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """To its users the kernel is gone, and they are told of it in the same way (F6)."""
        told: queue.SimpleQueue[Bridge] = queue.SimpleQueue()
        with played(on_death=told.put) as (kernel, bridge):
            subscription = bridge.subscribe()
            execution = bridge.execute("1")
            asked = kernel.take(execute_request("1"))

            def fail(batch: list[Message]) -> None:
                raise ZeroDivisionError("a fault of this library")

            assert bridge._link.outbox.channels is not None
            monkeypatch.setattr(bridge._link.outbox.channels.iopub, "_on_batch", fail)
            kernel.play(stdout("x"), parent=asked)
            with pytest.raises(Exception, match=r"frontend-iopub thread crashed: ZeroDivisionError"):
                execution.result(DEADLINE)
            assert bridge.status == "dead"
            assert subscription.get(DEADLINE).content == {"execution_state": "dead"}
            assert told.get(timeout=DEADLINE) is bridge
        assert "a fault of this library" in caplog.text

    def test_a_crash_of_the_process_thread_is_heard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: object) -> None:
            raise ZeroDivisionError("a fault of this library")

        monkeypatch.setattr(Link, "exited", fail)
        with launch() as bridge, pytest.raises(BridgeCrashedError, match="frontend-process thread crashed"):
            bridge.execute("import os; os._exit(0)").result(DEADLINE)
