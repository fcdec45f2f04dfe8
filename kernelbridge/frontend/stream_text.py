"""The text of one stream output, with backspaces and carriage returns carried out.

JupyterLab (since 4.3, jupyterlab#16498 and #16999) keeps a cursor for each stream output and saves the text as a
terminal would show it: a progress bar that rewrote its line a thousand times is saved as the one line that was left.
Only the last line can still change, since nothing but a newline leaves a line and nothing goes back over one.
"""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"([\b\r\n])")
_MOVES = re.compile(r"[\b\r]")


class StreamText:
    """Text that grows by `write` and is read by `text`. Costs what is written, however it is cut into messages."""

    def __init__(self, text: str = "") -> None:
        self._finished: list[str] = []
        self._line: list[str] = []
        # Where in the last line the next character goes; None is its end, where it is nearly always.
        self._column: int | None = None
        self.write(text)

    @property
    def text(self) -> str:
        """What a terminal would show of all that was written."""
        self._finished = ["".join(self._finished)]
        self._line = ["".join(self._line)]
        return self._finished[0] + self._line[0]

    @property
    def finished(self) -> str:
        """What can no longer change: all lines but the last, or all where that line is the only one."""
        self._finished = ["".join(self._finished)]
        return self._finished[0] or "".join(self._line)

    def drop_finished(self) -> None:
        """Forget what is `finished`."""
        if not any(self._finished):
            self._line, self._column = [], None
        self._finished = []

    def write(self, text: str) -> None:
        """Write `text` at the cursor."""
        if self._column is not None or _MOVES.search(text):
            self._overwrite(text)
            return
        end = text.rfind("\n") + 1
        if end:
            self._finished += self._line
            self._finished.append(text[:end])
            self._line = []
        self._line.append(text[end:])

    def _overwrite(self, text: str) -> None:
        line = "".join(self._line)
        column = len(line) if self._column is None else self._column
        for piece in _CONTROLS.split(text):
            match piece:
                case "\n":
                    self._finished.append(line + "\n")
                    line, column = "", 0
                case "\r":
                    column = 0
                case "\b":
                    column = max(0, column - 1)
                case _:
                    line = line[:column] + piece + line[column + len(piece) :]
                    column += len(piece)
        self._line = [line]
        self._column = None if column == len(line) else column
