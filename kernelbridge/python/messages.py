"""Messages by hand, as code written for ipykernel makes and sends them, and hooks that see each before it is published.

Such code has `session.send(iopub_socket, ...)` and `send_response(iopub_socket, ...)` of ipykernel's kernel, and hooks
at the shell's display publisher and display hook. All of it ends in the kernel's one queue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.wire.messages import Buffer, Header, Message, Session

Hook = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Is given a message as a dict of dicts. Returns that, or another one, to be published, or None where nothing is."""


class IOPubSocket:
    """Stands where ipykernel has its IOPub socket: it says where to send to."""


IOPUB_SOCKET: Final = IOPubSocket()


class LookalikeSession:
    """Makes messages, and puts them in the queue of `kernel`, by the names of jupyter_client's Session."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._session = Session(SystemClock().now)

    def msg(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return a message as a dict of dicts. Its parent is the request that is handled here and now by default."""
        made = Message(
            self._session.header(msg_type), dict(content or {}), self._header(parent), metadata=dict(metadata or {})
        ).to_dict()
        made["header"].update(header or {})
        return made

    def send(
        self,
        stream: IOPubSocket,
        msg_or_type: str | dict[str, Any],
        content: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        ident: object = None,
        buffers: Sequence[Buffer] | None = None,
        track: bool = False,
        header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Publish a message, and return it. Topics are the kernel's business, and so `ident` is not looked at.

        Raises ValueError for any other socket than IOPub's: replies are sent by the kernel alone.
        """
        if stream is not IOPUB_SOCKET:
            raise ValueError(f"messages are sent to the kernel's iopub_socket, not to {stream!r}")
        if isinstance(msg_or_type, str):
            message = self.msg(msg_or_type, content, parent, header, metadata)
        else:
            message = msg_or_type
        self._kernel.handler.settle()
        self._kernel.outputs.publish(
            message["header"]["msg_type"],
            message["content"],
            self._header(message.get("parent_header")),
            message.get("metadata"),
            buffers or message.get("buffers") or (),
        )
        return message

    def _header(self, parent: Mapping[str, Any] | None) -> Header | None:
        """Return the header of a parent that is given as a message or as a header."""
        if not parent:
            return self._kernel.parents.current()
        return Header.from_dict(parent.get("header", parent))


class Hooked:
    """What publishes through the hooks of the calling thread, which are its own, as in ipykernel."""

    shell: Any
    _threads: ClassVar[threading.local]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._threads = threading.local()

    @property
    def _hooks(self) -> list[Hook]:
        hooks: list[Hook] = vars(self._threads).setdefault("hooks", [])
        return hooks

    def register_hook(self, hook: Hook) -> None:
        """Call `hook` with each message from now on, after those that are registered already."""
        self._hooks.append(hook)

    def unregister_hook(self, hook: Hook) -> bool:
        """Call it no more. Returns whether it was registered."""
        if hook not in self._hooks:
            return False
        self._hooks.remove(hook)
        return True

    def _publish(self, msg_type: str, content: dict[str, Any]) -> None:
        if not self._hooks:
            self.shell.kernel.publish(msg_type, content)
            return
        session: LookalikeSession = self.shell.kernel.session
        message = session.msg(msg_type, content)
        for hook in self._hooks.copy():
            hooked = hook(message)
            if hooked is None:
                return
            message = hooked
        session.send(IOPUB_SOCKET, message)
