"""What arrived and could not be used: counted, logged once for each kind, never fatal.

Contract F10 at the frontend end, its table of bad input at the kernel end.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter

from kernelbridge.wire.errors import WireError

logger = logging.getLogger("kernelbridge")

_REFUSALS = ("wrong signature", "replayed message")


class Strays:
    """Counts by kind, from any thread. A kind starts with the name of the channel: ``"shell: wrong signature"``.

    There are few kinds, whatever is sent: what the sender chose belongs in the detail.
    """

    def __init__(self) -> None:
        # Guards `_counts`: several channels' threads count.
        self._counting = threading.Lock()
        self._counts: Counter[str] = Counter()

    def count(self, channel: str, kind: str, detail: object = "", level: int = logging.WARNING) -> None:
        """Count one of `kind`. The first is logged at `level` with its `detail`."""
        name = f"{channel}: {kind}"
        with self._counting:
            self._counts[name] += 1
            first = self._counts[name] == 1
        if first:
            logger.log(level, "%s%s; more of these are only counted", name, f" ({detail})" if detail else "")

    def refuse(self, channel: str, error: WireError) -> None:
        """Count a message that could not be decoded."""
        text = str(error)
        if text in _REFUSALS:
            self.count(channel, text)
        else:
            self.count(channel, "malformed message", text)

    def counts(self) -> dict[str, int]:
        """Return the numbers so far."""
        with self._counting:
            return dict(self._counts)
