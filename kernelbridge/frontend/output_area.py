"""One list of outputs as JupyterLab builds it out of a kernel's messages: below a cell, or inside an Output widget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kernelbridge.frontend.stream_text import StreamText
from kernelbridge.wire.contents import DisplayData, Error, ExecuteResult, Stream, UpdateDisplayData

Output = dict[str, Any]
"""An output in nbformat's JSON form (version 4)."""


class _StreamOutput:
    """A stream output that further text of the same name is merged into."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = StreamText(text)

    def to_output(self) -> Output:
        return {"output_type": "stream", "name": self.name, "text": self.text.text}


class OutputArea:
    """Outputs in order. Neighbouring streams of one name are one output; displays can be updated by their id.

    The id of a display is not part of the notebook format and is not saved.
    """

    def __init__(self, outputs: Iterable[object] = ()) -> None:
        self._items: list[Output | _StreamOutput] = []
        self._displays: dict[str, list[Output]] = {}
        self._clear_before_next = False
        self.replace(outputs)

    @property
    def outputs(self) -> list[Output]:
        """A new list of the outputs as they would be saved now."""
        return [item.to_output() if isinstance(item, _StreamOutput) else dict(item) for item in self._items]

    def add(self, content: Stream | DisplayData | ExecuteResult | Error) -> None:
        """Add an output, after clearing the area if a `clear_output` with `wait` has been waiting for it."""
        if self._clear_before_next:
            self.clear()
        match content:
            case Stream():
                self._add_stream(content.name, content.text)
            case Error():
                self._items.append(
                    {
                        "output_type": "error",
                        "ename": content.ename,
                        "evalue": content.evalue,
                        "traceback": content.traceback,
                    }
                )
            case DisplayData():
                self._add_display(
                    content, {"output_type": "display_data", "data": content.data, "metadata": content.metadata}
                )
            case ExecuteResult():
                self._add_display(
                    content,
                    {
                        "output_type": "execute_result",
                        "execution_count": content.execution_count,
                        "data": content.data,
                        "metadata": content.metadata,
                    },
                )

    def clear(self, *, wait: bool = False) -> None:
        """Drop the outputs, at once or (`wait`) when the next one is added."""
        self._clear_before_next = wait
        if not wait:
            self._items.clear()
            self._displays.clear()

    def update_display(self, content: UpdateDisplayData) -> bool:
        """Give every display of the content's id its new data. Returns whether there is one."""
        shown = self._displays.get(content.display_id or "", ())
        for output in shown:
            output["data"] = content.data
            output["metadata"] = content.metadata
        return bool(shown)

    def cut_streams(self, limit: int, stored: Callable[[str, str], Output]) -> None:
        """Put other outputs, which `stored` makes of a stream's name and a piece of its text, before too long streams.

        A piece is all of the text that can no longer change, where the text is longer than `limit`. What `stored`
        cannot take (it raises `OSError`) stays.
        """
        for place in reversed(range(len(self._items))):
            item = self._items[place]
            if isinstance(item, _StreamOutput) and len(item.text.text) > limit:
                kept = item.text.finished
                try:
                    self._items.insert(place, stored(item.name, kept))
                except OSError:
                    return
                item.text.drop_finished()
                if not item.text.text:
                    del self._items[place + 1]

    def replace(self, outputs: Iterable[object]) -> None:
        """Take `outputs` (nbformat's form) in place of all that is there; what is no output is left out.

        Nothing happens if they are what is there: the ids of displays and a stream's cursor must not be lost to a
        mere confirmation.
        """
        new = [output for output in outputs if isinstance(output, dict) and "output_type" in output]
        if new == self.outputs:
            return
        self.clear()
        for output in new:
            name, text = output.get("name"), output.get("text")
            if output["output_type"] == "stream" and isinstance(name, str) and isinstance(text, str):
                self._add_stream(name, text)
            else:
                self._items.append(output)

    def _add_stream(self, name: str, text: str) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(last, _StreamOutput) and last.name == name:
            last.text.write(text)
        else:
            self._items.append(_StreamOutput(name, text))

    def _add_display(self, content: DisplayData | ExecuteResult, output: Output) -> None:
        self._items.append(output)
        if content.display_id is not None:
            self._displays.setdefault(content.display_id, []).append(output)
