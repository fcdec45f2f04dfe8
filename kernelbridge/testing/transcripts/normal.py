"""What two sessions have in common: their messages without what differs each time, in an order that does not depend
on time.

The order between channels, and on one channel that between what different requests have caused, is left free. So the
messages stand in lanes: one for what was sent on a channel, one for what a request has caused on a channel. A request
is called after its channel and its place there (``shell 2``).

======================================  ================================================================================
ids of messages, comms, displays,       numbered as they appear, request by request, wherever they stand in the content:
sessions, subshells; UUIDs              the same id has the same number
numbers of IOPub messages (seq)         ``next`` for one that is higher than that of the message before, whatever was
                                        not for this reader, and else by how much it is less
neighbouring texts of one stream        one text
addresses in memory                     hidden where a repr has them (``at 0x...``, ``: 0x...>``)
headers                                 left out, but for type and subshell
dates, user names, durations            hidden in the metadata
process ids                             hidden in the metadata, in replies and debug events, and in the names of
                                        ipykernel's folders
the tip in IPython's banner             hidden; it is drawn by lot
heartbeats                              left out
what was no message                     what it was is compared, and not its bytes, which a key has signed
======================================  ================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from kernelbridge.testing.report import is_text
from kernelbridge.testing.transcripts.records import Direction, Record
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.messages import Message

__all__ = ["Entry", "Lane", "normalise"]

_SENT_ORDER: Final[tuple[Channel, ...]] = ("shell", "control", "stdin", "iopub", "hb")
_COME_ORDER: Final[tuple[Channel, ...]] = ("iopub", "shell", "control", "stdin", "hb")

_SHORTEST_INSIDE: Final = 8
"""How many characters an id needs to be looked for inside of texts."""
_UUID: Final = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_WORD: Final = re.compile(r"[0-9A-Za-z_-]{8,}")
_ADDRESS: Final = re.compile(r"(?<= at )0x[0-9a-fA-F]+|(?<=: )0x[0-9a-fA-F]+(?=>)")
_CELL_FOLDER: Final = re.compile(r"ipykernel_\d+(?=[/\\])")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?")
_TIP: Final = re.compile(r"^Tip: .*$", re.MULTILINE)
_PROCESS_IDS: Final = frozenset({"pid", "process_id", "processId", "systemProcessId"})
_DURATIONS: Final = frozenset({"duration", "elapsed", "execution_time"})


@attrs.frozen
class Entry:
    """One message as it is compared."""

    msg_type: str
    content: Any
    parent: str = "-"
    metadata: Any = attrs.field(factory=dict)
    buffers: Sequence[bytes] = ()
    subshell: Any = None


@attrs.frozen
class Lane:
    """Where the order is fixed: what was sent on a channel, or what `cause` has made the kernel send there.

    What was no message has a lane of its own for each channel and direction.
    """

    direction: Direction
    channel: Channel
    cause: str = ""
    of_messages: bool = True

    def __str__(self) -> str:
        if not self.of_messages:
            return f"frames that are no message, {'sent' if self.direction == '->' else 'seen'} on {self.channel}"
        return f"sent on {self.channel}" if self.direction == "->" else f"{self.channel}, from {self.cause}"


def normalise(records: Iterable[Record], replace: Mapping[str, str]) -> dict[Lane, list[Entry]]:
    """Return what is compared, lane by lane.

    `replace` has more of what differs each time: regular expressions that are searched in every text, each with what
    stands in place of what it finds.
    """
    return _Normal(list(records), replace).lanes()


class _Normal:
    def __init__(self, records: Sequence[Record], replace: Mapping[str, str]) -> None:
        self._replace = [(re.compile(pattern), text) for pattern, text in replace.items()]
        self._frames = [record for record in records if record.message is None and record.channel != "hb"]
        self._sent: dict[Channel, list[Message]] = {channel: [] for channel in _SENT_ORDER}
        self._come: dict[tuple[Channel, str | None], list[Message]] = {}
        # What ids are of, and what those that have appeared are called.
        self._kinds: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._labels: dict[str, str] = {}
        # What messages are called.
        self._messages: dict[str, str] = {}
        last_seq: int | None = None
        for record in records:
            if record.message is None:
                continue
            if record.direction == "->":
                self._sent[record.channel].append(record.message)
            else:
                message, last_seq = _with_distance(record.message, last_seq)
                lane = self._come.setdefault((record.channel, message.parent_id), [])
                _add(lane, message)
            self._learn(record.message)
        self._name_messages()
        # Short ones are found only where they are the whole of a text. The longest first: one may begin another.
        long = sorted((name for name in self._kinds if len(name) >= _SHORTEST_INSIDE), key=len, reverse=True)
        self._ids = re.compile("|".join([*map(re.escape, long), _UUID]))

    def lanes(self) -> dict[Lane, list[Entry]]:
        found: dict[Lane, list[Entry]] = {}
        for lane, message in self._walk():
            found.setdefault(lane, []).append(self._entry(message))
        for record in self._frames:
            lane = Lane(record.direction, record.channel, of_messages=False)
            found.setdefault(lane, []).append(Entry("frames", {"note": record.note}))
        return found

    def _learn(self, message: Message) -> None:
        """Note which texts are ids."""
        content = message.content
        transient = content.get("transient")
        display = transient.get("display_id") if isinstance(transient, dict) else None
        for kind, value in (
            ("comm", content.get("comm_id")),
            ("display", display),
            ("session", message.header.session),
            ("subshell", content.get("subshell_id")),
            ("subshell", message.header.subshell_id),
        ):
            if isinstance(value, str) and value:
                self._kinds.setdefault(value, kind)

    def _name_messages(self) -> None:
        for channel, messages in self._sent.items():
            for place, message in enumerate(messages, 1):
                self._messages[message.msg_id] = f"{channel} {place}"
        others = 0
        for _, parent in list(self._come):
            if parent is not None and parent not in self._messages:
                others += 1
                self._messages[parent] = f"a request of somebody else ({others})"
        for (channel, parent), messages in self._come.items():
            for place, message in enumerate(messages, 1):
                self._messages.setdefault(message.msg_id, f"{channel} {place} of {self._parent_name(parent)}")

    def _parent_name(self, parent: str | None) -> str:
        return "no request" if parent is None else self._messages.get(parent, "?")

    def _walk(self) -> Iterator[tuple[Lane, Message]]:
        """Give the messages in an order that is the same, whatever came first on different channels."""
        causes: set[str | None] = set()
        for channel, messages in self._sent.items():
            for message in messages:
                yield Lane("->", channel), message
                causes.add(message.msg_id)
                yield from self._caused_by(message.msg_id)
        for _, parent in self._come:
            if parent not in causes:
                causes.add(parent)
                yield from self._caused_by(parent)

    def _caused_by(self, parent: str | None) -> Iterator[tuple[Lane, Message]]:
        for channel in _COME_ORDER:
            for message in self._come.get((channel, parent), ()):
                yield Lane("<-", channel, self._parent_name(parent)), message

    def _entry(self, message: Message) -> Entry:
        parent = "-" if message.parent_id is None else self._messages.get(message.parent_id, "unknown")
        return Entry(
            message.msg_type,
            self._value(message.content, _of_kernel if _is_kernel_s(message.msg_type) else _of_program),
            parent,
            self._value(message.metadata, _of_metadata),
            [bytes(buffer) for buffer in message.buffers],
            self._value(message.header.subshell_id, _of_program),
        )

    def _value(self, value: Any, hide: _Hide) -> Any:
        match value:
            case dict():
                return {self._text(name): self._value(hide(name, item), hide) for name, item in value.items()}
            case list():
                return [self._value(item, hide) for item in value]
            case str():
                return self._text(value)
            case _:
                return value

    def _text(self, text: str) -> str:
        for pattern, replacement in self._replace:
            text = pattern.sub(replacement, text)
        if text in self._kinds:
            return self._label(text)
        text = _ADDRESS.sub("<address>", text)
        text = _CELL_FOLDER.sub("ipykernel_<pid>", text)
        text = _WORD.sub(lambda word: f"<{self._messages[word[0]]}>" if word[0] in self._messages else word[0], text)
        return self._ids.sub(lambda found: self._label(found[0]), text)

    def _label(self, name: str) -> str:
        """Return what an id is called: by its place among those of its kind that have appeared."""
        if name not in self._labels:
            kind = self._kinds.get(name, "id")
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._labels[name] = f"<{kind} {self._counts[kind]}>"
        return self._labels[name]


# What is hidden of a field, by its name: each returns what is to be compared in place of the value.

_Hide = Callable[[str, Any], Any]


def _is_kernel_s(msg_type: str) -> bool:
    """Return whether a content is the kernel's own, and not what a program has put there."""
    return msg_type.endswith("_reply") or msg_type.startswith("debug_")


def _of_program(name: str, value: Any) -> Any:
    return value


def _of_kernel(name: str, value: Any) -> Any:
    if name in _PROCESS_IDS and isinstance(value, int):
        return "<pid>"
    return _TIP.sub("<tip>", value) if name == "banner" and isinstance(value, str) else value


def _of_metadata(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return "<user>" if name == "username" else "<date>" if _DATE.fullmatch(value) else value
    if name in _DURATIONS and isinstance(value, int | float):
        return "<seconds>"
    return _of_kernel(name, value)


def _with_distance(message: Message, last: int | None) -> tuple[Message, int | None]:
    """Return the message with what its number is to the one before in place of the number, and the number."""
    seq = message.seq
    if seq is None:
        return message, last
    distance = "next" if last is None or seq > last else f"{seq - last:+}"
    own = {**message.metadata["kernelbridge"], "seq": distance}
    return attrs.evolve(message, metadata={**message.metadata, "kernelbridge": own}), seq


def _add(lane: list[Message], message: Message) -> None:
    """Append the message, or its text to the text before, where the split is one that the protocol leaves free."""
    last = lane[-1] if lane else None
    if (
        last is not None
        and is_text(last)
        and is_text(message)
        and last.content["name"] == message.content.get("name")
        and last.metadata == message.metadata
    ):
        lane[-1] = attrs.evolve(last, content={**last.content, "text": last.content["text"] + message.content["text"]})
    else:
        lane.append(message)
