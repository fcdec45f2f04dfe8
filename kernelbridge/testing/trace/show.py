"""How a trace is shown: one line for each message, for people; or JSON lines; and which of them."""

from __future__ import annotations

import json
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import attrs
from rich.console import Console
from rich.text import Text

from kernelbridge.testing.report import describe
from kernelbridge.testing.trace.tracer import Note
from kernelbridge.testing.transcripts.records import Record, to_lines
from kernelbridge.wire.messages import Header, Message

__all__ = ["Filters", "JsonLines", "Lines", "Names", "summary"]

_REMEMBERED: Final = 10_000
"""How many requests keep their names: a trace may last for days."""

_STYLES: Final = {
    "status": "dim",
    "stream": "default",
    "error": "red",
    "execute_input": "cyan",
    "comm_open": "magenta",
    "comm_msg": "magenta",
    "comm_close": "magenta",
}
_REQUEST_STYLE: Final = "bold cyan"
_OTHER_STYLE: Final = "green"
_ALARM_STYLE: Final = "bold red"


class Names:
    """Short names: requests are r1, r2, ... in the order in which they were seen, frontends A, B, ..."""

    def __init__(self) -> None:
        self._requests: OrderedDict[str, str] = OrderedDict()
        self._frontends: dict[str, str] = {}
        self._count = 0

    def of(self, seen: Record) -> str:
        """Return the name of what a frontend has sent, and for what the kernel has sent that of its parent.

        ``A.r1``; ``-`` for no parent.
        """
        if seen.message is None:
            return ""
        header = seen.message.header if seen.direction == "->" else seen.message.parent
        return "-" if header is None else self._name(header)

    def _name(self, header: Header) -> str:
        name = self._requests.get(header.msg_id)
        if name is None:
            self._count += 1
            name = self._requests[header.msg_id] = f"{self._frontend(header.session)}.r{self._count}"
            if len(self._requests) > _REMEMBERED:
                self._requests.popitem(last=False)
        return name

    def _frontend(self, session: str) -> str:
        number = len(self._frontends)
        letter = chr(ord("A") + number) if number < 26 else f"F{number + 1}"
        return self._frontends.setdefault(session, letter)


@attrs.frozen
class Filters:
    """Which messages are shown: those that match one of each kind of filter that is given.

    ``types``, ``channels`` and ``parents`` are patterns as of file names. A parent is the name of a request (``r1``), a
    frontend (``A``), or the two together (``A.r1``); the whole id of a message or a session does as well. ``text`` is
    looked for in the line that is shown and in the whole content.
    """

    types: Sequence[str] = ()
    channels: Sequence[str] = ()
    parents: Sequence[str] = ()
    text: re.Pattern[str] | None = None

    def pass_(self, seen: Record, name: str) -> bool:
        """Return whether this is to be shown. `name` is what `Names` calls it."""
        return (
            _matches(self.types, [seen.message.msg_type if seen.message else ""])
            and _matches(self.channels, [seen.channel])
            and _matches(self.parents, [name, *name.split("."), *_ids(seen)])
            and (self.text is None or any(map(self.text.search, _texts(seen))))
        )


def _matches(patterns: Sequence[str], names: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _ids(seen: Record) -> list[str]:
    if seen.message is None:
        return []
    header = seen.message.header if seen.direction == "->" else seen.message.parent
    return [] if header is None else [header.msg_id, header.session]


def _texts(seen: Record) -> list[str]:
    if seen.message is None:
        return [seen.note]
    return [describe(seen.message.msg_type, seen.message.content), _json(seen.message.content)]


class Lines:
    """Shows what is seen on `console`, a line for each. `full` shows whole contents below."""

    def __init__(self, console: Console, filters: Filters, *, full: bool = False) -> None:
        self.shown: Counter[str] = Counter()
        """How many messages were shown, by type."""
        self._console = console
        self._filters = filters
        self._full = full
        self._names = Names()

    def show(self, item: Record | Note) -> None:
        """Show it, if no filter is against it."""
        if isinstance(item, Note):
            self._print(Text(f"-- {_printable(item.text)}", "dim" if item.kind == "view" else _ALARM_STYLE))
            return
        name = self._names.of(item)
        if not self._filters.pass_(item, name):
            return
        _count(self.shown, item)
        number = None if item.message is None else item.message.seq
        line = Text(f"{item.seconds:9.3f}  ", "dim")
        line.append(f"{item.direction} {item.channel:<7} ", "bold" if item.direction == "->" else "default")
        line.append(f"{name:<6} ", "yellow")
        line.append(f"{'' if number is None else f'#{number}':>6}  ", "dim")
        line.append(_printable(_said(item)), _style(item))
        self._print(line)
        if self._full and item.message is not None:
            self._print(Text(_details(item.message), "default"))

    def _print(self, line: Text) -> None:
        # A line is a line: what is too long for the terminal is wrapped by it, and by nobody where there is none.
        self._console.print(line, soft_wrap=True)


class JsonLines:
    """Writes what is seen as the lines of a transcript (`kernelbridge.testing.transcripts`).

    Takes what writes a line, and what tells a person of notes, for which a transcript has no place.
    """

    def __init__(self, write: Callable[[bytes], object], tell: Callable[[str], object], filters: Filters) -> None:
        self.shown: Counter[str] = Counter()
        """How many messages were written, by type."""
        self._write = write
        self._tell = tell
        self._filters = filters
        self._names = Names()
        write(to_lines(()))

    def show(self, item: Record | Note) -> None:
        """Write it, if no filter is against it."""
        if isinstance(item, Note):
            self._tell(item.text)
        elif self._filters.pass_(item, self._names.of(item)):
            _count(self.shown, item)
            self._write(item.to_json() + b"\n")


def _count(shown: Counter[str], seen: Record) -> None:
    # Before it is to be seen: whoever has seen it, and interrupts, finds it in the summary.
    shown["no message" if seen.message is None else seen.message.msg_type] += 1


def _said(seen: Record) -> str:
    if seen.message is None:
        size = sum(map(len, seen.frames))
        return f"no message: {seen.note} ({len(seen.frames)} frames, {size:,} bytes)"
    said = describe(seen.message.msg_type, seen.message.content)
    if not seen.message.buffers:
        return said
    size = sum(memoryview(buffer).nbytes for buffer in seen.message.buffers)
    return f"{said} + {len(seen.message.buffers)} buffers of {size:,} bytes"


def _style(seen: Record) -> str:
    if seen.message is None:
        return _ALARM_STYLE
    if seen.direction == "->":
        return _REQUEST_STYLE
    if seen.message.msg_type == "stream" and seen.message.content.get("name") == "stderr":
        return "red"
    return _STYLES.get(seen.message.msg_type, _OTHER_STYLE)


def _details(message: Message) -> str:
    parts: dict[str, Any] = {"content": message.content}
    if message.metadata:
        parts["metadata"] = message.metadata
    lines = json.dumps(parts, ensure_ascii=False, indent=2).splitlines()
    return "\n".join(f"    {_printable(line)}" for line in lines[1:-1])


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)


def _printable(text: str) -> str:
    """Return `text` with nothing in it that would command a terminal: anybody may have sent it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def summary(shown: Counter[str], notes: Counter[str], seconds: float) -> str:
    """Return what was shown, by type, and what was wrong, on one line."""
    total = shown.total()
    kinds = ", ".join(f"{count} {name}" for name, count in shown.most_common())
    line = f"{total} message{'' if total == 1 else 's'} in {seconds:.1f} s"
    if kinds:
        line += f": {kinds}"
    for kind, what in (("gap", "gaps in the numbers"), ("dropped", "times that the kernel could not show all")):
        if notes[kind]:
            line += f"; {notes[kind]} {what}"
    return line
