"""The comparison of two transcripts: whether they say the same, and where they part, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

import attrs

from kernelbridge.testing.patterns import difference
from kernelbridge.testing.report import Event, ProtocolFailure, TimeLine, describe, full_report, side_by_side
from kernelbridge.testing.transcripts.normal import Entry, Lane, normalise
from kernelbridge.testing.transcripts.records import Record

__all__ = ["compare", "time_line"]


def compare(
    seen: Sequence[Record], stored: Sequence[Record], names: tuple[str, str], replace: Mapping[str, str]
) -> ProtocolFailure | None:
    """Return what is to be raised, if what was seen is not what is stored.

    `names` are those of the transcript that is stored and of that which was seen, as the report has them; `replace` is
    that of `normalise`.
    """
    left, right = normalise(stored, replace), normalise(seen, replace)
    parted = [
        lane for lane in [*left, *(lane for lane in right if lane not in left)] if left.get(lane) != right.get(lane)
    ]
    if not parted:
        return None
    first = parted[0]
    rows = _Rows(names, left.get(first, []), right.get(first, []))
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
            if stored != seen:
                self.parted_at, self.why = place, _why(stored, seen)
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
    """Return how two messages differ, on one line."""
    if seen is None:
        return "it is missing"
    if stored is None:
        return "it is not in the stored one"
    if stored.msg_type != seen.msg_type:
        return f"its type is {seen.msg_type}, not {stored.msg_type}"
    for path in ("parent", "content", "metadata", "buffers", "subshell"):
        wanted, found = getattr(stored, path), getattr(seen, path)
        if why := difference(wanted, found, {}, path):
            return why
        # A pattern leaves open what else an object has.
        if more := difference(found, wanted, {}, path):
            return f"{more} in the stored one"
    raise AssertionError("two messages differ, and nothing of them does")
