"""Subshells of a kernel that is tested: made and deleted, and cells that run beside each other."""

from __future__ import annotations

import asyncio
import threading

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    DEADLINE,
    Matcher,
    ProtocolClient,
    busy,
    execute_input,
    execute_reply,
    idle,
    reply,
    stdout,
)
from kernelbridge.wire.messages import Message
from tests.support.kernels import Cell, Cells


class Beside(Cells):
    """A language whose cells can run beside each other.

    Beside the cells that it is given it has ``wait``, which shows that it runs and waits for `go`; ``later``, the same
    in a coroutine; ``hello``; ``ask``, for input; and ``thread``, which is the name of the one it runs on.
    """

    subshells = True

    def __init__(self, **cells: Cell) -> None:
        super().__init__(
            wait=self._wait,
            later=self._later,
            hello=lambda kernel: kernel.write("stdout", "hello\n"),
            ask=lambda kernel: kernel.write("stdout", kernel.input("? ")),
            thread=lambda kernel: kernel.write("stdout", threading.current_thread().name),
        )
        self.cells |= cells
        self.go = threading.Event()

    def _wait(self, kernel: Kernel) -> None:
        kernel.write("stdout", "waits\n")
        assert self.go.wait(DEADLINE)

    async def _later(self, kernel: Kernel) -> None:
        kernel.write("stdout", "waits\n")
        await asyncio.Event().wait()


WAITS = stdout("waits\n")
HELLO = stdout("hello\n")


def threads_of(subshell: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if subshell in thread.name]


def create(client: ProtocolClient) -> str:
    """Create a subshell, and return its id."""
    request = client.send("create_subshell_request")
    client.iopub.of(request).expect(busy(), idle())
    (created,) = client.control.of(request).expect(reply("create_subshell", status="ok"))
    return str(created.content["subshell_id"])


def delete(client: ProtocolClient, subshell: str) -> None:
    """Delete a subshell."""
    request = client.send("delete_subshell_request", subshell_id=subshell)
    client.iopub.of(request).expect(busy(), idle())
    client.control.of(request).expect(reply("delete_subshell", status="ok"))


def listed(client: ProtocolClient) -> list[str]:
    """Return the ids of the subshells."""
    request = client.send("list_subshell_request")
    client.iopub.of(request).expect(busy(), idle())
    (found,) = client.control.of(request).expect(reply("list_subshell", status="ok"))
    return list(found.content["subshell_id"])


def begun(client: ProtocolClient, code: str, subshell: str | None = None, *shown: Matcher) -> Message:
    """Start an execution, and return its request when it has shown what is expected."""
    request = client.execute(code, subshell=subshell)
    client.iopub.of(request).expect(busy(), execute_input(code), *shown)
    return request


def ended(client: ProtocolClient, request: Message, *shown: Matcher, replied: Matcher | None = None) -> Message:
    """Expect the end of an execution that runs beside others, and return its reply."""
    client.iopub.of(request).expect(*shown, idle())
    return client.shell.of(request).expect(replied or execute_reply())[0]


def run_in(client: ProtocolClient, subshell: str | None, code: str, *shown: Matcher) -> Message:
    """Execute in a subshell, beside whatever else runs, and return the reply."""
    return ended(client, begun(client, code, subshell), *shown)
