"""Which request a message comes from (contract K4).

A message's parent is fixed when it is put. It is the request that the putting context handles: a context variable, so
an asyncio task keeps the cell that started it. A plain thread has no such context; what it puts goes to the request
that is running, or to the last one that was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from kernelbridge.wire.messages import Header, Message


class Parents:
    """The request that each context of one kernel handles."""

    def __init__(self) -> None:
        self._own: ContextVar[Message | None] = ContextVar("kernelbridge_parent")
        # Written by the execution thread only; read by any thread, and a plain reference is read whole.
        self._latest: Message | None = None

    def enter(self, request: Message, runs: bool = True) -> None:
        """Say that the calling context handles `request` from now on, and whether it is the one that runs."""
        if runs:
            self._latest = request
        self._own.set(request)

    def request(self) -> Message | None:
        """Return the request that a message put here and now belongs to."""
        return self._own.get(self._latest)

    def current(self) -> Header | None:
        """Return its header."""
        request = self._own.get(self._latest)
        return None if request is None else request.header

    def adopt(self, request: Message) -> None:
        """Give what the calling context puts from now on the parent `request`, which need not be the one that runs."""
        self._own.set(request)

    @contextmanager
    def given(self, request: Message | None) -> Iterator[None]:
        """Give what is put inside the `with` block the parent `request`, on any thread."""
        token = self._own.set(request)
        try:
            yield
        finally:
            self._own.reset(token)
