"""The service that runs cells for many users, asked by real connections: several users at once, and one that leaves."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cell_service import LONGEST, CellService

from kernelbridge.testing import DEADLINE
from tests.support.kernels import ROOT

USERS = {"token of ada": "ada", "token of bob": "bob", "token of eve": "eve"}
WAITS = "print('begun', flush=True)\nexec('while True: pass')"


class Client:
    """One connection, as a user's program has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, **request: Any) -> None:
        self.writer.write(json.dumps(request).encode() + b"\n")

    async def receive(self) -> dict[str, Any]:
        try:
            line = await asyncio.wait_for(self.reader.readline(), DEADLINE)
        except ConnectionError:
            # What the service has not read yet when it hangs up is answered by a reset.
            line = b""
        answer: dict[str, Any] = json.loads(line) if line else {"type": "gone"}
        return answer

    async def run(self, code: str) -> tuple[list[str], str]:
        """Run a cell. Returns the text that it has shown, and how it has ended."""
        self.send(run=0, code=code)
        texts = []
        while (answer := await self.receive())["type"] != "end":
            assert answer["run"] == 0, answer
            content = answer["content"]
            texts.append(content.get("text") or content.get("ename") or content["data"]["text/plain"])
        return texts, answer["state"]


@asynccontextmanager
async def connection(service: CellService, token: str | None = None) -> AsyncIterator[Client]:
    """A connection that has said this token, and was let in."""
    client = Client(*await asyncio.open_connection("127.0.0.1", service.port, limit=2 * LONGEST))
    try:
        if token is not None:
            client.send(token=token)
            assert await client.receive() == {"type": "ready", "user": USERS[token]}
        yield client
    finally:
        client.writer.close()


def test_each_user_has_a_kernel_and_sees_what_it_shows_as_it_comes() -> None:
    async def use(service: CellService, token: str) -> None:
        async with connection(service, token) as client:
            assert await client.run(f"me = {token!r}; print('hello'); me") == (["hello\n", repr(token)], "ok")
            assert await client.run("1 / 0") == (["ZeroDivisionError"], "error")
            # Shown while the cell runs: it does not end before the user says so.
            client.send(run="a", code=WAITS)
            client.send(run="b", code="never")
            assert (await client.receive())["content"] == {"name": "stdout", "text": "begun\n"}
            client.send(interrupt=True)
            ended = [answer for _ in range(3) if (answer := await client.receive())["type"] == "end"]
            assert {answer["run"]: answer["state"] for answer in ended} == {"a": "interrupted", "b": "aborted"}
            assert await client.run("me") == ([repr(token)], "ok")

    async def main() -> None:
        async with CellService(USERS) as service:
            await asyncio.gather(*(use(service, token) for token in USERS))

    asyncio.run(main())


def test_who_leaves_in_the_middle_of_a_cell_ends_it_and_finds_the_kernel_again() -> None:
    async def main() -> None:
        async with CellService(USERS, kernels=1) as service:
            async with connection(service, "token of ada") as ada:
                ada.send(
                    run=1, code=f"try:\n    {WAITS.replace(chr(10), '; ')}\nexcept KeyboardInterrupt:\n    left = True"
                )
                ada.send(run=2, code="left = False")
                assert (await ada.receive())["content"]["text"] == "begun\n"
                async with connection(service) as bob:
                    bob.send(token="token of bob")
                    assert await bob.receive() == {"type": "error", "problem": "all 1 kernels are in use"}
                serving = service.clients["ada"]
            assert serving is not None
            await asyncio.wait([serving])
            async with connection(service, "token of ada") as ada:
                assert await ada.run("left") == (["True"], "ok")
                serving = service.clients["ada"]
            assert serving is not None
            await asyncio.wait([serving])
            # Another one needs the place.
            async with connection(service, "token of bob") as bob:
                assert await bob.run("left") == (["NameError"], "error")

    asyncio.run(main())


def test_a_kernel_that_dies_is_its_users_matter_alone() -> None:
    async def main() -> None:
        async with (
            CellService(USERS, cells=1) as service,
            connection(service, "token of ada") as ada,
            connection(service, "token of bob") as bob,
        ):
            await bob.run("x = 1")
            assert await ada.run("import os; os._exit(1)") == ([], "died")
            assert await ada.run("print('again')") == (["again\n"], "ok")
            ada.send(run=1, code=WAITS)
            assert (await ada.receive())["content"]["text"] == "begun\n"
            ada.send(run=2, code="one too many")
            assert (await ada.receive())["problem"].startswith('cannot be done: {"run": 2')
            ada.send(restart=True)
            answers = [await ada.receive() for _ in range(2)]
            assert {"type": "restarted"} in answers
            assert {"type": "end", "run": 1, "state": "died", "timed_out": False} in answers
            assert await bob.run("x") == (["1"], "ok")

    asyncio.run(main())


def test_a_cell_that_takes_too_long_is_interrupted() -> None:
    async def main() -> None:
        async with CellService(USERS, seconds=0.1) as service, connection(service, "token of ada") as ada:
            ada.send(run=1, code=WAITS)
            while (answer := await ada.receive())["type"] != "end":
                pass
            assert answer == {"type": "end", "run": 1, "state": "interrupted", "timed_out": True}

    asyncio.run(main())


STRANGERS = [
    (b'{"token": "made up"}\n', "this token is not known"),
    (b'{"token": null}\n', "this token is not known"),
    (b"[]\n", "this token is not known"),
    (b"{\n", "Expecting property name"),
    (b"[" * 100_000 + b"\n", "recursion"),
]


def test_who_is_not_known_is_sent_away() -> None:
    async def main() -> None:
        async with CellService(USERS) as service:
            for line, problem in STRANGERS:
                async with connection(service) as client:
                    client.writer.write(line)
                    answer = await client.receive()
                    assert answer["type"] == "error", line
                    assert problem in answer["problem"]
                    assert await client.receive() == {"type": "gone"}
            # A line without an end is not read for ever.
            async with connection(service) as client:
                client.writer.write(b"x" * 2 * LONGEST)
                while (await client.receive())["type"] != "gone":
                    pass
            assert not service.bridges
            assert not service.clients

    asyncio.run(main())


def test_as_a_program() -> None:
    """It says its port and the tokens, and ends with its kernels when it is told to."""
    command = [sys.executable, "examples/cell_service.py", "ada"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            port, token = int(service.stdout.readline()), service.stdout.readline().split()[1]

            async def main() -> None:
                client = Client(*await asyncio.open_connection("127.0.0.1", port))
                client.send(token=token)
                assert await client.receive() == {"type": "ready", "user": "ada"}
                assert await client.run("6 * 7") == (["42"], "ok")
                service.send_signal(signal.SIGTERM)
                assert await client.receive() == {"type": "gone"}
                client.writer.close()

            asyncio.run(main())
            assert service.wait(DEADLINE) == 0
        finally:
            service.kill()
