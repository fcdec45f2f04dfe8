"""The life of an execution, as a table.

Every phase that is not in `NEXT` is an end: nothing leads out of it, and so each execution ends once, whatever comes in
whatever order. What does not stand in a phase's row changes nothing there.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from typing import Final


class State(StrEnum):
    """What has become of an execution."""

    QUEUED = "queued"
    RUNNING = "running"
    OK = "ok"
    ERROR = "error"
    ABORTED = "aborted"
    """It did not run: it was cancelled, interrupted while it waited, or one before it failed."""
    INTERRUPTED = "interrupted"
    DIED = "died"
    """The kernel is gone, was restarted, or the bridge was closed, before it was done."""


class Phase(Enum):
    """Where an execution is on its way. It is done when its reply and its `idle` have been seen (contract F2)."""

    QUEUED = auto()
    RUNNING = auto()
    INTERRUPTED = auto()
    """It has been interrupted, and runs."""
    IDLE = auto()
    """Its `idle` has been seen, and its reply not yet."""
    INTERRUPTED_IDLE = auto()
    SAID_OK = auto()
    """Its reply has been seen, and its `idle` not yet."""
    SAID_ERROR = auto()
    SAID_ABORTED = auto()
    SAID_INTERRUPTED = auto()
    OK = auto()
    ERROR = auto()
    ABORTED = auto()
    ENDED_INTERRUPTED = auto()
    DIED = auto()


class Event(Enum):
    """What can happen to an execution."""

    SEND = auto()
    REPLY_OK = auto()
    REPLY_ERROR = auto()
    REPLY_ABORTED = auto()
    IDLE = auto()
    INTERRUPT = auto()
    SILENCE = auto()
    """Its reply and its `idle` would have come, if there were any."""
    ABORT = auto()
    DEATH = auto()


NEXT: Final[dict[Phase, dict[Event, Phase]]] = {
    Phase.QUEUED: {
        Event.SEND: Phase.RUNNING,
        Event.ABORT: Phase.ABORTED,
        Event.DEATH: Phase.DIED,
    },
    Phase.RUNNING: {
        Event.REPLY_OK: Phase.SAID_OK,
        Event.REPLY_ERROR: Phase.SAID_ERROR,
        Event.REPLY_ABORTED: Phase.SAID_ABORTED,
        Event.IDLE: Phase.IDLE,
        Event.INTERRUPT: Phase.INTERRUPTED,
        Event.DEATH: Phase.DIED,
    },
    Phase.INTERRUPTED: {
        # It was done before the interrupt came, or has caught it.
        Event.REPLY_OK: Phase.SAID_OK,
        Event.REPLY_ERROR: Phase.SAID_INTERRUPTED,
        Event.REPLY_ABORTED: Phase.SAID_INTERRUPTED,
        Event.IDLE: Phase.INTERRUPTED_IDLE,
        Event.DEATH: Phase.DIED,
    },
    Phase.IDLE: {
        Event.REPLY_OK: Phase.OK,
        Event.REPLY_ERROR: Phase.ERROR,
        Event.REPLY_ABORTED: Phase.ABORTED,
        Event.INTERRUPT: Phase.INTERRUPTED_IDLE,
        Event.DEATH: Phase.DIED,
    },
    Phase.INTERRUPTED_IDLE: {
        Event.SILENCE: Phase.ENDED_INTERRUPTED,
        Event.REPLY_OK: Phase.OK,
        Event.REPLY_ERROR: Phase.ENDED_INTERRUPTED,
        Event.REPLY_ABORTED: Phase.ENDED_INTERRUPTED,
        Event.DEATH: Phase.DIED,
    },
    Phase.SAID_OK: {Event.IDLE: Phase.OK, Event.SILENCE: Phase.OK, Event.DEATH: Phase.DIED},
    Phase.SAID_ERROR: {Event.IDLE: Phase.ERROR, Event.SILENCE: Phase.ERROR, Event.DEATH: Phase.DIED},
    Phase.SAID_ABORTED: {Event.IDLE: Phase.ABORTED, Event.SILENCE: Phase.ABORTED, Event.DEATH: Phase.DIED},
    Phase.SAID_INTERRUPTED: {
        Event.IDLE: Phase.ENDED_INTERRUPTED,
        Event.SILENCE: Phase.ENDED_INTERRUPTED,
        Event.DEATH: Phase.DIED,
    },
}

STATES: Final[dict[Phase, State]] = {
    Phase.QUEUED: State.QUEUED,
    Phase.OK: State.OK,
    Phase.ERROR: State.ERROR,
    Phase.ABORTED: State.ABORTED,
    Phase.ENDED_INTERRUPTED: State.INTERRUPTED,
    Phase.DIED: State.DIED,
}
"""What an execution's owner is told of its phase: of all others, that it is running."""

# "abort" is what kernels before protocol 5.1 say. An unknown status is a failure: it is not "ok".
REPLIES: Final = {"ok": Event.REPLY_OK, "aborted": Event.REPLY_ABORTED, "abort": Event.REPLY_ABORTED}
