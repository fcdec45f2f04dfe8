"""The set of open comms, and their targets (contract K6).

A comm is in the set, and its ``comm_open`` in the IOPub queue, before the call that opened it returns. Comms are
opened, written and closed by whatever thread likes to; what the frontend does to them is dispatched on the execution
thread, in the order of its requests.
"""

from __future__ import annotations

import inspect
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.parents import Parents
from kernelbridge.wire.contents import CommClose, CommMsg, CommOpen
from kernelbridge.wire.messages import Buffer, Header, Message

logger = logging.getLogger("kernelbridge")

OnMessage = Callable[[Message], Awaitable[None] | None]
Target = Callable[["Comm", Message], Awaitable[None] | None]
"""Called with the new comm and the message that opens it. What it raises refuses the comm."""


class Comm:
    """One end of an open comm. Made by `Comms.open`, or by the frontend's ``comm_open``."""

    def __init__(self, comms: Comms, comm_id: str, target_name: str) -> None:
        self.comm_id = comm_id
        self.target_name = target_name
        self.on_msg: OnMessage | None = None
        """Called with each ``comm_msg`` of the frontend, on the execution thread."""
        self.on_close: OnMessage | None = None
        """Called with the frontend's ``comm_close``, on the execution thread."""
        self._comms = comms

    def send(
        self,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        parent: Header | None = None,
    ) -> None:
        """Put a ``comm_msg``. Its parent is the request that is handled here and now, unless one is given."""
        self._comms.publish("comm_msg", {"comm_id": self.comm_id, "data": data or {}}, metadata, buffers, parent)

    def close(
        self,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> None:
        """Close the comm from this side. Closing it again does nothing."""
        if self._comms.remove(self.comm_id) is not None:
            self._comms.publish("comm_close", {"comm_id": self.comm_id, "data": data or {}}, metadata, buffers)


class Comms:
    """The comms that are open, by id in the order of opening, and the targets that a frontend can open."""

    def __init__(self, outputs: Outputs, parents: Parents) -> None:
        self._outputs = outputs
        self._parents = parents
        # Guards the two below: any thread opens and closes, and the Shell thread answers comm_info_request. Reentrant,
        # because the garbage collector may close a comm while it is held.
        self._lock = threading.RLock()
        self._open: dict[str, Comm] = {}
        self._targets: dict[str, Target] = {}

    def register_target(self, name: str, target: Target) -> None:
        """Let the frontend open comms with the target `name`."""
        with self._lock:
            self._targets[name] = target

    def unregister_target(self, name: str) -> None:
        """Let the frontend open no more comms with the target `name`. Raises KeyError if there is none."""
        with self._lock:
            del self._targets[name]

    def open(
        self,
        target_name: str,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        comm_id: str | None = None,
        **keys: Any,
    ) -> Comm:
        """Open a comm to the frontend's target. `keys` go into the content beside the data (``target_module``)."""
        comm = self.add(Comm(self, comm_id or uuid.uuid4().hex, target_name))
        content = {"comm_id": comm.comm_id, "target_name": target_name, "data": data or {}, **keys}
        try:
            self.publish("comm_open", content, metadata, buffers)
        except BaseException:
            self.remove(comm.comm_id)
            raise
        return comm

    def add(self, comm: Comm) -> Comm:
        """Put `comm` in the set."""
        with self._lock:
            self._open[comm.comm_id] = comm
        return comm

    def remove(self, comm_id: str) -> Comm | None:
        """Take a comm out of the set, and return it if it was there."""
        with self._lock:
            return self._open.pop(comm_id, None)

    def get(self, comm_id: str) -> Comm | None:
        """Return the open comm of this id."""
        with self._lock:
            return self._open.get(comm_id)

    def all(self, target_name: str | None = None) -> list[Comm]:
        """Return the open comms of one target, or all, in the order of their opening."""
        with self._lock:
            return [comm for comm in self._open.values() if target_name in (None, comm.target_name)]

    def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any] | None,
        buffers: Sequence[Buffer],
        parent: Header | None = None,
    ) -> None:
        """Put a message of a comm in the IOPub queue."""
        self._outputs.publish(msg_type, content, parent or self._parents.current(), metadata, buffers)

    # What the frontend does, on the execution thread

    async def dispatch(self, message: Message, content: CommOpen | CommMsg | CommClose) -> None:
        """Do what the frontend's message says.

        What the program's own callbacks raise is logged; only what ends more than a callback - an interrupt, an exit -
        is also raised again.
        """
        if isinstance(content, CommOpen):
            await self._opened(message, content)
            return
        closes = isinstance(content, CommClose)
        comm = self.remove(content.comm_id) if closes else self.get(content.comm_id)
        if comm is None:
            logger.warning("%s for comm %r, which is not open", message.msg_type, content.comm_id)
            return
        callback = comm.on_close if closes else comm.on_msg
        if callback is not None:
            try:
                await _called(callback(message))
            except BaseException as failure:
                logger.exception("%s: callback of comm %r failed", message.msg_type, content.comm_id)
                if not isinstance(failure, Exception):
                    raise

    async def _opened(self, message: Message, content: CommOpen) -> None:
        with self._lock:
            target = self._targets.get(content.target_name)
        if target is None:
            logger.warning("comm_open for target %r, which is not registered", content.target_name)
            self._refuse(content)
            return
        comm = self.add(Comm(self, content.comm_id, content.target_name))
        try:
            await _called(target(comm, message))
        except BaseException as failure:
            logger.exception("comm_open: target %r failed", content.target_name)
            self.remove(comm.comm_id)
            self._refuse(content)
            if not isinstance(failure, Exception):
                raise

    def _refuse(self, content: CommOpen) -> None:
        self.publish("comm_close", {"comm_id": content.comm_id, "data": {}}, None, ())


async def _called(result: Awaitable[None] | None) -> None:
    if inspect.isawaitable(result):
        await result
