"""Clients with jupyter_client's interface that read a bridge's stream, and have no socket.

The methods that ask (`execute`, `complete` and so on) are jupyter_client's own: they make a message and send it on a
channel, which is ours.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import sys
import time
from collections.abc import Callable
from getpass import getpass
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient as JupyterAsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient as JupyterKernelClient
from jupyter_client.client import KernelClient as JupyterClient
from jupyter_client.client import validate_string_dict

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.frontend.bridge import Bridge, connect
from kernelbridge.frontend.errors import BridgeError
from kernelbridge.frontend.subscribers import Subscription
from kernelbridge.jupyter.channels import (
    AsyncChannel,
    Beat,
    BlockingChannel,
    Correspondence,
    died,
    from_jupyter,
    lives,
    to_json,
)
from kernelbridge.wire.connection import ConnectionInfo
from kernelbridge.wire.messages import Message, Session

__all__ = ["AsyncKernelClient", "KernelClient"]

Hook = Callable[[dict[str, Any]], Any]


class _Client(JupyterClient):
    """What both clients have in common."""

    _channel_class = BlockingChannel
    _correspondence: Correspondence | None = None
    _own_bridge: Bridge | None = None

    # The bridge

    @property
    def _letters(self) -> Correspondence:
        if self._correspondence is None:
            bridge = getattr(self.parent, "bridge", None)
            if bridge is None:
                info = ConnectionInfo.from_json(to_json(self.get_connection_info()))
                bridge = self._own_bridge = connect(info, timeout=None)
            self._correspondence = Correspondence(bridge, Session(SystemClock().now, self.session.session))
        return self._correspondence

    @property
    def bridge(self) -> Bridge:
        """The manager's, or one of the client's own where it has no manager that has one."""
        return self._letters.bridge

    def stop_channels(self) -> None:
        super().stop_channels()
        self._shell_channel = self._control_channel = self._stdin_channel = None
        self._iopub_channel = self._hb_channel = None
        self._correspondence = None
        own, self._own_bridge = self._own_bridge, None
        if own is not None:
            own.close()

    # The channels

    @property
    def shell_channel(self) -> BlockingChannel:
        """Replies, each behind what its request has shown, and a way out for requests."""
        if self._shell_channel is None:
            self._shell_channel = self._channel_class(Subscription(), self._ask_shell)
        channel: BlockingChannel = self._shell_channel
        return channel

    @property
    def control_channel(self) -> BlockingChannel:
        """Replies to what was asked on Control, and a way out for that."""
        if self._control_channel is None:
            self._control_channel = self._channel_class(Subscription(), self._ask_control)
        channel: BlockingChannel = self._control_channel
        return channel

    @property
    def stdin_channel(self) -> BlockingChannel:
        """Input requests, each behind what was shown before it, and a way out for answers."""
        if self._stdin_channel is None:
            self._stdin_channel = self._channel_class(Subscription(), lambda answer: self._letters.answer(answer))
        channel: BlockingChannel = self._stdin_channel
        return channel

    @property
    def iopub_channel(self) -> BlockingChannel:
        """All that the kernel publishes from the first look at this channel on."""
        if self._iopub_channel is None:
            stream = self.bridge.subscribe(backlog=None)
            self._iopub_channel = self._channel_class(stream, _refuse)
        channel: BlockingChannel = self._iopub_channel
        return channel

    @property
    def hb_channel(self) -> Beat:
        """Whether the kernel is there."""
        if self._hb_channel is None:
            self._hb_channel = Beat(self.bridge)
        channel: Beat = self._hb_channel
        return channel

    def _ask_shell(self, request: Message) -> None:
        self._letters.send(request, "shell", self.shell_channel.stream, self.stdin_channel.stream)

    def _ask_control(self, request: Message) -> None:
        self._letters.send(request, "control", self.control_channel.stream, self.stdin_channel.stream)

    def _execute_in_one_stream(self, code: str, allow_stdin: bool | None, **content: Any) -> str:
        """Send an execute_request whose reply and whose questions come on IOPub, between its outputs."""
        if not isinstance(code, str):
            raise ValueError(f"code {code!r} must be a string")
        content["user_expressions"] = content["user_expressions"] or {}
        validate_string_dict(content["user_expressions"])
        content |= {"code": code, "allow_stdin": self.allow_stdin if allow_stdin is None else allow_stdin}
        request = from_jupyter(self.session.msg("execute_request", content))
        stream = self.iopub_channel.stream
        self._letters.send(request, "shell", stream, stream)
        return request.msg_id

    def _output_hook(self, given: Hook | None) -> Hook:
        """Return what shows outputs: in an IPython kernel as rich as they are, elsewhere as text."""
        if given is not None:
            return given
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if getattr(shell, "kernel", None) is None:
            return self._output_hook_default
        from IPython.display import publish_display_data

        def show(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] in ("display_data", "execute_result"):
                publish_display_data(content["data"], content["metadata"])
            else:
                self._output_hook_default(message)

        return show

    def _answer_by_terminal(self, message: dict[str, Any]) -> None:
        content = message["content"]
        try:
            given = (getpass if content["password"] else input)(content["prompt"])
        except EOFError:
            given = "\x04"
        except KeyboardInterrupt:
            # Who interrupts the prompt means the kernel, which a signal of the terminal reaches by itself.
            sys.stdout.write("\n")
            return
        self.input(given)

    async def _async_is_alive(self) -> bool:
        return lives(self.bridge)


class KernelClient(_Client, JupyterKernelClient):
    """What jupyter_client's `BlockingKernelClient` is, on a bridge. It needs no event loop."""

    def get_shell_msg(self, timeout: float | None = None) -> dict[str, Any]:
        message: dict[str, Any] = self.shell_channel.get_msg(timeout)
        return message

    def get_iopub_msg(self, timeout: float | None = None) -> dict[str, Any]:
        message: dict[str, Any] = self.iopub_channel.get_msg(timeout)
        return message

    def get_stdin_msg(self, timeout: float | None = None) -> dict[str, Any]:
        message: dict[str, Any] = self.stdin_channel.get_msg(timeout)
        return message

    def get_control_msg(self, timeout: float | None = None) -> dict[str, Any]:
        message: dict[str, Any] = self.control_channel.get_msg(timeout)
        return message

    def is_alive(self) -> bool:
        return lives(self.bridge)

    def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel is ready. Raises `RuntimeError` when it has died or time is up."""
        try:
            self.bridge.wait_ready(timeout)
        except TimeoutError:
            raise RuntimeError(f"Kernel didn't respond in {timeout} seconds") from None
        except BridgeError as error:
            raise died(error) from error
        self.iopub_channel.get_msgs()

    def _recv_reply(self, msg_id: str, timeout: float | None = None, channel: str = "shell") -> dict[str, Any]:
        deadline = _deadline(timeout)
        replies = self.control_channel if channel == "control" else self.shell_channel
        while True:
            try:
                reply: dict[str, Any] = replies.get_msg(_left(deadline))
            except queue.Empty:
                raise TimeoutError("Timeout waiting for reply") from None
            if reply["parent_header"].get("msg_id") == msg_id:
                return reply

    def execute_interactive(
        self,
        code: str,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: dict[str, Any] | None = None,
        allow_stdin: bool | None = None,
        stop_on_error: bool = True,
        timeout: float | None = None,
        output_hook: Hook | None = None,
        stdin_hook: Hook | None = None,
    ) -> dict[str, Any]:
        """Execute code, show what it shows, answer what it asks, and return the reply, as jupyter_client does."""
        show, ask = self._output_hook(output_hook), stdin_hook or self._answer_by_terminal
        deadline = _deadline(timeout)
        msg_id = self._execute_in_one_stream(
            code,
            allow_stdin,
            silent=silent,
            store_history=store_history,
            user_expressions=user_expressions,
            stop_on_error=stop_on_error,
        )
        while True:
            try:
                message = self.iopub_channel.get_msg(_left(deadline))
            except queue.Empty:
                raise TimeoutError("Timeout waiting for output") from None
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            if message["msg_type"] == "execute_reply":
                reply: dict[str, Any] = message
                return reply
            (ask if message["msg_type"] == "input_request" else show)(message)


class AsyncKernelClient(_Client, JupyterAsyncKernelClient):
    """What jupyter_client's `AsyncKernelClient` is, on a bridge. Used in one event loop."""

    _channel_class = AsyncChannel

    is_alive = _Client._async_is_alive

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel is ready. Raises `RuntimeError` when it has died or time is up."""
        try:
            async with asyncio.timeout(timeout):
                await self.bridge.ready()
        except TimeoutError:
            raise RuntimeError(f"Kernel didn't respond in {timeout} seconds") from None
        except BridgeError as error:
            raise died(error) from error
        await self.iopub_channel.get_msgs()

    async def execute_interactive(
        self,
        code: str,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: dict[str, Any] | None = None,
        allow_stdin: bool | None = None,
        stop_on_error: bool = True,
        timeout: float | None = None,
        output_hook: Hook | None = None,
        stdin_hook: Hook | None = None,
    ) -> dict[str, Any]:
        """Execute code, show what it shows, answer what it asks, and return the reply, as jupyter_client does.

        `stdin_hook` may be a coroutine function.
        """
        show, ask = self._output_hook(output_hook), stdin_hook or self._answer_by_terminal
        deadline = _deadline(timeout)
        msg_id = self._execute_in_one_stream(
            code,
            allow_stdin,
            silent=silent,
            store_history=store_history,
            user_expressions=user_expressions,
            stop_on_error=stop_on_error,
        )
        while True:
            try:
                message = await self.iopub_channel.get_msg(_left(deadline))
            except queue.Empty:
                raise TimeoutError("Timeout waiting for output") from None
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            if message["msg_type"] == "execute_reply":
                reply: dict[str, Any] = message
                return reply
            done = (ask if message["msg_type"] == "input_request" else show)(message)
            if inspect.isawaitable(done):
                await done


def _refuse(message: Message) -> None:
    raise RuntimeError(f"nothing is sent on IOPub, and so no {message.msg_type}")


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
