"""What a pool has and what is wanted of it: decisions alone.

    a start is due while fewer than `size` kernels wait or start, and fewer than `starts` of them start

    a kernel ...        starts ──► waits ──► is handed to a claim
                          │          │            │
                          ▼          ▼            ▼
    or it is lost:      failed      died        died while it was set up

Claims get kernels in the order in which they came, and the kernel that has waited longest is handed out first. Losses
in a row are bounded as the restarts of a kernel that dies are (liveness.py): behind the last one the pool starts
nothing, and the claims that wait are told why. From then on it makes one start at a time, and only for a claim. A
kernel that is handed over ends the row.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from kernelbridge.frontend.liveness import Restarts

K = TypeVar("K")
C = TypeVar("C")


class Stock(Generic[K, C]):
    """Kernels of type `K` and claims of type `C`. Has no lock of its own: its owner calls it under one.

    Takes how many kernels are to wait, how many may start at once, and how many losses may follow one another.
    """

    def __init__(self, size: int, starts: int, limit: int) -> None:
        self._size = size
        self._starts = starts
        self._limit = limit
        self._restarts = Restarts(limit)
        self._starting = 0
        self.kernels: deque[K] = deque()
        """Those that wait."""
        self.claims: deque[C] = deque()
        """Those that wait."""
        self.failure: Exception | None = None
        """Why nothing is started any more by itself: what became of the last kernel."""

    @property
    def is_full(self) -> bool:
        return len(self.kernels) >= self._size

    def start(self) -> bool:
        """Return whether a kernel is to be started now. It counts from then on."""
        room = self._size - len(self.kernels) - self._starting
        free = self._starts - self._starting
        if self.failure is not None:
            room, free = len(self.claims), 1 - self._starting
        due = room > 0 and free > 0
        self._starting += due
        return due

    def claim(self, claim: C, first: bool = False) -> K | None:
        """Return a kernel for a claim. None: it waits for one, and `first` if it has waited before."""
        if self.kernels:
            return self.kernels.popleft()
        if first:
            self.claims.appendleft(claim)
        else:
            self.claims.append(claim)
        return None

    def withdraw(self, claim: C) -> None:
        """Learn that a claim waits no more, if it did."""
        if claim in self.claims:
            self.claims.remove(claim)

    def started(self, kernel: K) -> C | None:
        """Learn that a kernel has started. Returns the claim that gets it; None: it waits."""
        self._starting -= 1
        self.failure = None
        if self.claims:
            return self.claims.popleft()
        self.kernels.append(kernel)
        return None

    def failed(self, why: Exception) -> list[C]:
        """Learn that a start has failed. Returns the claims that have waited in vain."""
        self._starting -= 1
        return self.lost(why, None)

    def lost(self, why: Exception, ready_seconds: float | None) -> list[C]:
        """Learn that a kernel that was ready for so long is lost. Returns the claims that have waited in vain."""
        if self.failure is None and self._restarts.allows(ready_seconds):
            return []
        self.failure = why
        in_vain = list(self.claims)
        self.claims.clear()
        return in_vain

    def handed_over(self) -> None:
        """Learn that a claim has its kernel: kernels start, and the row of losses is at an end."""
        self._restarts = Restarts(self._limit)
