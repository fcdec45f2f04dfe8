"""A transcript: all that passed between a kernel and its frontends, in the order as seen."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import attrs

from kernelbridge.testing.client import ProtocolClient
from kernelbridge.testing.manual import ManualKernel
from kernelbridge.testing.scripted import ScriptedKernel
from kernelbridge.testing.transcripts.comparison import compare, time_line
from kernelbridge.testing.transcripts.records import Direction, Record, TranscriptError, from_lines, to_lines

__all__ = ["Transcript"]

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.define
class Transcript:
    """What passed in a session. `name` is what reports call it: the file that it was loaded from."""

    records: Sequence[Record]
    name: str = ""

    @classmethod
    def of(cls, end: ProtocolClient | ManualKernel | ScriptedKernel) -> Self:
        """Return what a client, or a kernel of the kit, has sent and received so far: the time line of its reports.

        The frames of what was no message are not in it.
        """
        sent: Direction = "->" if isinstance(end, ProtocolClient) else "<-"
        come: Direction = "<-" if sent == "->" else "->"
        records: list[Record] = []
        for event in list(end.time_line.events):
            direction, message = sent if event.direction == "->" else come, event.message
            if message.msg_type.startswith("("):
                # So a kernel of the kit shows what was none, in words.
                records.append(Record(direction, event.channel, event.seconds, note=message.msg_type[1:-1]))
            else:
                records.append(Record(direction, event.channel, event.seconds, message))
        return cls(records)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a transcript. Raises `TranscriptError`, which names the file and the line that cannot be used."""
        file = os.fspath(path)
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise TranscriptError(f"{file}: cannot be read: {error.strerror}") from None
        return cls(from_lines(text, file), file)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the transcript; folders that are not there are made. Raises `TranscriptError` if it cannot be written.

        It holds all that was said, also passwords that were asked for, but no key.
        """
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(to_lines(self.records))
        except OSError as error:
            raise TranscriptError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None

    def lines(self) -> list[str]:
        """Return the transcript for a person to read: a line for each message, requests and parents by short names."""
        return time_line(self.records).lines()

    def difference(self, stored: Transcript, *, replace: Mapping[str, str] = NOTHING) -> str:
        """Return how this one is not what `stored` is, side by side, or nothing if it is (see `assert_same`)."""
        failure = self._compare(stored, replace)
        return "" if failure is None else str(failure)

    def assert_same(self, stored: Transcript, *, replace: Mapping[str, str] = NOTHING) -> None:
        """Hold that this session was as the `stored` one, apart from what differs each time (see `normal`).

        `replace` has more of that: regular expressions that are searched in all texts, each with what is to stand in
        place of what it finds. Raises `ProtocolFailure`, whose text is the report.
        """
        if failure := self._compare(stored, replace):
            raise failure

    def _compare(self, stored: Transcript, replace: Mapping[str, str]) -> AssertionError | None:
        names = (stored.name or "the stored transcript", self.name or "this session")
        return compare(self.records, stored.records, names, replace)
