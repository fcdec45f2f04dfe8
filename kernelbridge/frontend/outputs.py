"""What an execution has shown, as outputs of a notebook. Pure, but for a store that it may be given.

Messages are only collected, and made into outputs when somebody asks, or when many have come: whoever never looks at
the outputs pays next to nothing for them, and a cell that prints for ever takes the room of its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kernelbridge.frontend.output_area import Output, OutputArea
from kernelbridge.wire.contents import (
    ClearOutput,
    DisplayData,
    Error,
    ExecuteResult,
    Stream,
    UpdateDisplayData,
    structure,
)
from kernelbridge.wire.errors import ContentError
from kernelbridge.wire.messages import Message
from kernelbridge.wire.strays import Strays

if TYPE_CHECKING:
    from kernelbridge.frontend.output_store import OutputStore

_COLLECTED: Final = 1024


class ExecutionOutputs:
    """The outputs of one execution, as the messages given so far make them. Called under the bridge's lock."""

    def __init__(self, strays: Strays, store: OutputStore | None = None) -> None:
        self._strays = strays
        self._store = store
        self._area = OutputArea()
        self._collected: list[Message] = []
        self._foldable = False

    def take(self, messages: Sequence[Message]) -> None:
        """Take what was published, in its order."""
        self._collected += messages
        if self._foldable or len(self._collected) >= _COLLECTED:
            self._fold()

    def replaces(self) -> None:
        """Learn that what is taken next takes the place of earlier outputs, so that it pays to let go of those."""
        self._foldable = True

    @property
    def outputs(self) -> list[Output]:
        """A new list of the outputs, in nbformat's JSON form (version 4)."""
        self._fold()
        return self._area.outputs

    def _fold(self) -> None:
        collected, self._collected = self._collected, []
        self._foldable = False
        # Neighbouring texts of one stream are one text: most of what is published in great numbers are these.
        name, texts = "", list[str]()
        for message in collected:
            content = message.content
            if message.msg_type == "stream" and type(text := content.get("text")) is str:
                if content.get("name") != name:
                    self._add_stream(name, texts)
                    name, texts = str(content.get("name")), []
                texts.append(text)
                continue
            if message.msg_type == "status":
                continue
            self._add_stream(name, texts)
            texts = []
            self._add(message)
        self._add_stream(name, texts)
        if self._store is not None:
            self._area.cut_streams(self._store.limit, self._store.text_output)

    def _add_stream(self, name: str, texts: Sequence[str]) -> None:
        if texts:
            self._area.add(Stream(name=name, text="".join(texts)))

    def _add(self, message: Message) -> None:
        try:
            content = structure(message.msg_type, message.content)
        except ContentError as error:
            self._strays.count("iopub", "malformed output", error)
            return
        match content:
            case DisplayData() | ExecuteResult() | Error():
                self._area.add(content)
            case UpdateDisplayData():
                self._area.update_display(content)
            case ClearOutput():
                self._area.clear(wait=content.wait)
