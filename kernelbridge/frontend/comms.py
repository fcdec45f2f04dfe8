"""Which comms are open, as far as what has passed here tells: so that late readers can be told, and so that they can be
closed when the kernel cannot (contract F3, F6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from kernelbridge.wire.messages import Message, Session

COMM_TYPES: Final = frozenset({"comm_open", "comm_msg", "comm_close"})


@attrs.frozen
class OpenComm:
    """An open comm."""

    comm_id: str
    target_name: str


class OpenComms:
    """Told of the comm messages of both ends, in the order of the stream. Called under the lock that orders it."""

    def __init__(self) -> None:
        self._open: dict[str, OpenComm] = {}
        # The last request that asks the kernel which are open, until it is answered; those that were open then, and
        # those that have closed since. The answer may be older than what has been heard meanwhile.
        self._asked: str | None = None
        self._open_then: frozenset[str] = frozenset()
        self._closed: set[str] = set()

    def all(self) -> tuple[OpenComm, ...]:
        """Return those that are open, in the order in which they were opened."""
        return tuple(self._open.values())

    def passed(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Learn of a comm message, from whichever end. What is malformed opens and closes nothing."""
        comm_id = content.get("comm_id")
        if not isinstance(comm_id, str):
            return
        if msg_type == "comm_open":
            self._open[comm_id] = OpenComm(comm_id, str(content.get("target_name", "")))
        elif msg_type == "comm_close":
            self._open.pop(comm_id, None)
            if self._asked is not None:
                self._closed.add(comm_id)

    def asked(self, msg_id: str) -> None:
        """Learn that the kernel is asked, by the request of this id, which comms are open: all, of whatever target.

        That is, behind all that was sent to it.
        """
        self._asked = msg_id
        self._open_then = frozenset(self._open)
        self._closed.clear()

    def answered(self, msg_id: str, content: Mapping[str, Any]) -> None:
        """Learn of the answer to a comm_info_request.

        Comms may have been opened before anybody listened, and closed by other frontends.
        """
        if msg_id != self._asked:
            return
        self._asked = None
        comms = content.get("comms")
        if not isinstance(comms, Mapping):
            return
        for comm_id in self._open_then - comms.keys():
            self._open.pop(comm_id, None)
        for comm_id, about in comms.items():
            if comm_id not in self._closed and comm_id not in self._open:
                self.passed("comm_open", {**(about if isinstance(about, Mapping) else {}), "comm_id": comm_id})

    def close_all(self, session: Session) -> list[Message]:
        """Close all, and return the messages that say so, as if the kernel had said it."""
        closed = [Message(session.header("comm_close"), {"comm_id": comm_id, "data": {}}) for comm_id in self._open]
        self._open.clear()
        return closed
