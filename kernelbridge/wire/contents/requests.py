"""Contents of what is asked: by the frontend on Shell and Control, by the kernel on Stdin.

Messaging specification 5.5, "Messages on the shell channel", "... on the Control channel", "... on the stdin channel".
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from attrs import Factory, field, frozen

from kernelbridge.wire.contents.base import Content

__all__ = [
    "CommInfoRequest",
    "CompleteRequest",
    "ConnectRequest",
    "CreateSubshellRequest",
    "DebugRequest",
    "DeleteSubshellRequest",
    "ExecuteRequest",
    "HistoryRequest",
    "InputRequest",
    "InspectRequest",
    "InterruptRequest",
    "IsCompleteRequest",
    "KernelInfoRequest",
    "ListSubshellRequest",
    "ShutdownRequest",
]


@frozen(kw_only=True, eq=False, repr=False)
class ExecuteRequest(Content):
    """Run code in the user's namespace."""

    msg_type: ClassVar[str] = "execute_request"

    code: str
    silent: bool = False
    store_history: bool = Factory(lambda self: not self.silent, takes_self=True)
    user_expressions: dict[str, Any] = field(factory=dict)
    # The specification shows True but gives no default. A frontend that says nothing cannot be relied upon to answer an
    # input_request, and the kernel would wait for it for ever; ipykernel also takes absence for False.
    allow_stdin: bool = False
    stop_on_error: bool = True

    @property
    def counts(self) -> bool:
        """Whether the execution counter goes up and the code enters the history: `silent` forces it not to."""
        return self.store_history and not self.silent


@frozen(kw_only=True, eq=False, repr=False)
class InspectRequest(Content):
    """Ask for documentation of what stands at the cursor."""

    msg_type: ClassVar[str] = "inspect_request"

    code: str
    cursor_pos: int | None = None
    detail_level: int = 0

    @property
    def cursor(self) -> int:
        """Cursor position in unicode code points, inside the code: at its end if the request names none."""
        end = len(self.code)
        return end if self.cursor_pos is None else min(max(self.cursor_pos, 0), end)


@frozen(kw_only=True, eq=False, repr=False)
class CompleteRequest(Content):
    """Ask for completions at the cursor."""

    msg_type: ClassVar[str] = "complete_request"

    code: str
    cursor_pos: int | None = None

    @property
    def cursor(self) -> int:
        """Cursor position in unicode code points, inside the code: at its end if the request names none."""
        end = len(self.code)
        return end if self.cursor_pos is None else min(max(self.cursor_pos, 0), end)


@frozen(kw_only=True, eq=False, repr=False)
class HistoryRequest(Content):
    """Ask for former input; which of the optional fields count depends on `hist_access_type`."""

    msg_type: ClassVar[str] = "history_request"

    hist_access_type: Literal["range", "tail", "search"]
    # The specification gives these two no default; these are jupyter_client's.
    output: bool = False
    raw: bool = True
    session: int | None = None
    start: int | None = None
    stop: int | None = None
    n: int | None = None
    pattern: str | None = None
    unique: bool = False


@frozen(kw_only=True, eq=False, repr=False)
class IsCompleteRequest(Content):
    """Ask whether code is ready to run or should be continued on another line."""

    msg_type: ClassVar[str] = "is_complete_request"

    code: str


@frozen(kw_only=True, eq=False, repr=False)
class ConnectRequest(Content):
    """Ask for the ports of the channels (deprecated in 5.1)."""

    msg_type: ClassVar[str] = "connect_request"


@frozen(kw_only=True, eq=False, repr=False)
class CommInfoRequest(Content):
    """Ask which comms are open, of one target or of all."""

    msg_type: ClassVar[str] = "comm_info_request"

    target_name: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class KernelInfoRequest(Content):
    """Ask what the kernel is."""

    msg_type: ClassVar[str] = "kernel_info_request"


@frozen(kw_only=True, eq=False, repr=False)
class ShutdownRequest(Content):
    """Ask the kernel to end."""

    msg_type: ClassVar[str] = "shutdown_request"

    restart: bool


@frozen(kw_only=True, eq=False, repr=False)
class InterruptRequest(Content):
    """Interrupt the kernel by message, where its kernelspec says `interrupt_mode: message`."""

    msg_type: ClassVar[str] = "interrupt_request"


@frozen(kw_only=True, eq=False, repr=False)
class DebugRequest(Content):
    """A Request of the Debug Adapter Protocol, or one of Jupyter's additions to it.

    The examples in the messaging specification have no `seq`, so it is optional here.
    """

    msg_type: ClassVar[str] = "debug_request"

    type: Literal["request"] = "request"
    command: str
    seq: int | None = None
    arguments: dict[str, Any] | None = None


@frozen(kw_only=True, eq=False, repr=False)
class CreateSubshellRequest(Content):
    """Create a subshell (JEP 91)."""

    msg_type: ClassVar[str] = "create_subshell_request"


@frozen(kw_only=True, eq=False, repr=False)
class DeleteSubshellRequest(Content):
    """Delete a subshell (JEP 91)."""

    msg_type: ClassVar[str] = "delete_subshell_request"

    subshell_id: str


@frozen(kw_only=True, eq=False, repr=False)
class ListSubshellRequest(Content):
    """Ask for the ids of all subshells (JEP 91)."""

    msg_type: ClassVar[str] = "list_subshell_request"


@frozen(kw_only=True, eq=False, repr=False)
class InputRequest(Content):
    """The kernel asks the frontend for a line of input."""

    msg_type: ClassVar[str] = "input_request"

    prompt: str
    password: bool = False
