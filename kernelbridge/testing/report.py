"""The report of a failure: expected and seen side by side, and all that travelled on one time line.

Requests are called r1, r2, ... in the order in which the client sent them, so that parents can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal, Protocol

import attrs

from kernelbridge.testing.matchers import Matcher
from kernelbridge.testing.patterns import UNSET
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.messages import Message

__all__ = [
    "Comparison",
    "Event",
    "ProtocolFailure",
    "TimeLine",
    "describe",
    "full_report",
    "hides_kit",
    "is_text",
    "merge_streams",
    "same_stream",
    "side_by_side",
]

_LONGEST_VALUE = 60
_LONGEST_LINE = 100


class ProtocolFailure(AssertionError):
    """What a kernel did is not what the test says. `headline` is the first line of the report, which `str` gives."""

    def __init__(self, headline: str, report: str) -> None:
        super().__init__(report)
        self.headline = headline


def hides_kit(failure: Any) -> bool:
    """Say to pytest, as a module's ``__tracebackhide__``, that its lines tell nothing where a report tells all."""
    return bool(failure.errisinstance(ProtocolFailure))


@attrs.define(eq=False)
class Event:
    """One message on the time line: what was sent, or came, when (seconds since the client's start).

    `rest` is the text of a stream message of which a matcher has taken the beginning only.
    """

    direction: Literal["->", "<-"]
    channel: Channel
    seconds: float
    message: Message
    read: bool = False
    rest: str | None = None

    def view(self) -> Message:
        """Return the message, or of a stream what is still to be read of it."""
        if self.rest is None:
            return self.message
        return attrs.evolve(self.message, content={**self.message.content, "text": self.rest})


@attrs.define
class TimeLine:
    """All that a client has sent and received, in the order in which it did."""

    events: list[Event] = attrs.field(factory=list)
    names: dict[str, str] = attrs.field(factory=dict)
    """What requests are called, by their ids."""

    def add_request(self, event: Event) -> None:
        """Add what a frontend has sent, and give it a name."""
        self.names[event.message.msg_id] = f"r{len(self.names) + 1}"
        self.events.append(event)

    def name(self, message: Message) -> str:
        """Return what a request is called, and of other messages what their parent is.

        That is ``-`` for none, and ``?`` for what somebody else has sent.
        """
        if message.msg_id in self.names:
            return self.names[message.msg_id]
        return "-" if message.parent_id is None else self.names.get(message.parent_id, "?")

    def with_names(self, text: str) -> str:
        """Return `text` with the names of requests in place of their ids."""
        # The longest first: one id may begin another.
        for msg_id in sorted(self.names, key=len, reverse=True):
            text = text.replace(msg_id, self.names[msg_id])
        return text

    def lines(self) -> list[str]:
        if not self.events:
            return ["  nothing was sent, and nothing came"]
        return [self._line(event) for event in self.events]

    def _line(self, event: Event) -> str:
        name = self.name(event.message)
        mark = " " if event.direction == "->" or event.read else "*"
        said = describe(event.message.msg_type, event.message.content)
        return f"{mark} {event.seconds:8.3f}  {event.direction} {event.channel:<7} {name:<4} {said}"


@attrs.frozen
class Comparison:
    """What was expected on a channel, and what was seen there."""

    channel: Channel
    expected: Sequence[Matcher]
    seen: Sequence[Message]

    def lines(self, time_line: TimeLine) -> list[str]:
        expected = list(_merge_expected(self.expected))
        seen = list(merge_streams(self.seen))
        left = [_expected_line(matcher, time_line) for matcher in expected]
        right = [f"{time_line.name(message):<4} {describe(message.msg_type, message.content)}" for message in seen]
        rows = zip_longest(self._marks(expected, seen), left, right, fillvalue="")
        return side_by_side(("expected", f"seen on {self.channel}"), list(rows))

    @staticmethod
    def _marks(expected: Sequence[Matcher], seen: Sequence[Message]) -> list[str]:
        """Return a mark for each row up to the first that does not match."""
        marks: list[str] = []
        for matcher, message in zip_longest(expected, seen):
            if matcher is None:
                return marks
            if message is None or matcher.difference(message, {}):
                return [*marks, ">"]
            marks.append("=")
        return marks


def side_by_side(titles: tuple[str, str], rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the lines of a table: each row has a mark, what was expected and what was seen."""
    width = max(map(len, [titles[0], *(left for _, left, _ in rows)]))
    return [f"{mark or ' '} {left:<{width}} | {right}".rstrip() for mark, left, right in [(" ", *titles), *rows]]


class Table(Protocol):
    """What was expected and what was seen, side by side."""

    def lines(self, time_line: TimeLine) -> list[str]: ...


def full_report(headline: str, why: str, table: Table | None, time_line: TimeLine) -> str:
    """Return the whole report."""
    lines = [headline]
    if why:
        lines.append(f"  {time_line.with_names(why)}")
    if table is not None:
        lines += ["", *table.lines(time_line)]
    lines += ["", "time line of all channels (seconds; -> sent, <- received; * not read)", *time_line.lines()]
    return "\n".join(lines)


def merge_streams(messages: Iterable[Message]) -> Iterable[Message]:
    """Return the messages with neighbouring texts of one stream and one parent joined."""
    joined: Message | None = None
    for message in messages:
        if joined is not None and same_stream(joined, message):
            text = joined.content["text"] + message.content["text"]
            joined = attrs.evolve(joined, content={**joined.content, "text": text})
            continue
        if joined is not None:
            yield joined
        joined = message
    if joined is not None:
        yield joined


def is_text(message: Message) -> bool:
    """Return whether this is a stream message that carries text."""
    return message.msg_type == "stream" and isinstance(message.content.get("text"), str)


def same_stream(one: Message, other: Message) -> bool:
    """Return whether the split between two neighbouring messages is one that the protocol leaves free."""
    return (
        is_text(one)
        and is_text(other)
        and one.content.get("name") == other.content.get("name")
        and one.parent_id == other.parent_id
    )


def _merge_expected(matchers: Sequence[Matcher]) -> Iterable[Matcher]:
    joined: Matcher | None = None
    for matcher in matchers:
        if (
            joined is not None
            and joined.is_stream
            and matcher.is_stream
            and joined.content["name"] == matcher.content["name"]
            and joined.parent is matcher.parent
            and isinstance(joined.content["text"], str)
            and isinstance(matcher.content["text"], str)
        ):
            joined = joined.with_text(joined.content["text"] + matcher.content["text"])
            continue
        if joined is not None:
            yield joined
        joined = matcher
    if joined is not None:
        yield joined


def _expected_line(matcher: Matcher, time_line: TimeLine) -> str:
    parent = matcher.parent
    name = ""
    if parent is None:
        name = "-"
    elif isinstance(parent, Message):
        name = time_line.names.get(parent.msg_id, "?")
    return f"{name:<4} {describe(matcher.msg_type, matcher.content)}"


def describe(msg_type: Any, content: Mapping[str, Any]) -> str:
    """Return a message, or what one should be, on one line: what matters of it."""
    match msg_type:
        case "status":
            return str(content.get("execution_state"))
        case "stream":
            return f"{content.get('name')} {_short(content.get('text'))}"
        case "execute_input" | "execute_request":
            return f"{msg_type} {_short(content.get('code', UNSET))}".removesuffix(" UNSET")
        case "error":
            return _clipped(f"error {_fields(content, ('ename', 'evalue'))}".rstrip())
        case other:
            return _clipped(f"{other} {_fields(content, content)}".rstrip())


def _fields(content: Mapping[str, Any], names: Iterable[str]) -> str:
    # What is empty says little: most fields of most messages are.
    return " ".join(f"{name}={_short(content[name])}" for name in names if content.get(name) not in (None, {}, [], ""))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _clipped(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..."
