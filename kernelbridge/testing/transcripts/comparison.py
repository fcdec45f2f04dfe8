"""The comparison of two transcripts: whether they say the same, and where they part, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

import attrs

from kernelbridge.testing.report import Event, ProtocolFailure, TimeLine, describe, full_report, side_by_side
from kernelbridge.testing.transcripts.normal import Entry, Lane, normalise
from kernelbridge.testing.transcripts.records import Record
from kernelbridge.wire.errors import short_repr

__all__ = ["compare", "time_line"]

_SHOWN_BEFORE: Final = 20
"""How many characters of a text are shown before those that differ."""


def compare(
    seen: Sequence[Record], stored: Sequence[Record], names: tuple[str, str], replace: Mapping[str, str]
) -> ProtocolFailure | None:
    """Return what is to be raised, if what was seen is not what is stored.

    `names` are those of the transcript that is stored and of that which was seen, as the report has them; `replace` is
    that of `normalise`.
    """
    left, right = normalise(stored, replace), normalise(seen, replace)
    lanes = [*left, *(lane for lane in right if lane not in left)]
    tables = {lane: _Rows(names, left.get(lane, []), right.get(lane, [])) for lane in lanes}
    parted = [lane for lane in lanes if tables[lane].why]
    if not parted:
        return None
    first = parted[0]
    rows = tables[first]
    headline = f"{names[1]} is not {names[0]}: {_with_request(first, left | right)}"
    why = f"message {rows.parted_at + 1}: {rows.why}"
    if len(parted) > 1:
        others = ", ".join(str(lane) for lane in parted[1:4])
        why += f"\n  also different: {others}{', ...' if len(parted) > 4 else ''}"
    return ProtocolFailure(headline, full_report(headline, why, rows, time_line(seen)))


def time_line(records: Iterable[Record]) -> TimeLine:
    """Return the messages of a transcript as the time line of a report."""
    line = TimeLine()
    for record in records:
        if record.message is None:
            continue
        event = Event(record.direction, record.channel, record.seconds, record.message, read=True)
        if record.direction == "->":
            line.add_request(event)
        else:
            line.events.append(event)
    return line


def _with_request(lane: Lane, lanes: Mapping[Lane, Sequence[Entry]]) -> str:
    """Return what the lane is called, with its request."""
    for sent, entries in lanes.items():
        if sent.direction == "->":
            for place, entry in enumerate(entries, 1):
                if lane.direction == "<-" and lane.cause == f"{sent.channel} {place}":
                    return f"{lane} ({describe(entry.msg_type, entry.content)})"
    return str(lane)


@attrs.define
class _Rows:
    """The messages of one lane, side by side."""

    names: tuple[str, str]
    stored: Sequence[Entry]
    seen: Sequence[Entry]
    parted_at: int = 0
    why: str = ""

    def __attrs_post_init__(self) -> None:
        for place, (stored, seen) in enumerate(zip_longest(self.stored, self.seen)):
            if why := _why(stored, seen):
                self.parted_at, self.why = place, why
                return

    def lines(self, time_line: TimeLine) -> list[str]:
        rows = []
        for place, (stored, seen) in enumerate(zip_longest(self.stored, self.seen)):
            mark = "=" if place < self.parted_at else ">" if place == self.parted_at else " "
            rows.append((mark, _line(stored), _line(seen)))
        return side_by_side(self.names, rows)


def _line(entry: Entry | None) -> str:
    return "" if entry is None else describe(entry.msg_type, entry.content)


def _why(stored: Entry | None, seen: Entry | None) -> str:
    """Return how two messages differ, on one line, or nothing if they do not."""
    if seen is None:
        return "it is missing"
    if stored is None:
        return "it is not in the stored one"
    if stored.msg_type != seen.msg_type:
        return f"its type is {seen.msg_type}, not {stored.msg_type}"
    paths = ("parent", "content", "metadata", "buffers", "subshell")
    differences = (_difference(getattr(stored, path), getattr(seen, path), path) for path in paths)
    return next(filter(None, differences), "")


def _difference(stored: Any, seen: Any, path: str) -> str:
    """Return where and how two values differ, or nothing if they do not."""
    match stored, seen:
        case dict(), dict():
            for name in [*stored, *(name for name in seen if name not in stored)]:
                if name not in seen:
                    return f"{path}.{name} is missing"
                if name not in stored:
                    return f"{path}.{name} is not in the stored one"
                if found := _difference(stored[name], seen[name], f"{path}.{name}"):
                    return found
            return ""
        case list(), list():
            if len(stored) != len(seen):
                return f"{path} has {len(seen)} items, not {len(stored)}"
            items = enumerate(zip(stored, seen, strict=True))
            return next(filter(None, (_difference(*pair, f"{path}[{place}]") for place, pair in items)), "")
    # True == 1 in Python and not in JSON.
    if stored == seen and isinstance(stored, bool) == isinstance(seen, bool):
        return ""
    if isinstance(stored, str) and isinstance(seen, str):
        # Where they part is what is to be shown of long texts.
        pairs = enumerate(zip(stored, seen, strict=False))
        parted = next((place for place, (one, other) in pairs if one != other), min(len(stored), len(seen)))
        start = max(0, parted - _SHOWN_BEFORE)
        if start:
            return f"{path} is ...{short_repr(seen[start:])}, not ...{short_repr(stored[start:])}"
    return f"{path} is {short_repr(seen)}, not {short_repr(stored)}"
