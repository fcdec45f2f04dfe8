"""A handler that breaks its contract: each request is answered all the same, and the kernel goes on.

What a method raises is in `test_failures`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kernelbridge.testing import ANY, ProtocolClient, busy, error, execute_reply, idle, message, regex, reply, stdout
from kernelbridge.wire.contents import CompleteReply, DebugReply, DebugRequest, ErrorReply, ExecuteReply
from tests.support.exchange import ask, run
from tests.support.kernels import Cells

REQUESTS: dict[str, dict[str, Any]] = {
    "complete": {"code": "x", "cursor_pos": 1},
    "inspect": {"code": "x", "cursor_pos": 1, "detail_level": 0},
    "is_complete": {"code": "x"},
    "history": {"hist_access_type": "tail", "n": 1, "raw": True, "output": False},
}
DEBUG = {"type": "request", "seq": 7, "command": "attach", "arguments": {}}


class OwnError(BaseException):
    """What is no Exception."""


class Unshowable:
    def __repr__(self) -> str:
        raise OwnError


class Broken(Cells):
    """A language whose methods do what they were told."""

    def __init__(self, does: Callable[[], Any]) -> None:
        super().__init__(fine=lambda kernel: kernel.write("stdout", "fine\n"))
        self._does = does

    def execute(self, request: Any, execution_count: int) -> Any:
        return super().execute(request, execution_count) if request.code == "fine" else self._does()

    def complete(self, request: Any) -> Any:
        return self._does()

    inspect = is_complete = history = complete

    def debug(self, request: DebugRequest, answer: Callable[[Any], object]) -> None:
        answer(self._does())


def goes_on(client: ProtocolClient) -> None:
    run(client, "fine", stdout("fine\n"))


async def awaited() -> object:
    return object()


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a number": (lambda: 5, "int"),
    "a dict": (dict, "dict"),
    "another reply": (lambda: ExecuteReply(execution_count=1), "ExecuteReply"),
    "a coroutine": (awaited, "object"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_reply_of_a_wrong_type_is_an_error_that_names_the_method_and_the_type(wrong: str) -> None:
    does, name = WRONG[wrong]
    with ProtocolClient(Broken(does)) as client:
        for request, content in REQUESTS.items():
            said = ask(client, request, content, status="error", ename="TypeError").content["evalue"]
            assert "Broken.complete must return" in said and said.endswith(f"has returned {name}")
        goes_on(client)


def test_so_is_that_of_execute_which_is_shown() -> None:
    with ProtocolClient(Broken(lambda: CompleteReply(matches=[], cursor_start=0, cursor_end=0))) as client:
        says = regex("Broken.execute must return ExecuteReply or ErrorReply, and has returned CompleteReply")
        run(client, "x", error("TypeError", says), replied=execute_reply("error", ename="TypeError", evalue=says))
        goes_on(client)


UNSENDABLE: dict[str, Callable[[], Any]] = {
    "a field of a wrong type": lambda: ErrorReply(ename="E", evalue="", extra=5),  # type: ignore[arg-type]
    "a value whose repr raises": lambda: CompleteReply(matches=[Unshowable()], cursor_start=0, cursor_end=0),  # type: ignore[list-item]
}


@pytest.mark.parametrize("what", UNSENDABLE)
def test_a_reply_that_cannot_be_sent_is_replaced_by_an_error(what: str) -> None:
    with ProtocolClient(Broken(UNSENDABLE[what])) as client:
        ask(client, "complete", REQUESTS["complete"], status="error", ename=ANY)
        goes_on(client)


def raises(failure: BaseException) -> Callable[[], Any]:
    def does() -> None:
        raise failure

    return does


DEBUGS: dict[str, tuple[Callable[[], Any], str]] = {
    "a wrong type": (lambda: 5, "Broken.debug must answer by a DebugReply, and has given int"),
    "an exception": (raises(RuntimeError("no more threads")), "RuntimeError: no more threads"),
    "an exit": (raises(SystemExit(3)), "SystemExit: 3"),
}


@pytest.mark.parametrize("fails", DEBUGS)
def test_a_debug_request_that_fails_is_answered_without_success(fails: str) -> None:
    does, said = DEBUGS[fails]
    with ProtocolClient(Broken(does)) as client:
        for _ in range(2):
            fields: dict[str, Any] = {
                "type": "response",
                "success": False,
                "command": "attach",
                "request_seq": 7,
                "message": said,
            }
            sent = client.send("debug_request", DEBUG)
            client.iopub.expect(busy(), idle(), parent=sent)
            client.control.expect(reply("debug", **fields), parent=sent)
        goes_on(client)


def test_who_fails_when_it_has_answered_has_answered_once() -> None:
    class Late(Cells):
        def debug(self, request: DebugRequest, answer: Callable[[DebugReply], object]) -> None:
            answer(DebugReply(success=True, command=request.command, request_seq=request.seq))
            raise OwnError

    with ProtocolClient(Late()) as client:
        for _ in range(2):
            sent = client.send("debug_request", DEBUG)
            client.iopub.expect(busy(), idle(), parent=sent)
            client.control.expect(reply("debug", success=True), parent=sent)


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_what_a_handler_does_not_say_of_itself_is_missed_in_the_reply(channel: Any) -> None:
    class Nameless(Cells):
        @property
        def language_info(self) -> Any:  # type: ignore[override]
            raise NotImplementedError("language_info")

    handler = Nameless(fine=lambda kernel: kernel.write("stdout", "fine\n"))
    with ProtocolClient(handler) as client:
        ask(client, "kernel_info", channel=channel, status="error", ename="NotImplementedError")
        goes_on(client)


def test_a_handler_that_fails_when_the_kernel_is_to_end_does_not_keep_it() -> None:
    class Stays(Cells):
        def ending(self) -> None:
            raise OwnError

    handler = Stays()
    with ProtocolClient(handler) as client:
        request = client.send("shutdown_request", restart=False)
        client.control.expect(reply("shutdown", status="ok"), parent=request)
        client.expect_end()
        client.iopub.of(request).expect(busy(), message("shutdown_reply"), idle())
    assert handler.stopped == [False]
