"""Requests, executions, and the tracker that knows which message ends which (contract F2).

Theory of operation. A request ends exactly once, with a message or with an exception:

    request         ends with        when
    -------------   --------------   ----------------------------------------------------------
    most            its reply        the reply has come
    execution       its reply        the reply *and* the `idle` have come, in whichever order:
                                     Shell and IOPub are two sockets, and either may be first
    comm message    its `idle`       the `idle` has come; there is no reply
    any             an exception     the kernel died, its start failed, or the bridge was closed

A message belongs to a request when its parent header's ``msg_id`` is the request's. On Shell and Control it must also
be of the right type, or it ends nothing: a stray message is never delivered as something else (contract F10).

The `Tracker` is told what happened and answers with what has changed. It has neither a lock nor a thread nor a socket:
the bridge calls it under its lock, and settles what has ended when it has let go of that lock, because waking who waits
runs their callbacks.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Final

import attrs

from kernelbridge.frontend.subscribers import Subscription
from kernelbridge.wire.contents import iopub as published
from kernelbridge.wire.messages import Header, Message
from kernelbridge.wire.strays import Strays

OnInput = Callable[[str, bool], str | Awaitable[str]]
"""Answers an input request: given the prompt and whether the answer is a password, returns the answer."""

PUBLISHED_TYPES: Final = frozenset(
    {"shutdown_reply", *(getattr(published, name).msg_type for name in published.__all__)}
)
"""The types of messages that a kernel is known to publish on IOPub."""


class Request:
    """A request on its way: what a frontend holds until the reply is there, in a thread or in an event loop."""

    def __init__(self, header: Header, *, needs_reply: bool = True, needs_idle: bool = False) -> None:
        self.header = header
        self._future: Future[Message] = Future()
        # A running future refuses to be cancelled: who stops waiting for it, in an event loop, does not end it.
        self._future.set_running_or_notify_cancel()
        # The tracker's: what is still missing, and what will be the result.
        self._needs_reply = needs_reply
        self._needs_idle = needs_idle
        self._outcome: Message | None = None

    @property
    def msg_id(self) -> str:
        return self.header.msg_id

    @property
    def done(self) -> bool:
        """Whether `result` returns, or raises, at once."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> Message:
        """Wait at most `timeout` seconds for the reply and return it, an error reply too.

        In real time, whatever the bridge's clock is: the wait is the caller's, and no timer of the bridge. So it bounds
        what a test waits for also where the clock stands, and means the same as `asyncio.wait_for` does in an event
        loop, which has a clock of its own.

        Raises `TimeoutError`, and where there will be no reply `KernelDiedError`, `KernelStartError` or
        `BridgeClosedError`.
        """
        return self._future.result(timeout)

    def when_done(self, call: Callable[[], object]) -> None:
        """Have `call` called when `done`: on the thread that learns of it, or here and now where it is already."""
        self._future.add_done_callback(lambda _: call())

    def __await__(self) -> Generator[Any, None, Message]:
        return asyncio.wrap_future(self._future).__await__()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.header.msg_type} {self.msg_id} {'done' if self.done else 'pending'}>"


class Running(Request):
    """An execution as the tracker holds it, until it ends.

    It knows the `Execution` only as long as somebody else holds that one: what nobody can read is not kept.
    """

    def __init__(self, execution: Execution, header: Header, on_input: OnInput | None) -> None:
        super().__init__(header, needs_idle=True)
        self.on_input = on_input
        self.loop = _running_loop()
        """The event loop that the execution was asked for in, where a coroutine of `on_input` runs."""
        self.question: Message | None = None
        """The last input request. Written under the bridge's lock."""
        self._execution = weakref.ref(execution)

    @property
    def execution(self) -> Execution | None:
        """Who holds the execution's messages, if anybody does."""
        return self._execution()


class Execution(Request):
    """A request to run code. Iterate it for the messages that the code publishes, from the first to the `idle`.

    Done when both the reply and the `idle` have come, and so all outputs with them. Any number of readers may iterate
    it, at any time; each gets all messages. An iteration ends when the execution does, for whatever reason: `result`
    tells which.
    """

    def __init__(
        self, header: Header, code: str, ordering: AbstractContextManager[Any], on_input: OnInput | None = None
    ) -> None:
        self.running = Running(self, header, on_input)
        """What the tracker holds of it."""
        self.header = header
        self.code = code
        self._future = self.running._future
        # The bridge's lock: under it a reader gets the past and all of the future, without a gap and without a repeat.
        self._ordering = ordering
        self._messages: list[Message] = []
        self._readers: list[Subscription] = []
        self._ended = False

    @property
    def messages(self) -> list[Message]:
        """What was published so far."""
        return self._messages.copy()

    def __iter__(self) -> Iterator[Message]:
        with self._read() as reader:
            yield from reader

    async def __aiter__(self) -> AsyncIterator[Message]:
        with self._read() as reader:
            async for message in reader:
                yield message

    def _read(self) -> Subscription:
        with self._ordering:
            reader = Subscription(self._messages)
            if self._ended:
                reader.close()
            else:
                self._readers.append(reader)
            return reader


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@attrs.frozen
class Ended:
    """The end of a request."""

    request: Request
    outcome: Message | Exception

    def settle(self) -> None:
        """Wake who waits for the request. Called once, without the bridge's lock."""
        if isinstance(self.outcome, Exception):
            self.request._future.set_exception(self.outcome)
        else:
            self.request._future.set_result(self.outcome)


class Tracker:
    """Knows the requests that have not ended. Takes the `session_id` of its own messages, and where to count strays."""

    def __init__(self, session_id: str, strays: Strays) -> None:
        self.status = "starting"
        """The kernel's state, as it last said."""
        self._session_id = session_id
        self._strays = strays
        self._pending: dict[str, Request] = {}
        self._refusal: Callable[[], Exception] | None = None

    def find(self, msg_id: str | None) -> Request | None:
        """Return the request of this id, if it has not ended."""
        return None if msg_id is None else self._pending.get(msg_id)

    def add(self, request: Request) -> list[Ended]:
        """Learn of a request, before it is sent. It ends at once when nothing can be asked any more."""
        if self._refusal is not None:
            return [self._end(request, self._refusal())]
        self._pending[request.msg_id] = request
        return []

    def replied(self, channel: str, message: Message) -> list[Ended]:
        """Learn of a message on Shell or Control."""
        request = self.find(message.parent_id)
        if request is None:
            if self._refusal is not None:
                # Too late: what it answers has ended with all others.
                return []
            self._strays.count(channel, "unknown parent", message.msg_type)
            return []
        expected = request.header.msg_type.removesuffix("_request") + "_reply"
        if message.msg_type != expected or not request._needs_reply:
            self._strays.count(channel, "unexpected type", f"{message.msg_type} in answer to {request.header.msg_type}")
            return []
        request._needs_reply = False
        request._outcome = message
        return self._ended_if_complete(request)

    def published(self, batch: Iterable[Message]) -> list[Ended]:
        """Learn of messages on IOPub, in their order. Executions get theirs, and their readers what is new."""
        ended: list[Ended] = []
        pending = self._pending
        known_types = PUBLISHED_TYPES
        # All that one request causes comes with the same parent, so that neighbours mostly share it.
        parent: Header | None = None
        request: Request | None = None
        execution: Execution | None = None
        fresh: list[Message] = []
        for message in batch:
            if message.parent is not parent:
                _hand(execution, fresh)
                parent = message.parent
                request = None if parent is None else pending.get(parent.msg_id)
                execution = request.execution if isinstance(request, Running) else None
                fresh = []
                if parent is not None and request is None and parent.session != self._session_id:
                    # Another frontend's, or nobody's. Ours that have ended may still publish, from a thread.
                    self._strays.count("iopub", "unknown parent", message.msg_type, logging.INFO)
            if execution is not None:
                fresh.append(message)
            msg_type = message.header.msg_type
            if msg_type == "status":
                state = message.content.get("execution_state")
                if not isinstance(state, str):
                    self._strays.count("iopub", "status without execution_state")
                    continue
                self.status = state
                if state == "idle" and request is not None and request._needs_idle:
                    _hand(execution, fresh)
                    request._needs_idle = False
                    if request._outcome is None and not request._needs_reply:
                        request._outcome = message
                    ended += self._ended_if_complete(request)
                    # What follows with this parent belongs to the execution only while that has not ended.
                    parent = request = execution = None
            elif msg_type not in known_types:
                self._strays.count("iopub", "unknown type", msg_type)
        _hand(execution, fresh)
        return ended

    def end_all(self, error: Callable[[], Exception]) -> list[Ended]:
        """End every request, and each one that comes later, with an exception that `error` makes for it."""
        self._refusal = error
        ended = [self._end(request, error()) for request in self._pending.values()]
        self._pending.clear()
        return ended

    def _ended_if_complete(self, request: Request) -> list[Ended]:
        if request._needs_reply or request._needs_idle or request._outcome is None:
            return []
        del self._pending[request.msg_id]
        return [self._end(request, request._outcome)]

    def _end(self, request: Request, outcome: Message | Exception) -> Ended:
        execution = request.execution if isinstance(request, Running) else None
        if execution is not None:
            execution._ended = True
            for reader in execution._readers:
                reader.close()
            execution._readers.clear()
        return Ended(request, outcome)


def _hand(execution: Execution | None, fresh: list[Message]) -> None:
    """Give an execution what is new; `fresh` is not to be changed any more."""
    if fresh and execution is not None:
        execution._messages += fresh
        for reader in execution._readers:
            reader.hand(fresh)
