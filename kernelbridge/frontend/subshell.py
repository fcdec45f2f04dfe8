"""A subshell of the kernel, as a frontend holds it: what it is asked runs beside the main shell's requests (JEP 91).

with bridge.create_subshell() as subshell:      async with bridge.create_subshell() as subshell:
    subshell.execute("progress").result()           await subshell.execute("progress")
"""

from __future__ import annotations

from contextlib import suppress
from typing import Self

from kernelbridge.frontend.errors import BridgeError, SubshellError
from kernelbridge.frontend.execution import Request
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.requests import ShellRequests, ask_control
from kernelbridge.wire.messages import Header, Message


class Subshell(ShellRequests):
    """Can be asked all that a `Bridge` is asked on Shell. Made by `Bridge.create_subshell`.

    As a context manager, of either kind, it waits on entry until it is there, and is deleted on leaving. What an
    interrupt ends is the kernel's to say: it is for all shells, and one that computes may go on.
    """

    def __init__(self, link: Link) -> None:
        self._kernel = link
        self._created = ask_control(link, "create_subshell_request")

    @property
    def _link(self) -> Link:
        # A subshell ends with its kernel, whether the bridge restarts that or not.
        return self._kernel

    @property
    def subshell_id(self) -> str:
        """The kernel's name for it. Raises `SubshellError` until it is there."""
        if not self._created.done:
            raise SubshellError("the subshell is not there yet: enter it, or wait_ready() for it")
        return _id(self._created.result())

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait at most `timeout` seconds of real time until the subshell is there.

        Raises `SubshellError` if the kernel has made none, `TimeoutError`, and what a `Request` does.
        """
        _id(self._created.result(timeout))

    async def ready(self) -> None:
        """Wait until the subshell is there. Raises as `wait_ready` does."""
        _id(await self._created)

    def delete(self) -> Request:
        """Ask the kernel to end it. What runs there goes on to its end; what waits there is aborted."""
        self._link.outbox.abort_waiting(self.subshell_id)
        return ask_control(self._link, "delete_subshell_request", subshell_id=self.subshell_id)

    def _header(self, msg_type: str) -> Header:
        return self._link.session.header(msg_type, self.subshell_id)

    def __enter__(self) -> Self:
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        # With the kernel, all of its subshells have ended.
        with suppress(BridgeError):
            self.delete().result()

    async def __aenter__(self) -> Self:
        await self.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(BridgeError):
            await self.delete()

    def __repr__(self) -> str:
        return f"<Subshell of {self._link.name!r}>"


def _id(reply: Message) -> str:
    content = reply.content
    if content.get("status") != "ok":
        raise SubshellError(f"the kernel has made no subshell: {content.get('evalue')}")
    return str(content["subshell_id"])
