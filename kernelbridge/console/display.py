"""What the messages of a kernel are as text on a terminal. Pure: it only remembers what is to be cleared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

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

_READABLE: Final = ("text/plain", "text/markdown", "text/latex")
"""What a person can read as it is, the most readable first."""

_ERASE_LINE: Final = "\r\x1b[2K"
_RED, _BOLD_RED, _RESET = "\x1b[31m", "\x1b[1;31m", "\x1b[0m"
_STYLES: Final = re.compile(r"\x1b\[[0-9;:]*m")
"""The escape sequences of colours and of bold text (SGR in ECMA-48)."""


class Display:
    """Says what a message shows. Without `colour`, colours are taken out of what comes from the kernel."""

    def __init__(self, *, colour: bool = True) -> None:
        self._colour = colour
        self._clear_before_next = False

    def text_of(self, message: Message) -> str:
        """Return what is to be written for a message: nothing for those that show nothing, or are malformed.

        A display that is updated is shown again: what has scrolled by cannot be changed. What is cleared is the line
        that was begun, as IPython does it in a terminal.
        """
        try:
            content = structure(message.msg_type, message.content)
        except ContentError:
            return ""
        text = self._text_of(content)
        if not text:
            return ""
        if self._clear_before_next:
            self._clear_before_next = False
            text = _ERASE_LINE + text
        return text if self._colour else _STYLES.sub("", text)

    def _text_of(self, content: object) -> str:
        match content:
            case Stream():
                return content.text
            case ExecuteResult():
                shown = readable(content.data)
                number = f"{_RED}Out[{_BOLD_RED}{content.execution_count}{_RESET}{_RED}]:{_RESET}"
                # What has several lines keeps its columns.
                between = "\n" if "\n" in shown else " "
                return f"{number}{between}{shown}\n" if shown else ""
            case DisplayData() | UpdateDisplayData():
                shown = readable(content.data)
                return f"{shown}\n" if shown else ""
            case Error():
                return "\n".join(content.traceback or [f"{content.ename}: {content.evalue}"]) + "\n"
            case ClearOutput(wait=True):
                self._clear_before_next = True
            case ClearOutput():
                return _ERASE_LINE
        return ""


def readable(data: Mapping[str, Any]) -> str:
    """Return the form of a MIME bundle that a person can read, or what there is where nobody can."""
    for mime in _READABLE:
        if isinstance(text := data.get(mime), str):
            return text
    return f"<{', '.join(data)}>" if data else ""
