"""What a language implements to be a kernel.

A handler's methods are called one at a time, in the order of the requests, on the execution thread: the one that called
`Kernel.serve`. Each may be a plain method or an ``async def``; the loop that awaits it goes on between requests, so
tasks that it started live on. What a method shows while it runs goes through `self.kernel`.

A handler that says that it has `subshells` is called by several threads at the same time: by that one, and by one for
each subshell, each with a loop of its own.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from kernelbridge.wire.contents import (
    CompleteReply,
    CompleteRequest,
    DebugReply,
    DebugRequest,
    ErrorReply,
    ExecuteReply,
    ExecuteRequest,
    HelpLink,
    HistoryReply,
    HistoryRequest,
    InspectReply,
    InspectRequest,
    IsCompleteReply,
    IsCompleteRequest,
    LanguageInfo,
)

if TYPE_CHECKING:
    from kernelbridge.kernel.kernel import Kernel

R = TypeVar("R")
Answer: TypeAlias = R | ErrorReply | Awaitable[R | ErrorReply]
"""A reply, an error reply, or something to await for one of them."""


class Handler(ABC):
    """A language. Only `execute` must be written.

    An exception that a method raises becomes an error reply; for `execute` it is also shown as the cell's error. A
    method that returns an `ErrorReply` has shown the error itself. One that returns what is no reply to its request has
    raised a TypeError.
    """

    implementation: str = "kernelbridge"
    implementation_version: str = ""
    language_info: LanguageInfo
    banner: str = ""
    help_links: Sequence[HelpLink] = ()
    supported_features: Sequence[str] = ()
    subshells: bool = False
    """Whether requests may be handled beside each other, in subshells (JEP 91)."""
    debugger: bool = False
    """Whether `debug` does more than to refuse."""

    kernel: Kernel
    """The kernel that this handler serves. Set before `start` and `debug` are called."""

    def start(self) -> None:
        """Get ready: called once on the execution thread, before the first request."""

    def settle(self) -> None:
        """Put what the code has shown by ways of its own, such as a file descriptor, and which is not put yet.

        Called before each message that the code puts, before each prompt, and before a request's `idle`; on any thread.
        """

    def ending(self) -> None:
        """Hear that the kernel was asked to end, before what runs is interrupted: called on the thread that was asked.

        A language that owns its process can see to it that the process ends, whatever its code does.
        """

    def stop(self, restart: bool) -> None:
        """Let go: called once on the execution thread, after the last request. `restart`: another will follow."""

    @abstractmethod
    def execute(self, request: ExecuteRequest, execution_count: int) -> Answer[ExecuteReply] | None:
        """Run code. None stands for success with nothing more to say.

        The kernel has shown the input, under `execution_count`, and counts up by itself.
        """

    def complete(self, request: CompleteRequest) -> Answer[CompleteReply]:
        """Return what can stand at the cursor. By default, nothing."""
        return CompleteReply(matches=[], cursor_start=request.cursor, cursor_end=request.cursor)

    def inspect(self, request: InspectRequest) -> Answer[InspectReply]:
        """Return a description of what is at the cursor. By default, none."""
        return InspectReply(found=False)

    def is_complete(self, request: IsCompleteRequest) -> Answer[IsCompleteReply]:
        """Return whether code can be run as it is. By default, unknown."""
        return IsCompleteReply(status="unknown")

    def history(self, request: HistoryRequest) -> Answer[HistoryReply]:
        """Return what was run before. By default, nothing."""
        return HistoryReply(history=[])

    def debug(self, request: DebugRequest, answer: Callable[[DebugReply], object]) -> None:
        """Have a ``debug_request`` answered: called on the Control thread, also while code runs and before `start`.

        It returns at once. `answer` is to be called once, on any thread, when there is something to say. By default,
        that there is no debugger.
        """
        answer(
            DebugReply(
                success=False, command=request.command, request_seq=request.seq, message="this kernel has no debugger"
            )
        )


def error_value(failure: BaseException) -> str:
    """Return what an exception says, also where its own ``__str__`` raises: that must not hide the error itself."""
    try:
        return str(failure)
    except BaseException as fault:  # noqa: BLE001 - a user's class may raise anything.
        return f"<str() of it raised {type(fault).__name__}>"


def format_error(failure: BaseException, at: TracebackType | None) -> list[str]:
    """Return the lines that show an exception raised `at` some place, as Python does, also where its class hinders."""
    try:
        return traceback.format_exception(type(failure), failure, at)
    except Exception:  # noqa: BLE001 - as above; it may also be one of those that led to this one.
        return [f"{type(failure).__name__}: {error_value(failure)}"]
