"""When a kernel is taken for dead, and how often one that dies is started again (contract F6). Decisions alone.

Two detectors watch a kernel. The exit of its process is waited for in the operating system (process.py), and is known
at once. A process that is there but does nothing any more is known by its silence: it is pinged on Heartbeat every
`BEAT_SECONDS`, and is hung when it has left `MISSES` pings in a row without an echo. With 1.5 s that is known at the
latest 6 s after its last echo. The consequences are the link's, and happen once, whichever detector is first.

Silence alone is not death. A kernel that has never echoed may not know how to. One that has yet to become ready has a
time for that. And one whose process is seen to run, and which works, is left to its work: there are kernels that echo
on the thread that computes. One that a debugger holds is left alone, too. A process that was stopped (SIGSTOP) is hung,
whatever it did before, and also where it had no time to echo. Where no process can be seen, because it was connected to
or is elsewhere, silence decides.

A launched kernel that is hung is killed: nobody listens to it any more, so it must not go on if it is continued
(SIGCONT) later. One that is continued before has only been late. A kernel that was connected to is left alone, and can
be connected to again.
"""

from __future__ import annotations

from typing import Final, Literal

BEAT_SECONDS: Final = 1.5
"""How often a kernel is pinged, unless its frontend says otherwise."""

MISSES: Final = 3
"""How many pings a kernel may leave without an echo before it is taken for hung."""

RESTART_LIMIT: Final = 5
"""How many restarts may follow one another, unless the frontend says otherwise."""

STABLE_SECONDS: Final = 10.0
"""A kernel that was ready for so long has started well: its death is not the next one in a row of bad starts."""


class Pulse:
    """What the echoes say. Takes the `seconds` between pings, None for a kernel that is not to be watched.

    Takes times in seconds on any scale. Owned by the Heartbeat thread, which pings once by itself.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._missed = 0
        self._echoed = False
        self._ever_echoed = False
        self._due: float | None = None

    def begin(self, now: float) -> None:
        """Learn that the first ping was sent."""
        if self._seconds is not None:
            self._due = now + self._seconds

    def echoed(self) -> None:
        """Learn of an echo, of whichever ping: the kernel lives."""
        self._echoed = self._ever_echoed = True
        self._missed = 0

    def due(self) -> float | None:
        """Return when `beat` is to be called."""
        return self._due

    def beat(self, now: float) -> Literal["ping", "wait", "mute", "hung"]:
        """Say what is to be done now that it is due. A kernel that is hung is so at each beat, until it echoes.

        One that has never echoed is `mute` instead, and is not pinged again: the first ping waits for it. What has come
        must have been told before: so a frontend that was itself stopped counts one miss at most.
        """
        if self._seconds is not None:
            # From now on, and not from when it was due: each ping has its full time.
            self._due = now + self._seconds
        if self._echoed:
            self._echoed = False
            return "ping"
        self._missed += 1
        if self._missed < MISSES:
            return "ping" if self._ever_echoed else "wait"
        return "hung" if self._ever_echoed else "mute"


class Restarts:
    """How often a kernel may be started again. Takes how many restarts may follow one another."""

    def __init__(self, limit: int = RESTART_LIMIT) -> None:
        self._limit = limit
        self._in_a_row = 0

    def allows(self, ready_seconds: float | None) -> bool:
        """Learn that a kernel has died, and return whether to start it again.

        Takes how long it was ready, None if it has never been.
        """
        if ready_seconds is not None and ready_seconds >= STABLE_SECONDS:
            self._in_a_row = 0
        self._in_a_row += 1
        return self._in_a_row <= self._limit
