"""The lines of a transcript: one for each message that passed, and for what was no message."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import attrs

from kernelbridge.wire.connection import CHANNELS, Channel
from kernelbridge.wire.errors import WireError, short_repr
from kernelbridge.wire.messages import Header, Message
from kernelbridge.wire.packing import pack, unpack

__all__ = ["FORMAT", "VERSION", "Direction", "Record", "TranscriptError", "from_lines", "to_lines", "with_ids"]

FORMAT: Final = "kernelbridge transcript"
VERSION: Final = 1

Direction = Literal["->", "<-"]
"""To the kernel, or from it."""

_COMMON: Final = frozenset({"direction", "channel", "seconds"})
_OF_A_MESSAGE: Final = frozenset({"header", "parent_header", "metadata", "content", "buffers", "identities"})
_OF_FRAMES: Final = frozenset({"frames", "note"})


class TranscriptError(Exception):
    """A transcript cannot be read, or one that a test wants is not there. One line, which names file and line."""


@attrs.frozen
class Record:
    """What passed once, on which channel, in seconds since the transcript's start.

    It is a `message`, or `frames` that were none: a subscription, a heartbeat, rubbish. `note` says what they are.
    """

    direction: Direction
    channel: Channel
    seconds: float
    message: Message | None = None
    frames: Sequence[bytes] = ()
    note: str = ""

    def to_json(self) -> bytes:
        """Return the line, without its end."""
        fields: dict[str, Any] = {
            "direction": self.direction,
            "channel": self.channel,
            "seconds": round(self.seconds, 6),
        }
        message = self.message
        if message is None:
            return pack({**fields, "note": self.note, "frames": _to_base64(self.frames)})
        fields |= {
            "header": message.header.to_dict(),
            "parent_header": {} if message.parent is None else message.parent.to_dict(),
            "metadata": message.metadata,
            "content": message.content,
        }
        if message.buffers:
            fields["buffers"] = _to_base64(message.buffers)
        if message.identities:
            fields["identities"] = _to_base64(message.identities)
        return pack(fields)

    @classmethod
    def from_json(cls, line: bytes) -> Record:
        """Return what `line` says. Raises `WireError` for one that says something else."""
        fields = _Fields(unpack(line))
        direction: Direction = fields.take("direction", _one_of(get_args(Direction)), "'->' or '<-'")
        channel: Channel = fields.take("channel", _one_of(CHANNELS), f"one of {', '.join(CHANNELS)}")
        seconds = fields.take("seconds", _is_number, "a number")
        if "frames" in fields.left:
            fields.allow(_COMMON | _OF_FRAMES)
            note = fields.take("note", lambda value: isinstance(value, str), "a string", "")
            return cls(direction, channel, seconds, None, fields.take_binary("frames"), note)
        fields.allow(_COMMON | _OF_A_MESSAGE)
        message = Message(
            Header.from_dict(fields.take("header", _is_object, "an object")),
            fields.take("content", _is_object, "an object"),
            _parent(fields.take("parent_header", _is_object, "an object", {})),
            fields.take("metadata", _is_object, "an object", {}),
            list(fields.take_binary("buffers")),
            fields.take_binary("identities"),
        )
        return cls(direction, channel, seconds, message)


def to_lines(records: Sequence[Record]) -> bytes:
    """Return the text of a transcript."""
    first = pack({"format": FORMAT, "version": VERSION})
    return b"".join(line + b"\n" for line in (first, *(record.to_json() for record in records)))


def from_lines(text: bytes, file: str) -> list[Record]:
    """Return the records of a transcript's text. Raises `TranscriptError`, which names `file` and the line."""
    found: list[Record] = []
    lines = text.splitlines()
    for number, line in enumerate(lines or [b""], 1):
        try:
            if number == 1:
                _check_first(line)
            elif line.strip():
                found.append(Record.from_json(line))
        except WireError as error:
            raise TranscriptError(f"{file}, line {number}: {error}") from None
    return found


def _check_first(line: bytes) -> None:
    expected = pack({"format": FORMAT, "version": VERSION}).decode()
    try:
        fields = unpack(line)
    except WireError:
        fields = None
    if not isinstance(fields, Mapping) or fields.get("format") != FORMAT:
        raise WireError(f"is no transcript, which begins with {expected}")
    if fields.get("version") != VERSION:
        raise WireError(f"is of version {short_repr(fields.get('version'))}, and this program reads {VERSION}")


def _parent(fields: Mapping[str, Any]) -> Header | None:
    return Header.from_dict(fields) if fields else None


def _to_base64(parts: Sequence[Any]) -> list[str]:
    return [base64.b64encode(part).decode() for part in parts]


_Check = Callable[[Any], bool]


def _one_of(names: Sequence[str]) -> _Check:
    return lambda value: isinstance(value, str) and value in names


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_REQUIRED: Final = object()


class _Fields:
    """The fields of a line, taken one by one."""

    def __init__(self, given: Any) -> None:
        if not isinstance(given, dict):
            raise WireError(f"must be an object, not {short_repr(given)}")
        self.left: dict[str, Any] = given

    def take(self, name: str, check: _Check, expected: str, default: Any = _REQUIRED) -> Any:
        value = self.left.get(name, default)
        if value is _REQUIRED:
            raise WireError(f"{name} is missing: it must be {expected}")
        if not check(value):
            raise WireError(f"{name} must be {expected}, not {short_repr(value)}")
        return value

    def take_binary(self, name: str) -> list[bytes]:
        texts = self.take(name, lambda value: isinstance(value, list), "a list", [])
        try:
            return [base64.b64decode(text, validate=True) for text in texts]
        except (binascii.Error, TypeError, ValueError):
            raise WireError(f"{name} must be a list of base64 texts") from None

    def allow(self, names: frozenset[str]) -> None:
        if unknown := sorted(self.left.keys() - names):
            raise WireError(f"{unknown[0]} is no field of such a line: they are {', '.join(sorted(names))}")


def with_ids(value: Any, ids: Mapping[str, Any]) -> Any:
    """Return JSON with what `ids` says in place of the ids that are a whole text in it."""
    match value:
        case dict():
            return {name: with_ids(item, ids) for name, item in value.items()}
        case list():
            return [with_ids(item, ids) for item in value]
        case str():
            return ids.get(value, value)
        case _:
            return value
