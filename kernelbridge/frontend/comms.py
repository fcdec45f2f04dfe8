"""Which comms are open, as a frontend knows it: so that they can be closed when the kernel cannot (contract F6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kernelbridge.wire.messages import Message, Session

_CHANGES: Final = ("comm_open", "comm_close")


class OpenComms:
    """The open comms. Has no lock of its own: its owner calls it under the one that orders the stream."""

    def __init__(self) -> None:
        self._targets: dict[str, str] = {}
        # Those that were closed before it was told which had been open: what tells it may be older than their end.
        self._closed: set[str] | None = set()

    def targets(self) -> dict[str, str]:
        """Return the names of the targets, by the ids of the comms."""
        return self._targets.copy()

    def published(self, batch: Iterable[Message]) -> None:
        """Learn of messages on IOPub, in their order."""
        for message in batch:
            if message.header.msg_type in _CHANGES:
                self.passed(message.header.msg_type, message.content)

    def passed(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Learn of a comm message, from whichever end. What is malformed opens and closes nothing."""
        comm_id = content.get("comm_id")
        if not isinstance(comm_id, str):
            return
        if msg_type == "comm_open":
            self._targets[comm_id] = str(content.get("target_name", ""))
        elif msg_type == "comm_close":
            self._targets.pop(comm_id, None)
            if self._closed is not None:
                self._closed.add(comm_id)

    def recovered(self, content: Mapping[str, Any]) -> None:
        """Learn what a comm_info_reply says of comms that were opened before anybody listened."""
        comms, closed = content.get("comms"), self._closed or ()
        for comm_id, about in comms.items() if isinstance(comms, Mapping) else ():
            if comm_id not in closed:
                self.passed("comm_open", {"comm_id": comm_id, **(about if isinstance(about, Mapping) else {})})
        self._closed = None

    def close_all(self, session: Session) -> list[Message]:
        """Close all, and return the messages that say so, as if the kernel had said it."""
        closed = [Message(session.header("comm_close"), {"comm_id": comm_id, "data": {}}) for comm_id in self._targets]
        self._targets.clear()
        return closed
