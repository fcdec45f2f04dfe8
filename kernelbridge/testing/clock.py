"""A clock that a test moves by hand, so that timers are tested without waiting.

    clock = VirtualClock()
    with ProtocolClient(handler, clock=clock) as client:
        client.execute("print('hi')")
        ...
        clock.advance(0.08)

Whatever takes a `clock` can be given one: a `Kernel`, a `Bridge` (`connect`, `launch`), a `ProtocolClient`. No time
passes on it but what `advance` lets pass, and what is due is done in the order of the deadlines, however far apart they
are. trio's MockClock is the model.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["VirtualClock"]

_START: Final = datetime(2000, 1, 1, tzinfo=UTC)

_GUARD_SECONDS: Final = 60.0

_DIGITS: Final = 9
"""Times are rounded to nanoseconds where they are compared: 0.1 + 0.04 + 0.04 is after 0.1 + 0.08."""


class VirtualClock:
    """A clock that stands until `advance` moves it. Any thread may use it.

    Takes the date at which it starts, in any time zone; its monotonic time starts at 0. `guard` is how many seconds, in
    real time, `advance` waits for threads that do not come to rest.

    What runs - the code of a cell, a process, a message between processes - takes real time as ever. So a test first
    waits for what shows that the timer has been set, and then advances. And what waits for a time that nobody advances
    to waits for ever: a kernel that ignores its shutdown is not killed before its grace is over on this clock, what a
    cell shows that goes on running is held until the clock is advanced (by 2 ms, `kernel.shell.HUSH_SECONDS`, and no
    more then), and a kernel that does not welcome subscriptions, as those before protocol 5.5, is asked again whether
    it is ready after some 10 ms. A start is best made while the clock is `flowing`.
    """

    def __init__(self, start: datetime = _START, *, guard: float = _GUARD_SECONDS) -> None:
        self._start = start.astimezone(UTC)
        self._guard = guard
        # Held by the one thread that advances.
        self._moving = threading.Lock()
        # Guards all below, but that anybody may read the time. Held only for moments: the rings do not wait.
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        # The time; and where it flows, since when, in real time. Replaced whole.
        self._set: tuple[float, float | None] = 0.0, None
        self._attending: list[_Attendance] = []
        # Counts how often all were asked to look at the time.
        self._round = 0

    def monotonic(self) -> float:
        """Return the seconds that have passed on this clock."""
        at, since = self._set
        return at if since is None else at + time.monotonic() - since

    def now(self) -> str:
        """Return the date and time in UTC, in ISO 8601 with microseconds."""
        return (self._start + timedelta(seconds=self.monotonic())).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass.

        The clock stops at each deadline that falls due, in their order, and goes on when all threads that wait on it
        have done what was due, and what this made them do for each other. It returns when they are at rest at the new
        time; `advance(0)` only waits until they are.

        That counts what one thread of this process hands to another, through queues and inproc sockets. It does not
        count what travels over tcp or ipc, and what code that a handler runs has yet to do.

        Raises ValueError for a time that is negative or no number, RuntimeError while the clock flows and when it is
        called on a thread that waits on this clock itself, and TimeoutError, with their names, when threads do not come
        to rest.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"a clock is advanced by 0 seconds or more, not by {seconds}")
        me = threading.get_ident()
        with self._lock:
            mine = [attendance.name for attendance in self._attending if attendance.thread == me]
        if mine:
            raise RuntimeError(f"the {mine[0]} thread waits on this clock, and so cannot be the one that advances it")
        with self._moving:
            if self.flows:
                raise RuntimeError("the clock flows: it can be advanced when it stands")
            self._settle()
            end = round(self.monotonic() + seconds, _DIGITS)
            while (due := self._next()) is not None and round(due, _DIGITS) <= end:
                self._move(due)
                self._settle()
            self._move(end)

    @property
    def flows(self) -> bool:
        """Whether time passes by itself."""
        return self._set[1] is not None

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Let time pass in the block as it really does, for what takes an unknown number of timers: a kernel's start.

            bridge = launch("python3", clock=clock)
            with clock.flowing():
                bridge.wait_ready()

        Raises RuntimeError if it flows already.
        """
        with self._moving:
            if self.flows:
                raise RuntimeError("the clock flows already")
            with self._lock:
                self._set = self.monotonic(), time.monotonic()
                for attendance in self._attending:
                    attendance.ring()
        try:
            yield
        finally:
            # Who sleeps until then wakes in vain.
            self._set = self.monotonic(), None

    @contextmanager
    def attend(self, name: str, ring: Callable[[], object]) -> Iterator[_Attendance]:
        """Let the calling thread wait for times, in the block; see `kernelbridge.bridges.clock.Clock`."""
        attendance = _Attendance(self, name, ring)
        with self._lock:
            self._attending.append(attendance)
        try:
            yield attendance
        finally:
            with self._lock:
                self._attending.remove(attendance)
                self._answered.notify_all()

    def _move(self, to: float) -> None:
        with self._lock:
            self._set = max(self.monotonic(), to), None

    def _next(self) -> float | None:
        """Return the first deadline of all."""
        with self._lock:
            return min((one.due for one in self._attending if one.due is not None), default=None)

    def _settle(self) -> None:
        """Return when all threads that attend are at rest at the present time.

        All are rung and answer when they have nothing to do, which is one round. One thread's work may still give work
        to another that has answered already. But when nobody has worked from one answer to the next, then nobody had
        anything to do when the last round began. Raises TimeoutError.
        """
        give_up = time.monotonic() + self._guard
        while busy := self._ask_all(give_up):
            if time.monotonic() >= give_up:
                names = ", ".join(sorted(attendance.name for attendance in busy))
                raise TimeoutError(f"threads that wait on the clock are not at rest after {self._guard:g} s: {names}")

    def _ask_all(self, give_up: float) -> list[_Attendance]:
        """Ring all threads, wait until they are at rest, and return those that have worked since they were last asked.

        In real time: returns those that have not come to rest when it is `give_up`.
        """
        with self._lock:
            self._round += 1
            asked = list(self._attending)
            for attendance in asked:
                attendance.ring()
            self._answered.wait_for(lambda: not self._missing(), give_up - time.monotonic())
            return self._missing() or [attendance for attendance in asked if not attendance.rested]

    def _missing(self) -> list[_Attendance]:
        return [attendance for attendance in self._attending if attendance.round != self._round]


class _Attendance:
    """One thread's attendance. All is guarded by the clock's lock."""

    def __init__(self, clock: VirtualClock, name: str, ring: Callable[[], object]) -> None:
        self.name = name
        self.ring = ring
        self.thread = threading.get_ident()
        self.due: float | None = None
        """What the thread waits for, as it last said."""
        self.round = 0
        """The last round in which it was at rest. None is before the first."""
        self.rested = False
        """Whether it has done nothing between that round and the one before."""
        self._clock = clock
        self._worked = True

    def patience(self, due: float | None, worked: bool = False) -> float | None:
        clock = self._clock
        with clock._lock:
            self._worked |= worked
            self.due = due
            now = clock.monotonic()
            if due is not None and due <= now:
                return 0.0
            if self.round != clock._round:
                self.round = clock._round
                self.rested, self._worked = not self._worked, False
                clock._answered.notify_all()
            return due - now if due is not None and clock.flows else None
