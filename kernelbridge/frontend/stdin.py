"""Stdin as the frontend uses it: the kernel asks for input, the frontend answers (contract F9)."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Never

import zmq

from kernelbridge.bridges.socket_bridge import Frame, Socket
from kernelbridge.frontend.channel import RequestChannel, Wiring
from kernelbridge.frontend.errors import BridgeError
from kernelbridge.frontend.execution import Running
from kernelbridge.wire.messages import Message

logger = logging.getLogger("kernelbridge")


class Stdin(RequestChannel[Never]):
    """Sends input replies and hands on input requests: `on_request` is called on the thread with each.

    `on_connected` is called on the thread when the kernel can ask. The socket has Shell's identity, by which the kernel
    finds the frontend that sent the execute_request.
    """

    channel = "stdin"

    def __init__(self, wiring: Wiring, on_request: Callable[[Message], None], on_connected: Callable[[], None]) -> None:
        super().__init__(wiring)
        self._on_request = on_request
        self._on_connected = on_connected

    def prepare(self, socket: Socket) -> None:
        super().prepare(socket)
        # It is writable when it is connected, and not before.
        socket.set(zmq.IMMEDIATE, 1)

    def open_sockets(self) -> None:
        super().open_sockets()
        self.when_writable(self.socket, self._on_connected)

    def send(self, frames: list[Frame]) -> None:
        # Not writable any more: whoever has asked is gone.
        with contextlib.suppress(zmq.Again):
            super().send(frames)

    def received(self, message: Message) -> None:
        if message.msg_type == "input_request":
            self._on_request(message)
        else:
            self.wiring.strays.count(self.channel, "unexpected type", message.msg_type)


def answer(execution: Running, request: Message) -> str:
    """Return what the frontend that sent `execution` answers to an input request: empty where it cannot say.

    Called on a thread of its own, which may wait as long as it takes. A coroutine runs in the event loop in which the
    execution was asked for, and is cancelled when the execution ends. Both see the context variables of the place where
    it was asked for.
    """
    # A copy, because the answer to a former request may still be waited for in it.
    return execution.context.copy().run(_answer, execution, request)


def _answer(execution: Running, request: Message) -> str:
    if execution.on_input is None:
        logger.warning("an input request came for an execution that has nobody to answer it; the answer is empty")
        return ""
    prompt, password = request.content.get("prompt"), request.content.get("password")
    try:
        given = execution.on_input(prompt if isinstance(prompt, str) else "", password is True)
        if inspect.isawaitable(given):
            waiting = _while_it_runs(execution, given)
            loop = execution.loop
            if loop is not None and loop.is_running():
                given = asyncio.run_coroutine_threadsafe(waiting, loop).result()
            else:
                given = asyncio.run(waiting)
    except BaseException:
        # SystemExit too: whatever the handler does, the kernel waits for an answer.
        logger.exception("the input handler failed; the answer is empty")
        return ""
    if not isinstance(given, str):
        logger.error("the input handler returned %s, which is no text; the answer is empty", type(given).__name__)
        return ""
    return given


async def _while_it_runs(execution: Running, given: Awaitable[str]) -> str:
    """Wait for the answer, or for the end of the execution, after which nobody waits for an answer."""

    async def end() -> None:
        try:
            await execution
        except BridgeError as error:
            logger.debug("an execution ended while its input was waited for: %s", error)

    answering, ending = asyncio.ensure_future(given), asyncio.ensure_future(end())
    try:
        await asyncio.wait({answering, ending}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else ""
    finally:
        answering.cancel()
        ending.cancel()
