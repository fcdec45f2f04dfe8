"""Questions to the frontend: after all that was shown before, to whoever sent the request, and never for ever (K7)."""

from __future__ import annotations

from typing import Any

import pytest
import zmq

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.kernel.stdin import StdinError
from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    iopub_welcome,
    regex,
    reply,
    stdout,
)
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Message
from kernelbridge.wire.signing import Signer
from tests.support.kernels import Cells, serving


def ask(kernel: Kernel) -> None:
    kernel.write("stdout", "before")
    kernel.write("stdout", f"<{kernel.input('name? ', password=True)}>")


ASKED = [busy(), execute_input("ask"), stdout("before")]


def catching(kernel: Kernel) -> None:
    try:
        kernel.input("? ")
    except StdinError as refusal:
        kernel.write("stdout", str(refusal))


def test_k7_a_prompt_comes_when_all_before_it_is_on_the_iopub_socket() -> None:
    with ProtocolClient(Cells(ask=ask)) as client:
        for answer in ("one", "two\u20ac", ""):
            request = client.execute("ask")
            client.stdin.expect(input_request("name? ", password=True, parent=request))
            # Inside of one process, what is on the socket can be read at once.
            client.deadline = 0
            client.iopub.expect(*ASKED, parent=request)
            client.deadline = DEADLINE
            client.answer(answer)
            client.iopub.expect(stdout(f"<{answer}>"), idle(), parent=request)
            client.shell.expect(execute_reply(parent=request))


@pytest.mark.parametrize("options", [{"allow_stdin": False}, {}])
def test_k7_a_frontend_that_takes_no_prompt_is_not_asked(options: dict[str, Any]) -> None:
    with ProtocolClient(Cells(catching=catching)) as client:
        request = client.send("execute_request", {"code": "catching", **options})
        refused = stdout(regex("allow_stdin is false"))
        client.iopub.expect(busy(), execute_input("catching"), refused, idle(), parent=request)
        client.shell.expect(execute_reply())


def test_k7_a_frontend_that_is_not_connected_to_stdin_is_an_error_and_no_wait() -> None:
    with (
        serving(Cells(catching=catching)) as kernel,
        ProtocolClient(kernel) as client,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as shell,
    ):
        shell.linger = 0
        shell.connect(kernel.connection.endpoint("shell"))
        request = Message(client.session.header("execute_request"), {"code": "catching", "allow_stdin": True})
        shell.send_multipart(encode(request, Signer(kernel.connection.key)))
        refused = stdout(regex("not connected to stdin"))
        client.iopub.expect(busy(), execute_input("catching"), refused, idle(), parent=request)


def test_k7_answers_go_to_whoever_was_asked() -> None:
    """Of two frontends the one whose request runs is asked, and only its answer counts."""
    with (
        serving(Cells(ask=ask)) as kernel,
        ProtocolClient(kernel) as one,
        ProtocolClient(kernel) as two,
    ):
        one.iopub.expect(iopub_welcome())
        request = one.execute("ask")
        one.stdin.expect(input_request("name? ", parent=request))
        two.send("input_reply", value="not mine")
        # Control answers while the cell waits: the kernel has had the time to hear the wrong answer.
        info = two.send("kernel_info_request", channel="control")
        two.control.expect(reply("kernel_info"))
        one.send("input_reply")
        one.send("input_reply", value="mine")
        one.shell.expect(execute_reply())
        for client in (one, two):
            client.iopub.of(request).expect(*ASKED, stdout("<mine>"), idle())
            client.iopub.of(info).expect(busy(), idle())


def test_k7_an_interrupt_ends_a_wait_for_input_on_any_thread() -> None:
    """Here the kernel is served on a thread that gets no signals. An answer that comes late is nobody's."""

    def answered(late: Message | None) -> None:
        request = client.execute("ask")
        (prompt,) = client.stdin.expect(input_request("name? ", parent=request))
        if late is None:
            # As jupyter_client answers, which does not say which prompt it is for.
            client.send("input_reply", value="in time")
        else:
            client.answer("too late", late)
            client.answer("in time", prompt)
        client.iopub.expect(*ASKED, stdout("<in time>"), idle(), parent=request)
        client.shell.expect(execute_reply(parent=request))

    with ProtocolClient(Cells(ask=ask)) as client:
        request = client.execute("ask")
        (late,) = client.stdin.expect(input_request("name? ", parent=request))
        interrupt = client.send("interrupt_request")
        client.control.expect(reply("interrupt", status="ok", parent=interrupt))
        client.shell.expect(execute_reply("error", ename="KeyboardInterrupt", parent=request))
        client.iopub.of(request).expect(*ASKED, error("KeyboardInterrupt"), idle())
        client.iopub.of(interrupt).expect(busy(), idle())
        answered(None)
        answered(late)


def test_k7_stop_ends_a_wait_for_input() -> None:
    """The kernel's end does not wait for an answer: whoever asked is told."""
    problems: list[str] = []

    def cell(kernel: Kernel) -> None:
        try:
            kernel.input("? ")
        except StdinError as refusal:
            problems.append(str(refusal))

    handler = Cells(cell=cell)
    with ProtocolClient(handler) as client:
        request = client.execute("cell")
        client.stdin.expect(input_request("? ", password=False, parent=request))
        client.iopub.expect(busy(), execute_input("cell"), parent=request)
        handler.kernel.stop()
        client.expect_end()
    assert problems == ["the kernel has ended"]


def test_input_outside_of_any_request_asks_nobody() -> None:
    with serving(Cells()) as kernel, pytest.raises(StdinError, match="nobody to ask"):
        kernel.input("? ")
