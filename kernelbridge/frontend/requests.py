"""What is asked on Shell: of the main shell by the bridge, and of a subshell by its `Subshell`.

Names and defaults of the arguments are those of the messaging specification.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kernelbridge.frontend.channels import SendingChannel
from kernelbridge.frontend.comms import COMM_TYPES
from kernelbridge.frontend.execution import Execution, OnInput, Request
from kernelbridge.frontend.link import Link
from kernelbridge.wire.messages import Buffer, Header, Message


class ShellRequests(ABC):
    """Who can be asked on Shell. Any thread and any event loop may do so."""

    @property
    @abstractmethod
    def _link(self) -> Link:
        """The kernel's that is asked."""

    def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool | None = None,
        user_expressions: Mapping[str, str] | None = None,
        allow_stdin: bool | None = None,
        stop_on_error: bool = True,
        on_input: OnInput | None = None,
        timeout: float | None = None,
    ) -> Execution:
        """Run `code`, when what was asked for before it has ended. An error in it is a reply like any other.

        What waits for its turn can be cancelled (`Execution.cancel`). It is aborted, and its reply says so, when an
        execution before it fails that was to `stop_on_error`, or when the kernel is interrupted. `timeout`: the seconds
        that it may run, not counting its wait; then it is interrupted, and nothing else is.

        `on_input(prompt, password)` answers what the code asks for by `input`, on a thread of its own; what it returns
        may be awaitable. If it raises, the answer is empty. `allow_stdin` is True where there is an `on_input`.
        """
        # One and the same, also when the bridge takes another meanwhile.
        link = self._link
        execution = Execution(
            self._header("execute_request"),
            code,
            link.home,
            on_input,
            silent=silent,
            stop_on_error=stop_on_error,
            timeout=timeout,
        )
        content = {
            "code": code,
            "silent": silent,
            "store_history": not silent if store_history is None else store_history,
            "user_expressions": dict(user_expressions or {}),
            "allow_stdin": on_input is not None if allow_stdin is None else allow_stdin,
            "stop_on_error": stop_on_error,
        }
        link.outbox.ask("shell", execution.running, content)
        return execution

    def complete(self, code: str, cursor_pos: int | None = None) -> Request:
        """Ask for completions at `cursor_pos`, in code points, by default the end of the code."""
        return self._ask("complete_request", code=code, cursor_pos=_cursor(code, cursor_pos))

    def inspect(self, code: str, cursor_pos: int | None = None, detail_level: Literal[0, 1] = 0) -> Request:
        """Ask for documentation of what stands at `cursor_pos`, in code points, by default the end of the code."""
        return self._ask("inspect_request", code=code, cursor_pos=_cursor(code, cursor_pos), detail_level=detail_level)

    def is_complete(self, code: str) -> Request:
        """Ask whether `code` is ready to run or goes on on another line."""
        return self._ask("is_complete_request", code=code)

    def history(
        self,
        hist_access_type: Literal["range", "tail", "search"] = "tail",
        *,
        output: bool = False,
        raw: bool = True,
        session: int | None = None,
        start: int | None = None,
        stop: int | None = None,
        n: int | None = None,
        pattern: str | None = None,
        unique: bool = False,
    ) -> Request:
        """Ask for former input."""
        given = {"session": session, "start": start, "stop": stop, "n": n, "pattern": pattern}
        content: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if hist_access_type == "search":
            content["unique"] = unique
        return self._ask("history_request", hist_access_type=hist_access_type, output=output, raw=raw, **content)

    def kernel_info(self) -> Request:
        """Ask what the kernel is. What it said when it became ready is in `kernel_info_reply`."""
        return self._ask("kernel_info_request")

    def comm_info(self, target_name: str | None = None) -> Request:
        """Ask which comms are open, of one target or of all. Of all, the bridge's `open_comms` says it too."""
        return self._ask("comm_info_request", **({} if target_name is None else {"target_name": target_name}))

    def send_comm(
        self,
        msg_type: Literal["comm_open", "comm_msg", "comm_close"],
        content: dict[str, Any],
        buffers: Sequence[Buffer] = (),
    ) -> Request:
        """Send a comm message to the kernel. It has no reply: the request is done, with that message, at its idle."""
        request = Request(self._header(msg_type), needs_reply=False, needs_idle=True)
        self._link.outbox.ask("shell", request, content, buffers)
        return request

    def _ask(self, msg_type: str, **content: Any) -> Request:
        request = Request(self._header(msg_type))
        self._link.outbox.ask("shell", request, content)
        return request

    def _header(self, msg_type: str) -> Header:
        return self._link.session.header(msg_type)


def ask_control(link: Link, msg_type: str, **content: Any) -> Request:
    """Ask on Control, where the kernel answers also while it runs code."""
    request = Request(link.session.header(msg_type))
    link.outbox.ask("control", request, content)
    return request


def forward(link: Link, message: Message, channel: SendingChannel, on_input: OnInput | None) -> Request:
    """Send a request that was made elsewhere, as it is (see `Bridge.forward`)."""
    header, content = message.header, message.content
    sent: Request
    if header.msg_type == "execute_request":
        execution = sent = Execution(
            header,
            content.get("code", ""),
            link.home,
            on_input,
            silent=content.get("silent", False),
            stop_on_error=content.get("stop_on_error", True),
        )
        asked: Request = execution.running
    elif header.msg_type in COMM_TYPES:
        asked = sent = Request(header, needs_reply=False, needs_idle=True)
    else:
        asked = sent = Request(header)
    link.outbox.ask(channel, asked, content, message.buffers, message.metadata)
    return sent


def _cursor(code: str, cursor_pos: int | None) -> int:
    return len(code) if cursor_pos is None else cursor_pos
