"""Requests, responses and events of the Debug Adapter Protocol, over a stream of bytes."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

from kernelbridge.wire.packing import pack, unpack

logger = logging.getLogger("kernelbridge")

Dap = dict[str, Any]
"""A message of the protocol."""

_LIMIT = 2**30


class Adapter:
    """The client's end of a connection to a debugger. Owned by one event loop.

    Takes `on_event`, which is given each event, in the order in which events and responses come.
    """

    def __init__(self, on_event: Callable[[Dap], None]) -> None:
        self._on_event = on_event
        self._seq = 0
        self._waiting: dict[int, asyncio.Future[Dap]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def open(self, connection: socket.socket) -> None:
        """Use `connection`, which is closed with this."""
        reader, self._writer = await asyncio.open_connection(sock=connection, limit=_LIMIT)
        self._reading = asyncio.create_task(self._read(reader, self._writer))

    def send(self, command: str, arguments: Mapping[str, Any] | None = None) -> asyncio.Future[Dap]:
        """Send a request, before this returns, and return its response to come.

        The response of a debugger that goes away is one without success.
        """
        self._seq += 1
        response: asyncio.Future[Dap] = asyncio.get_running_loop().create_future()
        if self._writer is None:
            response.set_result(_gone(command))
            return response
        self._waiting[self._seq] = response
        request: Dap = {"seq": self._seq, "type": "request", "command": command}
        if arguments is not None:
            request["arguments"] = arguments
        text = pack(request)
        self._writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
        return response

    def close(self) -> None:
        """Close the connection."""
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(b":", 1) for line in head.lower().splitlines() if line)
                message = unpack(await reader.readexactly(int(fields[b"content-length"])))
                if message["type"] == "event":
                    self._on_event(message)
                elif (response := self._waiting.pop(message["request_seq"], None)) is not None and not response.done():
                    response.set_result(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            logger.info("the debugger has closed its connection")
        finally:
            self._writer = None
            writer.close()
            for response in self._waiting.values():
                if not response.done():
                    response.set_result(_gone(""))
            self._waiting.clear()


def _gone(command: str) -> Dap:
    return {"type": "response", "success": False, "command": command, "message": "the debugger is not connected"}
