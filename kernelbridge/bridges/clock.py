"""The time, handed to whatever needs it, so that a test can hand out another.

Who waits for a time does not simply sleep until then: on a clock that is moved by hand the time comes when somebody
moves it. So a thread attends the clock, asks it before each wait how long that may take, and is rung when the clock
has moved. On the machine's clock nobody is ever rung, and the answer is the seconds that are left.

All timers of both ends wait in this way. In real time are only: what ZMQ waits for on threads of its own (linger, new
connections); the waits of a caller, who says himself how long (`Request.result`, `Subscription.get`, `Kernel.wait`);
and guards against what hangs in this very process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Protocol


class Attendance(Protocol):
    """One thread's attendance on a clock."""

    def patience(self, due: float | None, worked: bool = False) -> float | None:
        """Say, right before a wait, until when it should last (None: for ever), and return how long it may.

        Takes a time on the monotonic scale, and whether the thread has done anything since it last asked. Returns
        seconds, 0.0 when the time has come, None for as long as nothing rings. Rings must have their effect from before
        this call on. Who was rung asks again.
        """
        ...


class Clock(Protocol):
    """What tells the time. Any thread may ask."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards, from an arbitrary start."""
        ...

    def now(self) -> str:
        """Return the date and time in UTC, in ISO 8601 with microseconds."""
        ...

    def attend(self, name: str, ring: Callable[[], object]) -> AbstractContextManager[Attendance]:
        """Let the calling thread wait for times, in the block.

        Takes the thread's name for messages, and what ends its wait, which any thread may call. It must not wait, nor
        call the clock.
        """
        ...


class _SystemAttendance:
    """Has no state, and so is the same for all threads."""

    def patience(self, due: float | None, worked: bool = False) -> float | None:
        return None if due is None else max(0.0, due - time.monotonic())


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        # The second that was told last, and its text. Every message carries a date, and most share their second.
        # Any thread replaces the pair whole.
        self._second: tuple[int, str] = (0, "1970-01-01T00:00:00")
        self._attendance = nullcontext(_SystemAttendance())

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> str:
        microseconds = time.time_ns() // 1000
        seconds, rest = divmod(microseconds, 1_000_000)
        second, text = self._second
        if second != seconds:
            text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (seconds, text)
        return f"{text}.{rest:06d}Z"

    def attend(self, name: str, ring: Callable[[], object]) -> AbstractContextManager[Attendance]:
        return self._attendance
