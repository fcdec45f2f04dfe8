"""Requests and executions, as a frontend holds them.

A request ends exactly once, with a message or with an exception:

    request         ends with        when
    -------------   --------------   ----------------------------------------------------------
    most            its reply        the reply has come
    execution       its reply        the reply *and* the `idle` have come, in whichever order:
                                     Shell and IOPub are two sockets, and either may be first
    comm message    its `idle`       the `idle` has come; there is no reply
    any             an exception     the kernel died, its start failed, or the bridge was closed

An execution that is aborted before it was sent ends with the reply that a kernel gives to what it aborts. Which message
belongs to which request is the tracker's to know (`tracker.py`), and what may run when the queue's
(`execution_queue.py`).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import AbstractContextManager, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import attrs

from kernelbridge.frontend.errors import BridgeError
from kernelbridge.frontend.execution_queue import Entry
from kernelbridge.frontend.execution_states import State
from kernelbridge.frontend.output_area import Output
from kernelbridge.frontend.outputs import ExecutionOutputs
from kernelbridge.frontend.subscribers import Subscription
from kernelbridge.wire.messages import Header, Message
from kernelbridge.wire.strays import Strays

if TYPE_CHECKING:
    from kernelbridge.frontend.output_store import OutputStore

__all__ = ["Execution", "Home", "OnInput", "Request", "Running", "State"]

OnInput = Callable[[str, bool], str | Awaitable[str]]
"""Answers an input request: given the prompt and whether the answer is a password, returns the answer."""


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
        try:
            return self._future.result(timeout)
        except TimeoutError:
            raise TimeoutError(f"{self.header.msg_type} was not answered within {timeout} s") from None

    def when_done(self, call: Callable[[], object]) -> None:
        """Have `call` called when `done`: on the thread that learns of it, or here and now where it is already."""
        self._future.add_done_callback(lambda _: call())

    def __await__(self) -> Generator[Any, None, Message]:
        return asyncio.wrap_future(self._future).__await__()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.header.msg_type} {self.msg_id} {'done' if self.done else 'pending'}>"


@attrs.frozen
class Home:
    """What all executions of one bridge share.

    `ordering` is the bridge's lock. `cancel` aborts one that waits, if it does, and says so.
    """

    ordering: AbstractContextManager[Any]
    strays: Strays
    cancel: Callable[[Running], bool]
    store: OutputStore | None = None


class Running(Request, Entry):
    """An execution as the tracker and the queue hold it, until it ends.

    It knows the `Execution` only as long as somebody else holds that one: what nobody can read is not kept.
    """

    def __init__(
        self,
        execution: Execution,
        header: Header,
        home: Home,
        on_input: OnInput | None,
        silent: bool,
        stop_on_error: bool,
        timeout: float | None,
    ) -> None:
        Request.__init__(self, header, needs_idle=True)
        Entry.__init__(self, header.subshell_id, stop_on_error, timeout)
        self.code = execution.code
        self.on_input = on_input
        self.loop = _running_loop()
        """The event loop that the execution was asked for in, where a coroutine of `on_input` runs."""
        self.context = copy_context()
        """The context variables as they were there, for `on_input`: a program may tell by them whom it serves."""
        self.question: Message | None = None
        """The last input request. Written under the bridge's lock."""
        self.begins_with = "status" if silent else "execute_input"
        """The type of the first message that tells that the code runs: a silent one has nothing but its `busy`."""
        self.shown = ExecutionOutputs(home.strays, home.store)
        """What it has shown. Guarded by the bridge's lock."""
        self._execution = weakref.ref(execution)

    @property
    def execution(self) -> Execution | None:
        """Who holds the execution's messages, if anybody does."""
        return self._execution()


class Execution(Request):
    """A request to run code. Iterate it for the messages that the code publishes, from the first to the `idle`.

    Done when both the reply and the `idle` have come, and so all outputs with them. Any number of readers may iterate
    it, at any time; each gets all messages. An iteration ends when the execution does, for whatever reason: `result`
    tells which, and `state` in one word.
    """

    def __init__(
        self,
        header: Header,
        code: str,
        home: Home,
        on_input: OnInput | None = None,
        *,
        silent: bool = False,
        stop_on_error: bool = True,
        timeout: float | None = None,
    ) -> None:
        self.header = header
        self.code = code
        self.running = Running(self, header, home, on_input, silent, stop_on_error, timeout)
        """What the tracker holds of it."""
        self._future = self.running._future
        self._home = home
        self._messages: list[Message] = []
        self._readers: list[Subscription] = []
        self._ended = False

    @property
    def state(self) -> State:
        """Where it is: `queued`, `running`, or how it ended. `done` follows at once when it has ended."""
        return self.running.state

    @property
    def execution_count(self) -> int | None:
        """The number that the kernel has given it; None before it runs, and for one that is silent."""
        for message in self._messages:
            if message.msg_type == "execute_input":
                count = message.content.get("execution_count")
                return count if isinstance(count, int) else None
        return None

    @property
    def timed_out(self) -> bool:
        """Whether it ran longer than its `timeout` and was interrupted for that."""
        return self.running.timed_out

    def cancel(self) -> bool:
        """Abort it, if it still waits for its turn. Returns whether it did; what runs is for `Bridge.interrupt`."""
        return self._home.cancel(self.running)

    def wait(self, timeout: float | None = None) -> State:
        """Wait at most `timeout` seconds of real time for the end, whatever it is, and return how it ended.

        Raises `TimeoutError`, and nothing else: where there will be no reply the state is ``died``.
        """
        if not wait_for([self._future], timeout).done:
            raise TimeoutError(f"the execution has not ended within {timeout} s: it is {self.state}")
        return self.state

    async def ended(self) -> State:
        """Wait for the end, as `wait` does, while the event loop goes on."""
        with suppress(BridgeError):
            await self
        return self.state

    @property
    def outputs(self) -> list[Output]:
        """What the code has shown so far, as a notebook keeps it: outputs in nbformat's JSON form (version 4).

        Neighbouring streams of one name are one output, `clear_output` has cleared, and displays are as they were last
        updated, also by later executions. Where the bridge has an output store, large payloads are references.
        """
        with self._home.ordering:
            return self.running.shown.outputs

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
        # Under the lock a reader gets the past and all of the future, without a gap and without a repeat.
        with self._home.ordering:
            reader = Subscription(self._messages)
            if self._ended:
                reader.close()
            else:
                self._readers.append(reader)
            return reader

    # Called by the tracker, under the bridge's lock.

    def hand(self, fresh: list[Message]) -> None:
        """Take what is new; it is not to be changed any more."""
        self._messages += fresh
        if self._readers:
            self._readers = [reader for reader in self._readers if reader.hand(fresh)]

    def end(self) -> None:
        """Learn that nothing more will come."""
        self._ended = True
        for reader in self._readers:
            reader.close()
        self._readers.clear()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
