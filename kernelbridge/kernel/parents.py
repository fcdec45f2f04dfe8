"""Which request a message comes from (contract K4).

A message's parent is fixed when it is put. It is the request that the putting context handles: a context variable, so
an asyncio task keeps the cell that started it. A plain thread has no such context; what it puts goes to the request
that is running, or to the last one that was. Where several run beside each other, it goes to the main shell's: what a
cell has left running there must not move to a button that was pressed meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from kernelbridge.wire.messages import Header, Message


class Parents:
    """The request that each context of one kernel handles."""

    def __init__(self) -> None:
        self._own: ContextVar[Message | None] = ContextVar("kernelbridge_parent")
        # Guards that the two below are written together, by the execution threads. Any thread reads `_latest`, and a
        # plain reference is read whole.
        self._lock = threading.Lock()
        self._latest: Message | None = None
        self._main: Message | None = None
        """What the main shell runs, None while it rests."""

    def enter(self, request: Message, runs: bool = True, beside: bool = False) -> None:
        """Say that the calling context handles `request` from now on.

        `runs`: whether it is code that runs, and may leave threads behind. `beside`: whether on a subshell.
        """
        if runs:
            with self._lock:
                if not beside:
                    self._main = request
                if not beside or self._main is None:
                    self._latest = request
        self._own.set(request)

    def rest(self) -> None:
        """Say that the main shell runs nothing."""
        self._main = None

    def request(self) -> Message | None:
        """Return the request that a message put here and now belongs to."""
        return self._own.get(self._latest)

    def handles(self) -> bool:
        """Return whether the calling context handles a request of its own: in a cell, or in a task that one started."""
        return self._own.get(None) is not None

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
