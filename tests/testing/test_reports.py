"""Each kind of failure that the kit can report is provoked, and its report read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    ANY,
    DEADLINE,
    ProtocolClient,
    ProtocolFailure,
    VirtualClock,
    busy,
    comm_msg,
    execute_input,
    execute_reply,
    idle,
    input_request,
    message,
    result,
    stderr,
    stdout,
)
from kernelbridge.testing.matchers import Matcher
from kernelbridge.testing.targets import running
from kernelbridge.wire.frames import decode, encode
from kernelbridge.wire.messages import Message, Session
from tests.support.kernels import Cells, serving
from tests.testing.conftest import Peer

SOON = 0.2
"""The deadline, in seconds, where a test is of what never comes."""


def hi(kernel: Kernel) -> None:
    kernel.write("stdout", "hi\n")
    kernel.publish("clear_output", {"wait": True}, {"tag": "blue"})
    kernel.write("stderr", "oh\n")


def quiet(kernel: Kernel) -> None:
    """Show nothing."""


def ask(kernel: Kernel) -> None:
    kernel.input("well?")


def cells() -> Cells:
    return Cells(hi=hi, quiet=quiet, ask=ask)


def fails() -> AbstractContextManager[pytest.ExceptionInfo[ProtocolFailure]]:
    return pytest.raises(ProtocolFailure)


def report(failure: pytest.ExceptionInfo[ProtocolFailure]) -> list[str]:
    return str(failure.value).splitlines()


def row(failure: pytest.ExceptionInfo[ProtocolFailure], mark: str) -> list[str]:
    """Return the first row of the comparison with this mark, its sides without blanks at their ends."""
    found = next(line for line in report(failure) if line.startswith(f"{mark} ") and " |" in line)
    return [side.strip() for side in found[1:].split(" |")]


def fail_on_iopub(*expected: Matcher, code: str = "hi") -> pytest.ExceptionInfo[ProtocolFailure]:
    with fails() as failure, ProtocolClient(cells()) as client:
        client.execute(code)
        # It is there, so that a report shows it.
        client.shell.expect(execute_reply())
        client.iopub.expect(*expected)
    return failure


# A message that is not what was expected


def test_a_wrong_content_is_shown_beside_what_was_expected() -> None:
    failure = fail_on_iopub(busy(), execute_input("ho"), idle())
    assert failure.value.headline == "iopub: message 2 of 3 is not what was expected"
    assert report(failure)[1] == "  content.code is 'hi', not 'ho'"
    assert row(failure, "=") == ["busy", "r1   busy"]
    assert row(failure, ">") == ["execute_input 'ho'", "r1   execute_input 'hi'"]


def test_the_report_ends_with_all_channels_on_one_time_line() -> None:
    failure = fail_on_iopub(busy(), idle())
    start = next(place for place, line in enumerate(report(failure)) if line.startswith("time line"))
    # A star, or a blank, and the time, which differs.
    rows = [(line[0], *line[1:].split()[1:5]) for line in report(failure)[start + 1 :]]
    assert rows[0] == (" ", "->", "shell", "r1", "execute_request")
    assert (" ", "<-", "iopub", "r1", "busy") in rows
    assert (" ", "<-", "shell", "r1", "execute_reply") in rows
    unread = [row for row in rows if row[0] == "*"]
    assert unread[0] == ("*", "<-", "iopub", "r1", "execute_input")


def test_another_type_of_message() -> None:
    failure = fail_on_iopub(busy(), execute_input(), result())
    assert report(failure)[1] == "  its type is stream, not execute_result"


def test_a_missing_field() -> None:
    failure = fail_on_iopub(busy(), message("execute_input", colour="blue"))
    assert report(failure)[1] == "  content.colour is missing"


def test_a_wrong_parent_is_told_by_its_short_name() -> None:
    with fails() as failure, ProtocolClient(cells()) as client:
        first, second = client.execute("quiet"), client.execute("quiet")
        client.iopub.expect(busy(), execute_input(), idle(), parent=first)
        client.iopub.expect(busy(parent=first))
    assert report(failure)[1] == "  its parent is r2, not r1"
    assert row(failure, ">") == ["r1   busy", "r2   busy"]
    assert second.parent is None


def test_what_is_read_of_one_request_is_compared_with_that_alone() -> None:
    with fails() as failure, ProtocolClient(cells()) as client:
        first, second = client.execute("quiet"), client.execute("quiet")
        client.iopub.of(second).expect(busy(), execute_input(), idle())
        client.iopub.of(first).expect(busy(), idle())
    assert row(failure, "=") == ["r1   busy", "r1   busy"]
    assert row(failure, ">") == ["r1   idle", "r1   execute_input 'quiet'"]
    assert not [line for line in report(failure) if " | r2" in line]


def test_a_parent_where_none_should_be() -> None:
    assert report(fail_on_iopub(busy(parent=None)))[1] == "  its parent is r1, and it should have none"


def test_no_parent_where_one_should_be() -> None:
    with fails() as failure, ProtocolClient(cells()) as client:
        client.subscribe("topic")
        client.iopub.expect(message("iopub_welcome", parent=ANY))
    assert report(failure)[1] == "  it has no parent"
    assert row(failure, ">")[1] == "-    iopub_welcome subscription='topic'"


def test_wrong_metadata() -> None:
    shown = (busy(), execute_input(), stdout("hi\n"))
    failure = fail_on_iopub(*shown, message("clear_output", metadata={"tag": "red"}))
    assert report(failure)[1] == "  metadata.tag is 'blue', not 'red'"


def test_wrong_buffers() -> None:
    def send(kernel: Kernel) -> None:
        kernel.publish("comm_msg", {"comm_id": "c", "data": {}}, buffers=[b"two"])

    with fails() as failure, ProtocolClient(Cells(send=send)) as client:
        client.execute("send")
        client.iopub.expect(busy(), execute_input(), comm_msg(comm_id="c", buffers=[b"one"]))
    assert report(failure)[1] == "  buffers[0] is b'two', not b'one'"


# Text


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        (stdout("ho\n"), "the text is 'hi\\n', not 'ho\\n'"),
        (stdout("hi\nthere\n"), "the text ends with 'hi\\n', and should be 'hi\\nthere\\n'"),
        (stderr("hi\n"), "content.name is 'stdout', not 'stderr'"),
    ],
)
def test_a_wrong_text(expected: Matcher, why: str) -> None:
    failure = fail_on_iopub(busy(), execute_input(), expected)
    assert report(failure)[1] == f"  {why}"


def test_a_text_that_goes_on_is_shown_whole() -> None:
    failure = fail_on_iopub(busy(), execute_input(), stdout("h"), idle())
    assert report(failure)[1] == "  its type is stream, not status"
    assert row(failure, ">") == ["stdout 'h'", "r1   stdout 'hi\\n'"]


# What does not come


def test_a_message_that_does_not_come() -> None:
    with fails() as failure, ProtocolClient(cells()) as client:
        client.execute("quiet")
        client.shell.expect(execute_reply())
        client.iopub.expect(busy(), execute_input(), idle())
        client.deadline = SOON
        client.iopub.expect(busy(), idle())
    assert failure.value.headline == "iopub: message 1 of 2 did not come"
    assert report(failure)[1] == f"  nothing came within {SOON} s"
    assert row(failure, ">") == ["busy", ""]


def test_a_text_whose_end_is_not_known_because_nothing_follows() -> None:
    def write(kernel: Kernel) -> None:
        kernel.write("stdout", "text")
        kernel.input("well?")

    with fails() as failure, ProtocolClient(Cells(write=write)) as client:
        client.execute("write")
        client.stdin.expect(input_request())
        client.deadline = SOON
        client.iopub.expect(busy(), execute_input(), stdout(ANY))
    assert failure.value.headline == "iopub: message 3 of 3 did not come"
    ends = "what a placeholder stands for ends where a message of another kind follows"
    assert report(failure)[1] == f"  {ends}: nothing came within {SOON} s"


def test_a_kernel_that_goes_while_it_is_waited_for_fails_at_once() -> None:
    with fails() as failure, ProtocolClient(Cells(end=lambda kernel: kernel.end())) as client:
        request = client.execute("end")
        client.iopub.expect(busy(), execute_input(), idle(), parent=request)
        client.shell.expect(execute_reply())
        client.stdin.expect(input_request())
    assert failure.value.headline == "stdin: message 1 of 1 did not come"
    assert report(failure)[1] == "  the kernel has gone"


def test_a_kernel_that_fails_to_start() -> None:
    class Broken(Cells):
        def start(self) -> None:
            raise ValueError("no way")

    with fails() as failure, ProtocolClient(Broken()):
        raise AssertionError("the block is not entered")
    assert report(failure)[1] == "  the kernel has gone: it raised ValueError('no way')"


def test_what_a_kernel_raises_at_its_end_is_raised() -> None:
    class Broken(Cells):
        def stop(self, restart: bool) -> None:
            raise ValueError("no way")

    with pytest.raises(ValueError, match="no way"), ProtocolClient(Broken(quiet=quiet)):
        pass


def test_a_handler_that_does_not_return() -> None:
    go_on = threading.Event()

    class Slow(Cells):
        def stop(self, restart: bool) -> None:
            go_on.wait(DEADLINE)

    with pytest.raises(TimeoutError, match="has not returned"), running(Slow(), None, lambda: SOON) as found:
        assert found.start is not None
        assert found.begun is not None
        found.start()
        assert found.begun(DEADLINE)
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "kernelbridge-testing-kernel":
            thread.join(DEADLINE)


def test_a_kernel_that_does_not_end() -> None:
    with fails() as failure, ProtocolClient(cells()) as client:
        client.deadline = SOON
        client.expect_end()
    assert failure.value.headline == "the kernel does not end"
    assert report(failure)[-1] == "  nothing was sent, and nothing came"


# What is left at the end


def test_what_nobody_has_read_fails_at_the_end_of_the_block() -> None:
    with fails() as failure, ProtocolClient(cells()) as client:
        client.execute("quiet")
        client.iopub.expect(busy(), execute_input(), idle())
    assert failure.value.headline == "1 message was not read: 1 on shell"
    assert any(line.startswith("*") and "execute_reply" in line for line in report(failure))


def test_the_rest_of_a_text_is_left_as_well() -> None:
    def shout(kernel: Kernel) -> None:
        kernel.end()
        kernel.write("stdout", "abc")

    with fails() as failure, ProtocolClient(Cells(shout=shout)) as client:
        client.execute("shout")
        client.shell.expect(execute_reply())
        client.expect_end()
        client.iopub.expect(busy(), execute_input(), stdout("a"))
    assert failure.value.headline == "2 messages were not read: 2 on iopub"
    assert any("| r1   stdout 'bc'" in line for line in report(failure))


def test_what_an_unasked_publisher_sends_last_is_still_found() -> None:
    """A message on its way when the block ends is waited for."""
    go = threading.Event()
    publishers: list[threading.Thread] = []

    def later(kernel: Kernel) -> None:
        def publish() -> None:
            assert go.wait(DEADLINE)
            kernel.publish("custom", {})

        publishers.append(threading.Thread(target=publish))
        publishers[0].start()

    with fails() as failure, ProtocolClient(Cells(later=later)) as client:
        client.execute("later")
        client.iopub.expect(busy(), execute_input(), idle())
        client.shell.expect(execute_reply())
        go.set()
        publishers[0].join(DEADLINE)
    assert failure.value.headline == "1 message was not read: 1 on iopub"
    assert any("custom" in line for line in report(failure))


def test_what_still_runs_at_the_end() -> None:
    with fails() as failure, ProtocolClient(cells()) as client:
        client.execute("ask")
        client.iopub.expect(busy(), execute_input())
        client.stdin.expect(input_request("well?"))
        client.deadline = SOON
    assert failure.value.headline == "the kernel does not answer at the end: what it was asked before may still run"


def test_a_kernel_that_has_gone_unasked() -> None:
    with fails() as failure, ProtocolClient(Cells(end=lambda kernel: kernel.end())) as client:
        client.execute("end")
        client.iopub.expect(busy(), execute_input(), idle())
        client.shell.expect(execute_reply())
        assert client.kernel is not None
        assert client.kernel.wait(DEADLINE)
    assert report(failure)[1] == "  the kernel has gone"


def test_nothing_can_be_sent_to_a_kernel_that_has_gone() -> None:
    with fails() as failure, ProtocolClient(cells()) as client:
        client.send("shutdown_request", restart=False)
        client.expect_end()
        client.execute("hi")
    assert failure.value.headline == "nothing can be sent on shell"
    assert report(failure)[1] == "  the kernel has gone"


def test_a_failure_in_the_block_is_not_hidden_by_what_is_left() -> None:
    with pytest.raises(ZeroDivisionError), ProtocolClient(cells()) as client:
        client.execute("hi")
        raise ZeroDivisionError


# A kernel that does not keep to the protocol


def test_a_kernel_that_does_not_answer(peer: Peer) -> None:
    with fails() as failure, ProtocolClient(peer.connection, context=peer.context, deadline=SOON):
        raise AssertionError("the block is not entered")
    assert failure.value.headline == "the kernel does not answer a kernel_info_request on Shell"


def test_a_channel_on_which_nobody_listens() -> None:
    with socket.socket() as deaf, serving(cells()) as kernel:
        # Bound, and so nobody else's, and it does not listen.
        deaf.bind(("127.0.0.1", 0))
        wrong = kernel.connection.with_ports({"stdin": deaf.getsockname()[1]})
        with fails() as failure, ProtocolClient(wrong, deadline=10 * SOON):
            raise AssertionError("the block is not entered")
    assert failure.value.headline == "there is no connection to the kernel on stdin"


def test_a_kernel_that_publishes_no_idle(peer: Peer) -> None:
    clock = VirtualClock()

    def answer() -> None:
        frames = peer.sockets["shell"].recv_multipart()
        request = decode(frames, peer.signer)
        header = Session(clock.now).header("kernel_info_reply")
        reply = Message(header, {"status": "ok"}, request.header, identities=request.identities)
        peer.sockets["shell"].send_multipart(encode(reply, peer.signer))
        clock.advance(DEADLINE)

    answering = threading.Thread(target=answer)
    answering.start()
    with (
        fails() as failure,
        ProtocolClient(peer.connection, context=peer.context, deadline=DEADLINE, clock=clock),
    ):
        raise AssertionError("the block is not entered")
    answering.join(DEADLINE)
    assert failure.value.headline == "the kernel publishes no idle for a kernel_info_request"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda frames: [*frames[:2], b"0" * 64, *frames[3:]], "  iopub: wrong signature"),
        (lambda frames: [b"nonsense"], "  iopub: no delimiter among 1 frames"),
    ],
)
def test_what_is_no_message(peer: Peer, spoil: Callable[[list[bytes]], list[bytes]], why: str) -> None:
    said = Message(Session(lambda: "").header("status"), {"execution_state": "idle"}, identities=[b"status"])
    with fails() as failure, ProtocolClient(peer.connection, context=peer.context, settle=False) as client:
        # The subscription.
        peer.sockets["iopub"].recv()
        peer.sockets["iopub"].send_multipart(spoil([bytes(frame) for frame in encode(said, peer.signer)]))
        client.iopub.expect(idle())
    assert failure.value.headline == "what came is no message"
    assert report(failure)[1] == why


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        # Who came late has missed the first ones.
        ([7, 8, 10], "  number 10 came behind number 8"),
        ([1, 1], "  number 1 came behind number 1"),
        ([2, 1], "  number 1 came behind number 2"),
        ([1, None], "  a message without a number came behind number 1"),
    ],
)
def test_k9_a_number_that_does_not_follow_the_last_one(peer: Peer, numbers: list[int | None], why: str) -> None:
    """A kernel that numbers what it publishes does so without a gap."""
    with fails() as failure, ProtocolClient(peer.connection, context=peer.context, settle=False) as client:
        # The subscription.
        peer.sockets["iopub"].recv()
        for number in numbers:
            metadata = {} if number is None else {"kernelbridge": {"seq": number}}
            said = Message(Session(lambda: "").header("status"), {"execution_state": "idle"}, metadata=metadata)
            peer.sockets["iopub"].send_multipart([b"status", *encode(said, peer.signer)])
        client.iopub.expect(*[idle()] * len(numbers))
    assert failure.value.headline == "iopub: the messages are not numbered one by one"
    assert report(failure)[1] == why
