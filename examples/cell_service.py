"""A service that runs cells for many users, each in a kernel of their own, which is claimed from a pool.

    python examples/cell_service.py ada bob        prints its port, and a token for each of them

A client sends lines of JSON to the port (on loopback): its token, and then, as often as it likes, what is to be done.

    {"token": "5a0c..."}                   {"type": "ready", "user": "ada"}
    {"run": 1, "code": "print(6 * 7)"}     {"type": "stream", "run": 1, "content": {"name": "stdout", "text": "42\\n"}}
    {"interrupt": true}                    {"type": "end", "run": 1, "state": "ok", "timed_out": false}
    {"restart": true}                      {"type": "restarted"}

What cannot be done is answered by {"type": "error", "problem": ...}. A cell that runs too long is interrupted. When the
client leaves, so is what it has asked for; its kernel waits for its return, until another user needs the place.
"""

import asyncio
import hmac
import json
import secrets
import signal
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import closing, suppress
from typing import Any, Self

from kernelbridge import Bridge, BridgeError, Execution, KernelPool

SHOWN = {"stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"}
LONGEST = 2**20  # bytes of a line
PATIENCE = 30.0  # seconds that a client has to say who it is, and to read what it is sent


class Refusal(Exception):
    """Why a client is sent away, in one line."""


class CellService:
    """Listens at `port` of 127.0.0.1 while it is entered. Takes the users by their tokens, and what they may use:
    so many kernels, seconds for each cell, and cells at a time for each user."""

    def __init__(self, users: dict[str, str], *, kernels: int = 8, seconds: float = 60, cells: int = 32) -> None:
        self.users, self.kernels, self.seconds, self.cells = users, kernels, seconds, cells
        self.bridges: dict[str, Bridge] = {}  # by user, the longest unused first
        self.clients: dict[str, asyncio.Task[Any] | None] = {}
        self.admitting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self.pool = KernelPool(size=1)
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", limit=LONGEST)
        self.port: int = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        clients = [client for client in self.clients.values() if client is not None]
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await asyncio.gather(self.pool.aclose(), *(bridge.aclose() for bridge in self.bridges.values()))

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError), closing(writer):
            try:
                async with asyncio.timeout(PATIENCE):
                    user = self.who(json.loads(await reader.readline()))
                self.clients[user] = asyncio.current_task()
                try:
                    bridge = await self.bridge_of(user)
                    await send(writer, "ready", user=user)
                    await self.run_cells(bridge, reader, writer)
                finally:
                    del self.clients[user]
            except (Refusal, BridgeError, ValueError, RecursionError) as problem:  # The last two: of what is no JSON.
                await send(writer, "error", problem=str(problem))

    def who(self, hello: Any) -> str:
        given = ascii(hello.get("token") if isinstance(hello, dict) else None)
        user = next((user for token, user in self.users.items() if hmac.compare_digest(ascii(token), given)), None)
        if user is None or user in self.clients:
            raise Refusal("this token is not known" if user is None else f"{user} is here already")
        return user

    async def bridge_of(self, user: str) -> Bridge:
        """Return the user's kernel, alive; it may take the place of one whose user is not here."""
        async with self.admitting:
            if user not in self.bridges and len(self.bridges) >= self.kernels:
                absent = next((name for name in self.bridges if name not in self.clients), None)
                if absent is None:
                    raise Refusal(f"all {self.kernels} kernels are in use")
                await self.bridges.pop(absent).aclose()
            self.bridges[user] = bridge = self.bridges.pop(user, None) or await self.pool.aclaim()
        if bridge.status == "dead":
            await bridge.arestart()
        return bridge

    async def run_cells(self, bridge: Bridge, reader: StreamReader, writer: StreamWriter) -> None:
        shows: dict[asyncio.Task[None], Execution] = {}
        try:
            while line := await reader.readline():
                match json.loads(line):
                    case {"run": cell, "code": str(code)} if len(shows) < self.cells:
                        if bridge.status == "dead":
                            await bridge.arestart()
                        execution = bridge.execute(code, timeout=self.seconds)
                        show = asyncio.create_task(show_cell(writer, cell, execution))
                        shows[show] = execution
                        show.add_done_callback(shows.pop)
                    case {"interrupt": True}:
                        bridge.interrupt()
                    case {"restart": True}:
                        await bridge.arestart()
                        await send(writer, "restarted")
                    case _:
                        await send(writer, "error", problem=f"cannot be done: {line.decode(errors='replace')}")
        finally:
            if not all(execution.done for execution in shows.values()):
                bridge.interrupt()
            for show in shows:
                show.cancel()


async def show_cell(writer: StreamWriter, cell: Any, execution: Execution) -> None:
    async for message in execution:
        if message.msg_type in SHOWN:
            await send(writer, message.msg_type, run=cell, content=message.content)
    await send(writer, "end", run=cell, state=await execution.ended(), timed_out=execution.timed_out)


async def send(writer: StreamWriter, kind: str, **fields: Any) -> None:
    writer.write(json.dumps({"type": kind, **fields}).encode() + b"\n")
    try:
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
    except OSError:
        writer.transport.abort()  # It is gone, or reads nothing: what is read of it ends, and so all that it wants.


async def main(names: list[str]) -> None:
    tokens, stop = {secrets.token_hex(16): name for name in names}, asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with CellService(tokens) as service:
        print(service.port, *(f"{name} {token}" for token, name in tokens.items()), sep="\n", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
