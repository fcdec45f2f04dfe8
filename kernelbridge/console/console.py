"""The console: reads a cell, runs it, shows what the kernel shows, and again.

What is shown is what this console has caused, also by cells that have ended and whose threads go on, and of that all,
in the order in which the kernel published it: it comes from one subscription, which one task reads. A cell is over, and
an input request is put to the person, when all has been shown that came before.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from typing import Any, Final, TypeVar

import attrs
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output

from kernelbridge.console.display import Display, readable
from kernelbridge.console.reading import Reader, TypedCtrlC
from kernelbridge.console.screen import Screen
from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.errors import BridgeError, KernelStartError
from kernelbridge.frontend.execution import Execution
from kernelbridge.frontend.inquiry import listening
from kernelbridge.frontend.subscribers import Subscription
from kernelbridge.wire.connection import ConnectionInfo, load_connection_file
from kernelbridge.wire.messages import Message

DIED: Final = 1
"""The exit status when the kernel has ended before the console."""

INTERRUPTED: Final = 130

_END_OF_INPUT: Final = "\x04"
"""What stands for Ctrl-D in an answer: ipykernel raises EOFError for it. The specification says nothing of this."""

_REACH_SECONDS: Final = 10.0
"""How long a kernel on another machine has to be reached."""

_PATIENCE: Final = 3
"""At which Ctrl-C the console ends, if a cell has not ended at the ones before."""

T = TypeVar("T")


def run_console(
    kernel_name: str = "kernelbridge", *, existing: str | PathLike[str] | None = None, colour: bool = True
) -> int:
    """Launch a kernel, or connect to the one with this connection file, and talk to it on the terminal.

    Returns the exit status: 0 when the person has ended it, `DIED` when the kernel has ended first. A kernel that was
    launched ends with the console, another goes on. Raises what `launch` and `connect` raise.
    """
    return asyncio.run(_hold(kernel_name, existing, colour))


async def _hold(kernel_name: str, existing: str | PathLike[str] | None, colour: bool) -> int:
    bridge = launch(kernel_name) if existing is None else connect(_that_runs(existing))
    async with bridge:
        return await Console(bridge, launched=existing is None, colour=colour).run()


def _that_runs(existing: str | PathLike[str]) -> ConnectionInfo:
    """Return what a connection file says. One that a kernel has left is not worth the time that a start has."""
    info = load_connection_file(existing)
    if not all(listening([info], _REACH_SECONDS)):
        raise KernelStartError(f"no kernel listens at {info.endpoint('hb')}, which {existing} names")
    return info


@attrs.frozen
class Ending:
    """How the console ends: with this exit status, and what is to be said."""

    status: int
    said: str = ""


class _Ended(Exception):
    """What was waited for will not come: the console ends."""


class Console:
    """A person's end of a bridge that is ready. `launched` says whether the kernel ends with the console.

    `input` and `output` are the terminal unless they are given. Owned by one event loop.
    """

    def __init__(
        self,
        bridge: Bridge,
        *,
        launched: bool = True,
        colour: bool = True,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self._bridge = bridge
        self._launched = launched
        # A kernel that was there before is asked.
        self._number: int | None = 1 if launched else None
        self._reader = Reader(bridge, lambda: self._number, input=input, output=output)
        self._screen = Screen(self._reader.output)
        self._display = Display(colour=colour)
        self._next_input = ""
        self._ending: asyncio.Future[Ending]
        self._execution: Execution | None = None
        """The cell that runs, or ran last."""
        self._shown = 0
        """How many of its messages have been shown."""
        self._progress = asyncio.Event()
        """Set when one more has been shown."""
        self._interrupts = 0
        """How many times it has been interrupted."""
        self._skipping = False
        """Whether the rest of what it has shown is left out."""
        self._skipped = 0
        """Of how many messages that was."""
        self._question: asyncio.Future[str] | None = None
        """The prompt of the last input request."""

    async def run(self) -> int:
        """Read, run and show until the person ends it or the kernel has ended. Returns the exit status."""
        self._ending = asyncio.get_running_loop().create_future()
        with self._bridge.subscribe(backlog=None) as stream, self._catching_ctrl_c():
            async with asyncio.TaskGroup() as group:
                showing = group.create_task(self._show_all(stream))
                counting = None if self._launched else group.create_task(self._learn_number())
                await self._greet()
                with suppress(_Ended):
                    await self._converse()
                showing.cancel()
                if counting is not None:
                    counting.cancel()
        ending = self._ending.result()
        self._screen.end_line()
        if ending.said:
            await self._screen.write(f"{ending.said}\n")
        return ending.status

    async def _greet(self) -> None:
        banner = self._bridge.kernel_info_reply.get("banner")
        text = f"{banner.strip()}\n" if isinstance(banner, str) and banner.strip() else ""
        fate = "ends the kernel" if self._launched else "leaves the kernel"
        await self._screen.write(f"{text}Ctrl-C interrupts a cell, Ctrl-D {fate}.\n\n")

    async def _converse(self) -> None:
        while not self._ending.done():
            try:
                self._screen.end_line()
                default, self._next_input = self._next_input, ""
                code = await self._unless_ended(self._reader.read(default))
            except TypedCtrlC:
                continue
            except EOFError:
                self._end(Ending(0))
                return
            if code:
                await self._run(code)

    async def _run(self, code: str) -> None:
        self._interrupts = self._shown = self._skipped = 0
        self._skipping = False
        self._execution = execution = self._bridge.execute(code, on_input=self._answer)
        try:
            reply = (await self._unless_ended(_reply(execution))).content
        except BridgeError as error:
            await self._unless_ended(self._all_shown(execution))
            self._end(_gone(error))
            return
        finally:
            await self._withdraw_question()
        await self._unless_ended(self._all_shown(execution))
        if self._skipped:
            await self._screen.write(f"{self._skipped} more outputs were left out.\n")
        number = reply.get("execution_count")
        if isinstance(number, int):
            self._number = number + 1
        payload = reply.get("payload")
        for one in payload if isinstance(payload, list) else ():
            if isinstance(one, dict):
                await self._take_payload(one)

    async def _take_payload(self, payload: dict[str, Any]) -> None:
        """Do what a cell asks its frontend for ("Payloads" in the messaging specification)."""
        match payload.get("source"), payload:
            case "page", {"data": dict(data)}:
                await self._screen.write(f"{readable(data)}\n")
            case "set_next_input", {"text": str(text)}:
                self._next_input = text
            case "ask_exit", _:
                self._end(Ending(0))

    async def _learn_number(self) -> None:
        """Ask a kernel that has run cells before how many."""
        try:
            reply = await self._bridge.execute("", silent=True, stop_on_error=False)
        except BridgeError:
            return
        number = reply.content.get("execution_count")
        if self._number is None and isinstance(number, int):
            self._number = number + 1
            self._reader.show_number()

    # What the kernel shows: one task

    async def _show_all(self, stream: Subscription) -> None:
        async for message in stream:
            execution = self._execution
            if message.msg_type == "shutdown_reply" and not self._launched:
                self._end(_shut_down(message))
            elif message.parent is None and message.content.get("execution_state") == "dead":
                self._end(await self._death())
            elif message.parent is not None and execution is not None:
                if message.parent.session == execution.header.session:
                    await self._show(message)
                if message.parent.msg_id == execution.msg_id:
                    self._shown += 1
                    self._progress.set()

    async def _show(self, message: Message) -> None:
        text = self._display.text_of(message)
        if self._skipping:
            self._skipped += bool(text)
        else:
            await self._screen.write(text)
            # In a flood nothing of this waits, and Ctrl-C is to be heard.
            await asyncio.sleep(0)

    async def _death(self) -> Ending:
        try:
            await self._bridge.kernel_info()
        except BridgeError as error:
            return _gone(error)
        raise RuntimeError("a kernel that is dead has answered")

    async def _all_shown(self, execution: Execution) -> None:
        """Wait until all has been shown that an execution has published by now."""
        published = len(execution.messages)
        while self._shown < published:
            self._progress.clear()
            await self._progress.wait()

    # What the kernel asks

    async def _answer(self, prompt: str, password: bool) -> str:
        if self._execution is not None:
            await self._all_shown(self._execution)
        self._screen.end_line()
        self._question = question = asyncio.ensure_future(self._ask(prompt, password))
        await asyncio.wait({question})
        if not question.cancelled():
            return question.result()
        # Nobody waits for an answer any more. This is cancelled when the cell ends.
        await asyncio.Event().wait()
        return ""

    async def _ask(self, prompt: str, password: bool) -> str:
        """Return the answer. Cancelled when Ctrl-C interrupts the cell instead."""
        try:
            return await self._reader.ask(prompt, password)
        except EOFError:
            return _END_OF_INPUT
        except TypedCtrlC:
            self._interrupt()
            raise asyncio.CancelledError from None

    async def _withdraw_question(self) -> None:
        """End the prompt of a question that the cell has not waited for: the terminal has one prompt at a time."""
        if self._question is not None and not self._question.done():
            self._question.cancel()
            await asyncio.wait({self._question})

    # Ctrl-C, and the end

    @contextmanager
    def _catching_ctrl_c(self) -> Iterator[None]:
        """Let the SIGINT that Ctrl-C causes while no prompt reads the keys interrupt the cell."""
        loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(self._signalled))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _signalled(self) -> None:
        # The terminal has shown it as ^C.
        self._screen.begin_line()
        self._interrupt()

    def _interrupt(self) -> None:
        execution = self._execution
        if execution is None:
            return
        if execution.done:
            # What it has shown may take the terminal much longer than it took the cell.
            self._skipping = self._shown < len(execution.messages)
            return
        self._interrupts += 1
        if self._interrupts >= _PATIENCE:
            self._end(Ending(INTERRUPTED, "The cell does not end."))
        else:
            self._bridge.interrupt()

    def _end(self, ending: Ending) -> None:
        if not self._ending.done():
            self._ending.set_result(ending)

    async def _unless_ended(self, wanted: Awaitable[T]) -> T:
        """Wait for something, or for the end. Raises `_Ended` if that comes first."""
        task = asyncio.ensure_future(wanted)
        either: tuple[asyncio.Future[Any], ...] = (task, self._ending)
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            if not task.done():
                task.cancel()
                # Its prompt leaves the terminal as it was.
                await asyncio.wait({task})
        raise _Ended


async def _reply(execution: Execution) -> Message:
    return await execution


def _gone(error: BridgeError) -> Ending:
    return Ending(DIED, f"The kernel is gone: {error}.")


def _shut_down(reply: Message) -> Ending:
    """Say what another frontend has done with a kernel that goes on without this one."""
    if reply.content.get("restart") is True:
        said = "Another frontend restarts the kernel. Start the console again to connect to the new one."
    else:
        said = "Another frontend has shut the kernel down."
    return Ending(DIED, said)
