"""The kit's own requests: kernel_info_requests that no time line shows.

By their answers a client knows that a kernel has said all that it had to say before, and that a subscription is in
effect.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from kernelbridge.wire.connection import Channel
from kernelbridge.wire.messages import Message, Session

__all__ = ["Probes"]

_PREFIX: Final = "kernelbridge-probe-"
"""How the ids of probes begin, by which the other clients of the same kernel know them."""


class Probes:
    """The probes of one client, and what has come in answer to them. Used by the client's thread.

    `now` gives the date of a message.
    """

    def __init__(self, now: Callable[[], str]) -> None:
        self._session = Session(now, f"{_PREFIX}{os.urandom(16).hex()}")
        # The ids of those that were answered, and of those whose idle has come.
        self._answered: set[str] = set()
        self._idle: set[str] = set()

    def make(self) -> Message:
        """Return a new probe, which is to be sent."""
        return Message(self._session.header("kernel_info_request"), {})

    def take(self, channel: Channel, message: Message) -> bool:
        """Learn of what has come, and return whether it answers a probe, which may be another client's."""
        parent = message.parent_id or ""
        if not parent.startswith(_PREFIX):
            return False
        if parent.startswith(self._session.session_id):
            if channel != "iopub":
                self._answered.add(parent)
            elif message.is_idle:
                self._idle.add(parent)
        return True

    def has_reply(self, probe: Message) -> bool:
        """Return whether the reply to a probe has come."""
        return probe.msg_id in self._answered

    def has_idle(self, probe: Message) -> bool:
        """Return whether the idle of a probe has come."""
        return probe.msg_id in self._idle
