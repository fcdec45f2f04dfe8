"""When a kernel can be used: Shell has answered, IOPub's subscription is known to have reached the kernel (JEP 65), and
Stdin is connected, so that it can ask for input.

A SUB socket misses what is published before the publisher knows its subscription, so a reply on Shell alone does not
mean that the next request's outputs will be seen. Any message on IOPub does. A kernel of protocol 5.5 sends one by
itself, the iopub_welcome; others are asked again and again for their kernel_info until the status messages that go with
it come through.

Here the kernel is ready when the reply to the last probe and its `idle` have both been seen. That is as good as any
message, and more: nothing of the probes comes after it, so the frontend's own requests are the first that anybody sees,
and a kernel that nobody has asked for anything does not say that it is busy.

A kernel whose Stdin has no connection yet drops what it asks, and its cell waits for ever. The other channels tell
nothing of that one: each connects by itself.

A kernel that was there before its frontend may be busy, for as long as a cell takes. Its Shell says nothing meanwhile,
but its Control does: there it is asked when Shell has said nothing for a second. On Shell, others may have it run
something between two probes, so that any probe will do.

This is the decision alone: the Shell thread tells it what happened and when, and asks it what is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from kernelbridge.wire.messages import Message, speaks

_FIRST_WAIT = 0.002
_LONGEST_WAIT = 0.1
_WELCOME_WAIT = 1.0
"""How long a promised iopub_welcome is waited for; then the probes go on, since a kernel may promise and not send."""

_SHELL_WAIT = 1.0
"""How long a kernel that may be busy is given to answer on Shell, before it is asked on Control."""


def sends_welcome(protocol_version: object) -> bool:
    """Return whether a kernel of this protocol version sends iopub_welcome: from 5.5 on (JEP 65)."""
    return speaks(protocol_version, (5, 5))


class Readiness:
    """Takes times in seconds on any scale: `now`, and `timeout`, after which the start has failed (None for never).

    `may_be_busy` says whether the kernel was there before. Owned by the Shell thread.
    """

    def __init__(self, now: float, timeout: float | None, *, may_be_busy: bool = False) -> None:
        self.info: dict[str, Any] | None = None
        """Content of the kernel_info_reply, once there is one."""
        self.channel: Literal["shell", "control"] = "shell"
        """Where the next probe is to be sent."""
        self._any_will_do = may_be_busy
        self._can_ask = False
        self._control_at = now + _SHELL_WAIT if may_be_busy else None
        self._heard = False
        # The probes sent, with their channels, those answered, and those whose `idle` came.
        self._sent: dict[str, str] = {}
        self._last = ""
        self._answered: set[str] = set()
        self._idle: set[str] = set()
        self._probe_at: float | None = now
        self._wait = _FIRST_WAIT
        self._give_up_at = None if timeout is None else now + timeout

    @property
    def ready(self) -> bool:
        seen = self._answered & self._idle
        # Control answers at once, and what it publishes then would have a kernel at work say that it is idle.
        any_will_do = self._any_will_do and any(self._sent[probe] == "shell" for probe in seen)
        return self._can_ask and (any_will_do or self._last in seen)

    @property
    def _sure(self) -> bool:
        """Whether the kernel hears and is heard, so that no further probe is of use."""
        return not self._answered.isdisjoint(self._idle)

    @property
    def busy(self) -> bool:
        """Whether the kernel is at work: it has answered, but not on Shell."""
        return self.ready and all(self._sent[probe] == "control" for probe in self._answered)

    def due(self) -> float | None:
        """Return when to look again: at the next probe, or when the time is up."""
        if self.ready:
            return None
        probe_at = None if self._sure else self._probe_at
        return min((at for at in (probe_at, self._give_up_at, self._control_at) if at is not None), default=None)

    def gives_up(self, now: float) -> bool:
        """Return whether the time is up."""
        return not self.ready and self._give_up_at is not None and now >= self._give_up_at

    def wants_probe(self, now: float) -> bool:
        """Return whether a kernel_info_request is to be sent now."""
        if self._control_at is not None and now >= self._control_at:
            # Once: what follows is sent there as well.
            self._control_at = None
            if self.info is None:
                self.channel, self._probe_at = "control", now
        return not self._sure and self._probe_at is not None and now >= self._probe_at

    def probed(self, msg_id: str) -> None:
        """Learn that a kernel_info_request was sent. The next one waits for its reply: a starting kernel gets one."""
        self._sent[msg_id] = self.channel
        self._last = msg_id
        self._probe_at = None

    def replied(self, message: Message, now: float) -> bool:
        """Learn of a reply. Returns whether it answers a probe, and so is nobody else's."""
        probe = message.parent_id
        if probe not in self._sent:
            return False
        if message.msg_type == "kernel_info_reply" and not self.ready:
            self.info = message.content
            self._answered.add(probe)
            if not self._heard and sends_welcome(message.content.get("protocol_version")):
                self._probe_at = now + _WELCOME_WAIT
            else:
                self._ask_soon(now)
        return True

    def heard(self, idle: Iterable[str], now: float) -> None:
        """Learn that messages came on IOPub, and which requests' `idle` were among them."""
        self._idle |= self._sent.keys() & set(idle)
        if not self._heard:
            self._heard = True
            if self._sent and self._sent.keys() == self._answered:
                # The welcome may have come after the `idle` was published, and missed.
                self._ask_soon(now)

    def can_ask(self) -> None:
        """Learn that Stdin is connected."""
        self._can_ask = True

    def _ask_soon(self, now: float) -> None:
        self._probe_at = now + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT)

    def missing(self) -> str:
        """Return what has not been seen, for an error message."""
        if self.info is None:
            return "it has not answered a kernel_info_request on Shell"
        if not self._heard:
            return "it answered on Shell, but nothing came on IOPub"
        if self._sure:
            return "it answered on Shell, but its Stdin cannot be connected to"
        return "it answered on Shell, but its idle did not come on IOPub"
