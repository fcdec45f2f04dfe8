"""Contents of what a kernel publishes, and of the comm messages, which travel both ways.

Messaging specification 5.5, "Messages on the IOPub channel" and "Custom Messages".
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from attrs import field, frozen

from kernelbridge.wire.contents.base import Content, MimeBundle

__all__ = [
    "ClearOutput",
    "CommClose",
    "CommMsg",
    "CommOpen",
    "DebugEvent",
    "DisplayData",
    "Error",
    "ExecuteInput",
    "ExecuteResult",
    "IopubWelcome",
    "Status",
    "Stream",
    "UpdateDisplayData",
]


@frozen(kw_only=True, eq=False, repr=False)
class IopubWelcome(Content):
    """A subscription has reached the kernel's XPUB socket (JEP 65). It has no parent header."""

    msg_type: ClassVar[str] = "iopub_welcome"

    subscription: str


@frozen(kw_only=True, eq=False, repr=False)
class Status(Content):
    """The kernel's state: 'busy', 'idle' or 'starting'; servers that hold kernels add states of their own."""

    msg_type: ClassVar[str] = "status"

    execution_state: str


@frozen(kw_only=True, eq=False, repr=False)
class ExecuteInput(Content):
    """The code that starts to run now."""

    msg_type: ClassVar[str] = "execute_input"

    code: str
    execution_count: int


@frozen(kw_only=True, eq=False, repr=False)
class Stream(Content):
    """Text written to 'stdout' or 'stderr'."""

    msg_type: ClassVar[str] = "stream"

    name: str
    text: str


@frozen(kw_only=True, eq=False, repr=False)
class _Display(Content):
    """What a display, its update and a result share."""

    data: MimeBundle
    metadata: dict[str, Any] = field(factory=dict)
    transient: dict[str, Any] | None = None

    @property
    def display_id(self) -> str | None:
        """The name under which this display can be updated, or None."""
        display_id = (self.transient or {}).get("display_id")
        return display_id if isinstance(display_id, str) else None


@frozen(kw_only=True, eq=False, repr=False)
class DisplayData(_Display):
    """A rich display."""

    msg_type: ClassVar[str] = "display_data"


@frozen(kw_only=True, eq=False, repr=False)
class UpdateDisplayData(_Display):
    """New data for every display that has this `display_id`."""

    msg_type: ClassVar[str] = "update_display_data"

    transient: dict[str, Any]


@frozen(kw_only=True, eq=False, repr=False)
class ExecuteResult(_Display):
    """The value of the code's last expression."""

    msg_type: ClassVar[str] = "execute_result"

    execution_count: int


@frozen(kw_only=True, eq=False, repr=False)
class ClearOutput(Content):
    """Clear the outputs shown so far, at once or (`wait`) when the next one comes."""

    msg_type: ClassVar[str] = "clear_output"

    wait: bool = False


@frozen(kw_only=True, eq=False, repr=False)
class Error(Content):
    """The code raised."""

    msg_type: ClassVar[str] = "error"

    ename: str
    evalue: str
    traceback: list[str]


@frozen(kw_only=True, eq=False, repr=False)
class DebugEvent(Content):
    """An Event of the Debug Adapter Protocol."""

    msg_type: ClassVar[str] = "debug_event"

    type: Literal["event"] = "event"
    event: str
    seq: int | None = None
    body: Any = None


@frozen(kw_only=True, eq=False, repr=False)
class CommOpen(Content):
    """Open a comm at the other side's target."""

    msg_type: ClassVar[str] = "comm_open"

    comm_id: str
    target_name: str
    data: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True, eq=False, repr=False)
class CommMsg(Content):
    """One message on an open comm."""

    msg_type: ClassVar[str] = "comm_msg"

    comm_id: str
    data: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True, eq=False, repr=False)
class CommClose(Content):
    """End a comm, or refuse one that could not be opened."""

    msg_type: ClassVar[str] = "comm_close"

    comm_id: str
    data: dict[str, Any] = field(factory=dict)
