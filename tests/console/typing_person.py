"""A person at a terminal that is none: what is typed goes in by a pipe, and what is shown can be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.input.base import PipeInput
from prompt_toolkit.output import DummyOutput

from kernelbridge.console import Console
from kernelbridge.frontend.bridge import Bridge
from kernelbridge.testing import DEADLINE


class Paper(DummyOutput):
    """A terminal that keeps what is written on it. Prompts are drawn, by `write`; what a kernel shows is not."""

    def __init__(self) -> None:
        self.shown = ""
        """What the console has written, but for prompts and what was typed."""
        self.drawn = ""
        """The same with the prompts and what was typed, as often as that was drawn."""
        self.on_text: Callable[[str], object] = lambda text: None
        """Called with each text that the console has written."""
        self._changed = asyncio.Event()

    def write(self, data: str) -> None:
        self.drawn += data
        self._changed.set()

    def write_raw(self, data: str) -> None:
        self.shown += data
        self.drawn += data
        self._changed.set()
        self.on_text(data)

    async def until(self, text: str) -> None:
        """Wait until the text has been written or drawn."""
        async with asyncio.timeout(DEADLINE):
            while text not in self.drawn:
                self._changed.clear()
                await self._changed.wait()


class Person:
    """Types, and reads."""

    def __init__(self, keyboard: PipeInput, paper: Paper, console: asyncio.Task[int]) -> None:
        self._keyboard = keyboard
        self.paper = paper
        self._console = console

    def types(self, text: str) -> None:
        """Press keys; Enter is ``\\r``."""
        self._keyboard.send_text(text)

    async def reads(self, text: str) -> None:
        """Wait until a text has appeared."""
        await self.paper.until(text)

    @property
    def shown(self) -> str:
        """What the console has written behind its greeting."""
        return self.paper.shown.partition(".\n\n")[2]

    @property
    def drawn(self) -> str:
        """All that has appeared, prompts too."""
        return self.paper.drawn

    async def sees_the_end(self) -> int:
        """Wait until the console has ended, and return its exit status."""
        return await asyncio.wait_for(asyncio.shield(self._console), DEADLINE)


CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


@asynccontextmanager
async def person_at(bridge: Bridge, *, launched: bool = True, colour: bool = True) -> AsyncIterator[Person]:
    """A console, and who sits at it. At the end of the block the console has ended."""
    paper = Paper()
    with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=paper):
        console = Console(bridge, launched=launched, colour=colour, input=keyboard, output=paper)
        running = asyncio.create_task(console.run())
        try:
            yield Person(keyboard, paper, running)
        finally:
            running.cancel()
            await asyncio.wait({running})
