"""What a program that speaks the protocol itself holds in place of its sockets: queues that a bridge fills.

Such a program makes its own requests and reads what comes back by channel. A bridge keeps all that in one stream, so a
channel here is a `Subscription`: IOPub's of all that the kernel publishes, the others' of what is put for them. A reply
is put when its request is done, which is behind all outputs (contract F2); a question of the kernel's when all that was
shown before it has been handed out (F9).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import queue
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any, Literal

import attrs
from jupyter_client.jsonutil import extract_dates

from kernelbridge.frontend.bridge import Bridge
from kernelbridge.frontend.channels import SendingChannel
from kernelbridge.frontend.errors import BridgeError
from kernelbridge.frontend.execution import Request
from kernelbridge.frontend.subscribers import Subscription
from kernelbridge.wire.messages import Header, Message, Session

ChannelName = Literal["shell", "control", "stdin", "iopub"]


@attrs.define
class Addressed(Message):
    """A message of a certain channel, put into a stream where it belongs."""

    channel: ChannelName = attrs.field(kw_only=True)

    @classmethod
    def of(cls, message: Message, channel: ChannelName) -> Addressed:
        return cls(message.header, message.content, message.parent, message.metadata, message.buffers, channel=channel)


@attrs.define
class NoReply(Message):
    """Stands in a stream for a reply that will not come, for this reason. No kernel sends it."""

    reason: BridgeError = attrs.field(kw_only=True)

    @classmethod
    def to(cls, request: Header, reason: BridgeError) -> NoReply:
        return cls(Header("no_reply", "no_reply"), {}, request, reason=reason)


class Correspondence:
    """A program's requests to a bridge's kernel, and the kernel's questions to the program.

    Takes the `bridge`, and the `session` in whose name questions are put to the program.
    """

    def __init__(self, bridge: Bridge, session: Session) -> None:
        self.bridge = bridge
        self.session = session
        # The question that is to be answered. Written by whoever asks and by who sends the requests.
        self._asked: Future[str] | None = None

    def send(
        self, message: Message, channel: SendingChannel, replies: Subscription, questions: Subscription
    ) -> Request:
        """Send a request. Its reply is put into `replies`, and what the kernel asks meanwhile into `questions`."""
        asks = message.msg_type == "execute_request" and message.content.get("allow_stdin", True)
        ask = partial(self._ask, message.header, questions) if asks else None
        request = self.bridge.forward(message, channel, on_input=ask)
        # Not the request itself, which holds all that an execution shows.
        request.when_done(partial(_put_reply, request._future, message.header, channel, replies))
        return request

    def answer(self, reply: Message) -> None:
        """Give the program's answer to the last question. One that nobody waits for any more is dropped."""
        value = reply.content.get("value")
        if self._asked is not None:
            with contextlib.suppress(InvalidStateError):
                self._asked.set_result(value if isinstance(value, str) else "")

    async def _ask(self, execution: Header, questions: Subscription, prompt: str, password: bool) -> str:
        answered: Future[str] = Future()
        self._asked = answered
        header = self.session.header("input_request")
        content = {"prompt": prompt, "password": password}
        questions.hand([Addressed(header, content, execution, channel="stdin")])
        # Cancelled when the execution ends.
        return await asyncio.wrap_future(answered)


def _put_reply(done: Future[Message], request: Header, channel: SendingChannel, replies: Subscription) -> None:
    problem = done.exception()
    if problem is None:
        reply = done.result()
        # What is done without a reply ends with its idle, which was published like any other.
        if reply.msg_type != "status":
            replies.hand([Addressed.of(reply, channel)])
    elif isinstance(problem, BridgeError):
        replies.hand([NoReply.to(request, problem)])


def died(reason: BridgeError) -> RuntimeError:
    """Return what to raise where a reply will not come: nbclient's own error where that is loaded.

    Its callers tell it by its type. It is a RuntimeError like those that jupyter_client raises itself.
    """
    nbclient = sys.modules.get("nbclient.exceptions")
    kind: type[RuntimeError] = RuntimeError if nbclient is None else nbclient.DeadKernelError
    return kind(str(reason))


def to_jupyter(message: Message) -> dict[str, Any]:
    """Return a message in jupyter_client's form, with dates as such, for a reader who may change it."""
    if isinstance(message, NoReply):
        raise died(message.reason) from message.reason
    given = message.to_dict()
    given["header"] = extract_dates(given["header"])
    given["parent_header"] = extract_dates(given["parent_header"])
    # One message has many readers, and this one may think that it is the only one.
    given["content"] = copy.deepcopy(message.content)
    given["metadata"] = copy.deepcopy(message.metadata)
    given["buffers"] = [memoryview(buffer) for buffer in message.buffers]
    return given


def from_jupyter(message: dict[str, Any]) -> Message:
    """Return a message that came in jupyter_client's form, where dates may be dates."""
    header = dict(message["header"])
    if not isinstance(header.get("date", ""), str):
        header["date"] = header["date"].isoformat()
    return Message.from_dict({**message, "header": header, "parent_header": None})


def to_json(connection: Mapping[str, Any]) -> dict[str, Any]:
    """Return connection info of jupyter_client's as its connection file has it: keys are text."""
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in connection.items()}


class BlockingChannel:
    """One of a client's channels, as jupyter_client has them. Takes its stream, and what sends a message on it."""

    def __init__(self, stream: Subscription, send: Callable[[Message], object]) -> None:
        self.stream = stream
        self._send = send
        # What was looked at to tell whether there is anything. Owned by the reader.
        self._ahead: list[Message] = []

    def start(self) -> None:
        """Do nothing: it has been there since it was made."""

    def stop(self) -> None:
        self.stream.close()

    close = stop

    def is_alive(self) -> bool:
        return not self.stream.closed

    def send(self, message: dict[str, Any]) -> None:
        """Send a message in jupyter_client's form."""
        self._send(from_jupyter(message))

    def get_msg(self, timeout: float | None = None) -> Any:
        """Return the next message, waiting at most `timeout` seconds for it.

        Raises `queue.Empty` when none came, and `RuntimeError` when the channel was stopped, and in place of a reply
        that will not come, because the kernel has died for instance.
        """
        if not self.peek():
            try:
                self._ahead.append(self.stream.get(timeout))
            except TimeoutError:
                raise queue.Empty from None
            except EOFError:
                raise RuntimeError(_STOPPED) from None
        return to_jupyter(self._ahead.pop())

    def get_msgs(self) -> Any:
        """Return all messages that are there."""
        return self._all()

    def msg_ready(self) -> Any:
        """Return whether there is a message."""
        return self.peek()

    def peek(self) -> bool:
        """Return whether there is a message, in a thread and in an event loop."""
        if not self._ahead:
            with contextlib.suppress(TimeoutError, EOFError):
                self._ahead.append(self.stream.get(0))
        return bool(self._ahead)

    def _all(self) -> list[dict[str, Any]]:
        found = []
        while self.peek():
            found.append(to_jupyter(self._ahead.pop()))
        return found


class AsyncChannel(BlockingChannel):
    """The same for an event loop, always the same one."""

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        if not self.peek():
            try:
                async with asyncio.timeout(timeout):
                    self._ahead.append(await self.stream.aget())
            except TimeoutError:
                raise queue.Empty from None
            except EOFError:
                raise RuntimeError(_STOPPED) from None
        return to_jupyter(self._ahead.pop())

    async def get_msgs(self) -> list[dict[str, Any]]:
        return self._all()

    async def msg_ready(self) -> bool:
        return self.peek()


class Beat:
    """The heartbeat channel of a client: what the bridge knows of its kernel."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._runs = False

    def start(self) -> None:
        self._runs = True

    def stop(self) -> None:
        self._runs = False

    close = stop

    def is_alive(self) -> bool:
        return self._runs

    def is_beating(self) -> bool:
        """Return whether the kernel is there, as far as its process and its echoes tell."""
        return lives(self._bridge)

    def pause(self) -> None:
        """Do nothing: the bridge watches the kernel for all of its frontends."""

    unpause = pause


def lives(bridge: Bridge) -> bool:
    """Return whether a bridge's kernel has not ended."""
    return bridge.status not in ("dead", "closed")


_STOPPED = "the client's channels have been stopped, or its kernel was shut down"
