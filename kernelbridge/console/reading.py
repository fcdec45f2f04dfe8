"""What a person types: cells, of as many lines as they need, and answers to what a cell asks.

Enter runs a cell when the kernel says that it is complete, and begins another line when it is not. The event loop
stands still while the kernel is asked, on purpose: what is typed meanwhile comes behind that Enter.
"""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.output import Output
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from kernelbridge.console.asking import KernelCompleter, KernelHistory
from kernelbridge.frontend.bridge import Bridge
from kernelbridge.frontend.errors import BridgeError

ASK_SECONDS = 0.5
"""How long Enter waits for the kernel to say whether a cell is complete. A busy one may not."""

_MENU_LINES = 6
_STYLE = Style.from_dict({"in": "ansigreen", "in.number": "ansigreen bold"})


class TypedCtrlC(Exception):
    """Ctrl-C was typed. No KeyboardInterrupt, which ends an event loop."""


class Reader:
    """Prompts for what is typed. `number` says which cell comes next, None while that is not known."""

    def __init__(
        self, bridge: Bridge, number: Callable[[], int | None], *, input: Input | None, output: Output | None
    ) -> None:
        self._bridge = bridge
        self._number = number
        self._input = input
        self._asks = True
        self._cells: PromptSession[str] = PromptSession(
            self._prompt,
            multiline=True,
            lexer=PygmentsLexer.from_filename(f"cell{_extension(bridge)}"),
            prompt_continuation=self._continuation,
            completer=KernelCompleter(bridge),
            complete_while_typing=False,
            complete_style=CompleteStyle.MULTI_COLUMN,
            reserve_space_for_menu=_MENU_LINES,
            history=KernelHistory(bridge),
            enable_history_search=True,
            enable_suspend=True,
            key_bindings=self._keys(),
            style=_STYLE,
            interrupt_exception=TypedCtrlC,
            input=input,
            output=output,
        )
        self.output = self._cells.output
        """The terminal."""

    async def read(self, default: str = "") -> str:
        """Return the next cell. Raises `TypedCtrlC`, and `EOFError` at Ctrl-D."""
        return (await self._cells.prompt_async(default=default, handle_sigint=False)).rstrip()

    def show_number(self) -> None:
        """Show the number of the cell anew, which has become known."""
        self._cells.app.invalidate()

    async def ask(self, prompt: str, password: bool) -> str:
        """Return the answer to an input request. A password is not shown. Raises as `read` does."""
        # One of its own: an answer is no cell, and belongs in no history.
        session: PromptSession[str] = PromptSession(
            interrupt_exception=TypedCtrlC, input=self._input, output=self.output
        )
        return await session.prompt_async(ANSI(prompt), is_password=password, handle_sigint=False)

    def _prompt(self) -> StyleAndTextTuples:
        return [("class:in", "In ["), ("class:in.number", self._shown_number()), ("class:in", "]: ")]

    def _shown_number(self) -> str:
        number = self._number()
        return " " if number is None else str(number)

    def _continuation(self, width: int, line_number: int, is_soft_wrap: int) -> StyleAndTextTuples:
        return [("class:in", "" if is_soft_wrap else "...: ".rjust(width))]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
        def enter(event: KeyPressEvent) -> None:
            self._enter(event.current_buffer)

        return keys

    def _enter(self, buffer: Buffer) -> None:
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            # It takes what is chosen in the menu.
            buffer.complete_state = None
            return
        if buffer.document.text_after_cursor.strip():
            # In the midst of a cell one goes on writing.
            buffer.newline(copy_margin=True)
            return
        indent = self._indent_of_next_line(buffer.text)
        if indent is None:
            buffer.validate_and_handle()
        else:
            buffer.newline(copy_margin=False)
            buffer.insert_text(indent)

    def _indent_of_next_line(self, code: str) -> str | None:
        """Return what another line begins with; None where the cell is complete, or can never be."""
        if not code.strip():
            return None
        content = {}
        if self._asks:
            try:
                content = self._bridge.is_complete(code).result(ASK_SECONDS).content
            except TimeoutError:
                # One that has nothing to do, and does not answer, does not know the request.
                self._asks = self._bridge.status == "busy"
            except BridgeError:
                return None
        if content.get("status") in ("complete", "invalid"):
            return None
        if content.get("status") == "incomplete":
            indent = content.get("indent")
            return indent if isinstance(indent, str) else ""
        # Nobody knows. A cell of one line runs, and one of several at an empty line, as in simple consoles.
        last = code.rpartition("\n")[2]
        return last[: len(last) - len(last.lstrip())] if "\n" in code and last.strip() else None


def _extension(bridge: Bridge) -> str:
    language = bridge.kernel_info_reply.get("language_info")
    extension = language.get("file_extension") if isinstance(language, dict) else None
    return extension if isinstance(extension, str) else ".txt"
