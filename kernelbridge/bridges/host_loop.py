"""An asyncio loop that can have a guest: a GUI toolkit's loop, which runs whenever asyncio has nothing to do.

Both are driven by events, in both directions. Where asyncio would wait for its descriptors, the guest's loop runs
instead, and watches one descriptor more, that of asyncio's selector: it becomes readable when any of those is ready.
What a GUI callback gives asyncio to do (a task, a result, a timer) ends the guest's turn at once. So nobody polls, and
no asyncio code ever runs inside a GUI callback, or the other way round.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol


class Guest(Protocol):
    """A GUI toolkit's loop. All is called on the loop's thread."""

    def wait(self, seconds: float | None) -> None:
        """Handle GUI events until the selector's descriptor is readable, `wake` is called or `seconds` have passed.

        None stands for no limit; with 0, handle what is there.
        """

    def wake(self) -> None:
        """End the `wait` that calls this, from one of its callbacks."""

    def close(self) -> None:
        """Let go of the descriptor. The toolkit itself, and its windows, stay."""


class HostLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, which costs what it always costs while it has no guest."""

    def __init__(self) -> None:
        # All is owned by the loop's thread.
        self._waiter = selectors.DefaultSelector()
        super().__init__(self._waiter)
        self._guest: Guest | None = None
        self._guest_runs = False

    def invite(self, make: Callable[[int], Guest]) -> None:
        """Have a guest from the next wait on. `make` is given the descriptor that the guest is to watch.

        Raises what `make` raises, and `RuntimeError` when there is a guest already.
        """
        if self._guest is not None:
            raise RuntimeError("the loop has a guest already")
        self._guest = make(self._waiter.fileno())
        # These are found before the class's own, and only while there is a guest.
        vars(self).update(call_soon=self._rousing_call_soon, call_at=self._rousing_call_at)
        vars(self._waiter).update(select=self._wait_with_guest)

    def dismiss(self) -> None:
        """Have no guest any more, if there was one."""
        guest, self._guest = self._guest, None
        if guest is not None:
            del vars(self)["call_soon"], vars(self)["call_at"], vars(self._waiter)["select"]
            guest.close()

    def close(self) -> None:
        if not self.is_running():
            self.dismiss()
        super().close()

    def _wait_with_guest(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._guest is not None:
            self._guest_runs = True
            try:
                # In a context of its own, because what a callback sets there must not hold for all that comes later.
                copy_context().run(self._guest.wait, timeout)
            except Exception as failure:  # noqa: BLE001 - whatever a toolkit raises: asyncio goes on without it.
                self.call_exception_handler({"message": "The GUI's event loop has failed", "exception": failure})
                self.dismiss()
            finally:
                self._guest_runs = False
        return type(self._waiter).select(self._waiter, 0)

    def _rousing_call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        self._rouse()
        return handle

    def _rousing_call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._rouse()
        return handle

    def _rouse(self) -> None:
        if self._guest_runs and self._guest is not None:
            self._guest.wake()
