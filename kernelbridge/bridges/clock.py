"""The time, handed to whatever needs it, so that a test can hand out another."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time. Any thread may ask."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards, from an arbitrary start."""
        ...

    def now(self) -> str:
        """Return the date and time in UTC, in ISO 8601 with microseconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        # The second that was told last, and its text. Every message carries a date, and most share their second.
        # Any thread replaces the pair whole.
        self._second: tuple[int, str] = (0, "1970-01-01T00:00:00")

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
