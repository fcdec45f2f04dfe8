"""An asyncio loop that is a guest: a GUI toolkit's loop gives it a turn whenever it has something to do.

The other way round than `host_loop`, for a program whose main loop is its toolkit's. The toolkit watches the descriptor
of asyncio's selector, and a timer of its own for asyncio's next one. What a GUI callback gives asyncio to do (a task, a
result, a timer) is done when the callback has returned. So nobody polls, and the program's loop is never held up but by
what runs in a turn itself.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Protocol, TypeVarTuple

Ts = TypeVarTuple("Ts")

LONGEST_SECONDS = 86_400.0
"""The longest time to wait for a timer. A later one is waited for again: toolkits count 24 days of milliseconds."""


class Host(Protocol):
    """A GUI toolkit's loop. All is called on the thread that it runs on."""

    def watch(self, seconds: float | None) -> None:
        """Call `turn` once, from the loop, when the descriptor is readable or `seconds` have passed (None: no limit).

        In place of what was to be watched before.
        """

    def rest(self) -> None:
        """Watch nothing."""


class GuestLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, between `visit` and `leave` in turns, and before and after that by itself as ever.

    Takes `invite`, which makes the host of the descriptor to watch and of the `turn` to call.
    """

    def __init__(self, invite: Callable[[int, Callable[[], None]], Host]) -> None:
        # All is owned by the loop's thread.
        self._visits = False
        # When timers are due, also cancelled ones; the first is the next.
        self._due: list[float] = []
        # Whether the turn has left something to do at once. Set by any thread, and taken back before a turn.
        self._more = False
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        try:
            self._host = invite(selector.fileno(), self._turn)
        except BaseException:
            self.close()
            raise

    def visit(self) -> None:
        """Take turns from now on."""
        self._visits = True
        self._host.watch(0)

    def leave(self) -> None:
        """Take no more turns."""
        self._visits = False
        self._host.rest()

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        self._rouse()
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        heapq.heappush(self._due, when)
        self._rouse()
        return handle

    def _write_to_self(self) -> None:
        # Another thread has given something to do. A turn that runs may read this byte with those before it, and yet
        # end before it comes to that: asyncio does in a turn what was there when it began.
        self._more = True
        super()._write_to_self()  # type: ignore[misc]

    def _rouse(self) -> None:
        self._more = True
        if self._visits and not self.is_running():
            # A callback of the toolkit's has called.
            self._host.watch(0)

    def _turn(self) -> None:
        if not self._visits or self.is_running():
            return
        # Also what runs in this turn may run the toolkit's loop, for a dialog: asyncio waits for its end.
        self._host.rest()
        now = self.time()
        self.call_soon(self.stop)
        self._more = False
        try:
            self.run_forever()
        except (KeyboardInterrupt, SystemExit) as failure:
            # asyncio lets these two end the loop, also from a task or a callback that a cell has left behind.
            self._more = True
            self.call_exception_handler({"message": "Exit from a task or callback", "exception": failure})
        # What was due before the turn has had it, and what has become due since comes next.
        while self._due and self._due[0] <= now:
            heapq.heappop(self._due)
        if self._more:
            self._host.watch(0)
        elif self._due:
            self._host.watch(min(max(0.0, self._due[0] - self.time()), LONGEST_SECONDS))
        else:
            self._host.watch(None)
