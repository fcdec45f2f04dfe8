"""Text on the terminal, in the order in which it is written: above the prompt where there is one."""

from __future__ import annotations

from prompt_toolkit.application import get_app_or_none, in_terminal
from prompt_toolkit.output import Output


class Screen:
    """Writes to the terminal. Owned by the event loop of the prompts."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._line_begun = False
        self._foreign = False
        """Whether what stands in the line was not written here."""

    async def write(self, text: str) -> None:
        """Write what may hold escape sequences."""
        if not text:
            return
        async with in_terminal():
            if self._foreign:
                self._end_line()
            self._put(text)
            if (app := get_app_or_none()) is not None and app.is_running:
                # The prompt takes whole lines, and would be drawn over what has begun one.
                self._end_line()
            self._output.flush()

    def begin_line(self) -> None:
        """Learn that the terminal itself has written something, which what comes next is not to stand behind."""
        self._line_begun = self._foreign = True

    def end_line(self) -> None:
        """Go to a new line, if something stands in this one. For who is about to prompt."""
        self._end_line()
        self._output.flush()

    def _end_line(self) -> None:
        self._foreign = False
        if self._line_begun:
            self._put("\n")

    def _put(self, text: str) -> None:
        self._output.write_raw(text)
        self._line_begun = not text.endswith("\n")
