"""Transcripts that are stored beside the tests that compare with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kernelbridge.testing.client import ProtocolClient
from kernelbridge.testing.report import hides_kit
from kernelbridge.testing.transcripts.records import TranscriptError
from kernelbridge.testing.transcripts.transcript import NOTHING, Transcript

__all__ = ["UPDATE_OPTION", "StoredTranscripts"]

__tracebackhide__ = hides_kit

UPDATE_OPTION = "--update-transcripts"


class StoredTranscripts:
    """The transcripts in a folder, which are rewritten if `update`. `client` gives the client of the test."""

    def __init__(self, folder: Path, client: Callable[[], ProtocolClient], *, update: bool) -> None:
        self._folder = folder
        self._client = client
        self._update = update

    def load(self, name: str) -> Transcript:
        """Return the stored transcript. Raises `TranscriptError` if there is none, or it cannot be read."""
        path = self._path(name)
        if not path.exists():
            raise TranscriptError(f"{path}: is not there: run pytest {UPDATE_OPTION} to store it")
        return Transcript.load(path)

    def matches(
        self, name: str, seen: ProtocolClient | Transcript | None = None, *, replace: Mapping[str, str] = NOTHING
    ) -> None:
        """Hold that what was `seen`, by default by the test's `protocol_client`, is as the stored transcript is.

        One is stored for all kernels that the test runs against: `name` may hold the kernel's name where they differ.
        With ``--update-transcripts`` what was seen is stored instead, unless what is there is the same but for what
        differs each time. Raises what `Transcript.assert_same` does, and `TranscriptError` if none is stored.
        """
        if not isinstance(seen, Transcript):
            seen = Transcript.of(seen or self._client())
        if not self._update:
            seen.assert_same(self.load(name), replace=replace)
        elif self._differs(name, seen, replace):
            seen.save(self._path(name))

    def _differs(self, name: str, seen: Transcript, replace: Mapping[str, str]) -> bool:
        try:
            return bool(seen.difference(self.load(name), replace=replace))
        except TranscriptError:
            # None is there, or none that can be read: what an update is for.
            return True

    def _path(self, name: str) -> Path:
        if not name or name != Path(name).name:
            raise ValueError(f"the name of a stored transcript is that of a file, without a folder: not {name!r}")
        return self._folder / f"{name}.jsonl"
