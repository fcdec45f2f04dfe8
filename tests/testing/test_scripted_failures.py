"""Each failure that a scripted kernel can report is provoked, and its report read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import attrs
import pytest
import zmq

from kernelbridge.frontend.bridge import connect, launch
from kernelbridge.testing import (
    ANY,
    DEADLINE,
    ManualKernel,
    ProtocolFailure,
    Scriptable,
    ScriptedKernel,
    busy,
    call,
    capture,
    cue,
    die,
    execute_request,
    gap,
    handle,
    hang,
    input_reply,
    input_request,
    on,
    regex,
    replay,
    reply,
    request,
    result,
    scripted_kernelspec,
    stdout,
)
from kernelbridge.wire.connection import random_key
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Message
from kernelbridge.wire.signing import Signer

SOON = 0.1
"""The deadline, in seconds, where a test is of what never comes."""


def fails() -> AbstractContextManager[pytest.ExceptionInfo[ProtocolFailure]]:
    return pytest.raises(ProtocolFailure)


def report(failure: pytest.ExceptionInfo[ProtocolFailure]) -> list[str]:
    return str(failure.value).splitlines()


@contextmanager
def a_socket(kernel: ManualKernel) -> Iterator[zmq.Socket[bytes]]:
    """A socket on the kernel's Shell, with nobody behind it: what it sends, the test says."""
    with kernel.context.socket(zmq.DEALER) as socket:
        socket.connect(kernel.connection.endpoint("shell"))
        yield socket


def frames(kernel: ManualKernel) -> list[bytes | memoryview]:
    asked = Message(kernel.session.header("execute_request"), {"code": "a"})
    return encode(asked, Signer(kernel.connection.key))


# What the frontend sent


def test_a_script_that_was_not_played_to_its_end_is_shown_with_where_it_stopped() -> None:
    script = on(execute_request("a"), handle(stdout("x")), on(execute_request("b"), stdout("y")))
    with (
        fails() as failure,
        ScriptedKernel(script, on(request("interrupt"))) as kernel,
        connect(kernel.connection) as bridge,
    ):
        bridge.execute("a").result(DEADLINE)
    assert failure.value.headline == "shell: what was expected did not come"
    assert report(failure)[1] == "  the test has ended"
    assert ">      execute_request 'b' |" in report(failure)
    assert report(failure)[-9:] == [
        "= on execute_request 'a'",
        "=    handle",
        "=       busy",
        "=       stdout 'x'",
        "=       reply",
        "=       idle",
        ">    on execute_request 'b'",
        "        stdout 'y'",
        "  on interrupt_request",
    ]


def test_another_request_than_the_one_expected() -> None:
    with (
        fails() as failure,
        ScriptedKernel(on(execute_request("b"), handle())) as kernel,
        connect(kernel.connection) as bridge,
    ):
        bridge.execute("a")
    assert failure.value.headline == "shell: the message is not what was expected"
    assert report(failure)[1] == "  content.code is 'a', not 'b'"
    row = next(line for line in report(failure) if line.startswith("> ") and " | " in line)
    expected, seen = row[1:].split(" | ")
    assert expected.strip() == "execute_request 'b'"
    assert seen.endswith("execute_request 'a'")


def test_a_request_that_no_step_expects() -> None:
    with fails() as failure, ScriptedKernel() as kernel, connect(kernel.connection) as bridge:
        bridge.interrupt()
    assert failure.value.headline == "control: a message that no step expects"
    assert report(failure)[1] == "  the script has been played to its end"
    assert report(failure)[-1] == "  is empty"


def test_the_report_shows_all_that_travelled_on_one_time_line() -> None:
    with ManualKernel() as kernel, a_socket(kernel) as socket:
        socket.send_multipart(frames(kernel))
        kernel.play(busy(), parent=kernel.take(execute_request("a")))
        socket.send_multipart(frames(kernel))
        with fails() as failure:
            kernel.take(request("complete"))
        kernel.take()
    start = next(place for place, line in enumerate(report(failure)) if line.startswith("time line"))
    # A star, or a blank, and the time, which differs.
    assert [(line[0], *line[1:].split()[1:]) for line in report(failure)[start + 1 :]] == [
        (" ", "<-", "shell", "r1", "execute_request", "'a'"),
        (" ", "->", "iopub", "r1", "busy"),
        ("*", "<-", "shell", "r2", "execute_request", "'a'"),
    ]


def test_what_a_frontend_sends_that_is_no_message() -> None:
    with ManualKernel() as kernel, a_socket(kernel) as socket:
        socket.send_multipart(frames(kernel)[:4])
        with fails() as failure:
            kernel.take()
        assert failure.value.headline == "what came is no message"
        assert report(failure)[1] == "  shell: only 3 frames behind the delimiter, at least 5 make a message"


def test_what_a_frontend_sends_twice() -> None:
    with ManualKernel() as kernel, a_socket(kernel) as socket:
        same = frames(kernel)
        socket.send_multipart(same)
        kernel.take(execute_request("a"))
        socket.send_multipart(same)
        with fails() as failure:
            kernel.take()
        assert report(failure)[1] == "  shell: replayed message"


def test_a_frontend_that_signs_with_another_key() -> None:
    with fails() as failure, ScriptedKernel() as kernel:
        bridge = connect(attrs.evolve(kernel.connection, key=random_key()))
        bridge.execute("a")
        bridge.close()
    assert report(failure)[1] == "  shell: wrong signature"


# What the script says


def test_a_request_that_does_not_come_in_time() -> None:
    with fails() as failure, ScriptedKernel(on(execute_request("a")), deadline=SOON) as kernel:
        kernel.wait()
    assert report(failure)[1] == f"  nothing came within {SOON} s"


def test_a_cue_that_is_not_given() -> None:
    with fails() as failure, ScriptedKernel(cue("go"), deadline=SOON) as kernel:
        kernel.wait()
    assert failure.value.headline == "the test has not given cue 'go'"
    with fails() as failure, ScriptedKernel(cue("go")):
        pass
    assert report(failure)[1] == "  the test has ended"


def test_steps_behind_a_death() -> None:
    with fails() as failure, ScriptedKernel(die(), stdout("x")):
        pass
    assert failure.value.headline == "the script was not played to its end"
    assert report(failure)[1] == "  the kernel has died"


def test_steps_behind_a_hang() -> None:
    script = on(execute_request("a"), hang(), handle())
    with fails() as failure, ScriptedKernel(script) as kernel, connect(kernel.connection) as bridge:
        bridge.execute("a")
        bridge.close()
    assert report(failure)[:2] == ["the script was not played to its end", "  the kernel hangs"]


def test_of_a_long_script_the_report_shows_what_is_about_the_last_step() -> None:
    outputs = [stdout(str(number)) for number in range(100)]
    with fails() as failure, ScriptedKernel(*outputs[:60], on(execute_request("a")), *outputs[60:]):
        pass
    script = report(failure)[report(failure).index("script (= played; > the last step begun)") + 1 :]
    assert script[0] == "  ... 31 steps"
    assert script[1] == "= stdout '31'"
    assert script[30] == "> on execute_request 'a'"
    assert script[-1] == "  ... 30 steps"


def test_a_question_to_a_frontend_that_is_not_on_stdin() -> None:
    with ManualKernel() as kernel, a_socket(kernel) as socket:
        socket.send_multipart(frames(kernel))
        asked = kernel.take()
        with fails() as failure:
            kernel.play(input_request("?"), parent=asked)
    assert failure.value.headline == "nothing can be sent on stdin"
    assert report(failure)[1] == "  the frontend that asked is not connected there"


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (result(ANY), "ANY cannot be sent: it is a placeholder"),
        (stdout(regex("x")), "/x/ cannot be sent: it is a placeholder"),
        (stdout(capture("text")), "<text> cannot be sent: nothing has been captured"),
        (reply("complete"), "complete_reply cannot be sent on shell: there is no request"),
        (gap(), "a gap needs a kernel whose messages are numbered"),
        (replay(), "only what was sent 1 to 0 messages before can be sent again, not 1"),
    ],
)
def test_a_step_that_cannot_be_played(step: Scriptable, why: str) -> None:
    with pytest.raises(ValueError, match=why), ScriptedKernel(step):
        pass


def test_an_error_on_the_scripts_thread_is_raised_in_the_test() -> None:
    def fail() -> None:
        raise ZeroDivisionError("in the script")

    with pytest.raises(ZeroDivisionError, match="in the script"), ScriptedKernel(call(fail)):
        pass


# What else goes wrong


def test_a_failure_of_the_script_is_raised_from_that_of_the_test() -> None:
    with fails() as failure, ScriptedKernel(on(execute_request("b"))) as kernel, connect(kernel.connection) as bridge:
        execution = bridge.execute("a")
        with pytest.raises(ProtocolFailure):
            kernel.wait()
        execution.result(0)
    assert isinstance(failure.value.__cause__, TimeoutError)


def test_where_the_test_fails_first_the_report_is_a_note_to_it() -> None:
    with pytest.raises(ZeroDivisionError) as failure, ScriptedKernel(on(execute_request("a"))):
        raise ZeroDivisionError
    (note,) = failure.value.__notes__
    assert note.startswith("shell: what was expected did not come\n  the test has ended")


def test_a_script_whose_function_does_not_return() -> None:
    go_on = threading.Event()
    with ScriptedKernel(call(go_on.wait), deadline=SOON) as kernel:
        with pytest.raises(TimeoutError, match=f"the script has not ended within {SOON} s"):
            kernel.wait()
        go_on.set()


def test_a_frontend_in_this_process_that_outlives_its_kernel() -> None:
    said = "a frontend in this process was not closed before its kernel"
    with pytest.raises(TimeoutError, match=said), ManualKernel(transport="inproc", deadline=SOON) as kernel:
        socket = kernel.context.socket(zmq.DEALER)
        socket.connect(kernel.connection.endpoint("shell"))
    socket.close(0)
    for thread in threading.enumerate():
        if thread.name == "kernelbridge-testing-context":
            thread.join(DEADLINE)


def test_a_kernel_whose_block_has_not_begun_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="its block has not begun"):
        _ = ScriptedKernel().connection


# By hand


def test_everything_that_is_sent_to_a_kernel_played_by_hand_has_to_be_taken() -> None:
    with fails() as failure, ManualKernel() as kernel, a_socket(kernel) as socket:
        for _ in range(2):
            socket.send_multipart(frames(kernel))
    assert failure.value.headline == "shell: 2 messages were not expected"
    assert report(failure)[1] == "  everything that a frontend sends has to be expected"


def test_by_hand_what_is_taken_must_match_and_come() -> None:
    with ManualKernel(deadline=SOON) as kernel:
        for waits in (lambda: kernel.take(), lambda: kernel.take_subscription(), lambda: kernel.become_ready()):
            with fails() as failure:
                waits()
            assert report(failure)[1] == f"  nothing came within {SOON} s"
        with pytest.raises(TypeError, match="needs no cue"):
            kernel.play(cue("go"))
        kernel.play(die())
        with fails() as failure:
            kernel.take(input_reply())
        assert report(failure)[1] == "  the kernel has died"


# In a process of its own


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))


@pytest.mark.usefixtures("runtime")
def test_the_report_of_a_process_is_raised_in_the_test() -> None:
    with fails() as failure, scripted_kernelspec(on(execute_request("a"), handle())) as name, launch(name):
        pass
    assert report(failure)[:2] == ["shell: what was expected did not come", "  the kernel has died"]
    assert "> on execute_request 'a'" in report(failure)


def fail_in_the_other_process() -> None:
    raise ZeroDivisionError("over there")


@pytest.mark.usefixtures("runtime")
def test_an_error_in_a_process_is_raised_in_the_test_from_what_it_caused_there() -> None:
    script = on(execute_request("a"), call(fail_in_the_other_process))
    with fails() as failure, scripted_kernelspec(script) as name, launch(name) as bridge:
        bridge.execute("a").result(DEADLINE)
    assert failure.value.headline == "an error in the process of the scripted kernel"
    assert report(failure)[-1] == "ZeroDivisionError: over there"
    assert "ended with exit status 1" in str(failure.value.__cause__)


def test_a_kernelspec_that_nobody_uses() -> None:
    with fails() as failure, scripted_kernelspec(hang()):
        pass
    assert failure.value.headline == "the scripted kernel was never started"


def test_a_script_that_cannot_be_taken_to_another_process() -> None:
    with (
        pytest.raises(TypeError, match="the script cannot be taken to another process"),
        scripted_kernelspec(call(lambda: None)),
    ):
        pass
