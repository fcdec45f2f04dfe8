"""Contents of what is answered: by the kernel on Shell and Control, by the frontend on Stdin.

Messaging specification 5.5, "Request-Reply": a reply has `status` 'ok' and the fields of its class, or is an ErrorReply
or an AbortedReply whatever its type. What older or smaller kernels are known to leave out has a default, so that a
frontend can hold them; what a reply is useless without is required.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from attrs import field, frozen

from kernelbridge.wire.contents.base import Content, MimeBundle, WireObject

__all__ = [
    "AbortedReply",
    "CommInfo",
    "CommInfoReply",
    "CompleteReply",
    "ConnectReply",
    "CreateSubshellReply",
    "DebugReply",
    "DeleteSubshellReply",
    "ErrorReply",
    "ExecuteReply",
    "HelpLink",
    "HistoryReply",
    "InputReply",
    "InspectReply",
    "InterruptReply",
    "IsCompleteReply",
    "KernelInfoReply",
    "LanguageInfo",
    "ListSubshellReply",
    "ShutdownReply",
]


@frozen(kw_only=True, eq=False, repr=False)
class ErrorReply(Content):
    """Any reply with `status` 'error'. Only an execute_reply has an `execution_count`."""

    status: Literal["error"] = "error"
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(factory=list)
    execution_count: int | None = None


@frozen(kw_only=True, eq=False, repr=False)
class AbortedReply(Content):
    """Any reply with `status` 'aborted': the request was not run, because one before it failed.

    Deprecated in 5.1, but what ipykernel sends and clients expect. Only an execute_reply may have an `execution_count`.
    """

    status: Literal["aborted"] = "aborted"
    execution_count: int | None = None


@frozen(kw_only=True, eq=False, repr=False)
class ExecuteReply(Content):
    """The code ran to its end."""

    msg_type: ClassVar[str] = "execute_reply"

    status: Literal["ok"] = "ok"
    execution_count: int
    user_expressions: dict[str, Any] = field(factory=dict)
    payload: list[dict[str, Any]] | None = None


@frozen(kw_only=True, eq=False, repr=False)
class InspectReply(Content):
    """Documentation as a MIME bundle, empty if nothing was found."""

    msg_type: ClassVar[str] = "inspect_reply"

    status: Literal["ok"] = "ok"
    found: bool
    data: MimeBundle = field(factory=dict)
    metadata: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True, eq=False, repr=False)
class CompleteReply(Content):
    """Completions, and the range of the code (in unicode code points) that each of them would replace."""

    msg_type: ClassVar[str] = "complete_reply"

    status: Literal["ok"] = "ok"
    matches: list[str]
    cursor_start: int
    cursor_end: int
    metadata: dict[str, Any] = field(factory=dict)


@frozen(kw_only=True, eq=False, repr=False)
class HistoryReply(Content):
    """Former input: a list of [session, line number, input] or [session, line number, [input, output]]."""

    msg_type: ClassVar[str] = "history_reply"

    status: Literal["ok"] = "ok"
    history: list[Any]


@frozen(kw_only=True, eq=False, repr=False)
class IsCompleteReply(Content):
    """Whether the code is ready to run. `indent` comes only with 'incomplete'."""

    msg_type: ClassVar[str] = "is_complete_reply"

    status: Literal["complete", "incomplete", "invalid", "unknown"]
    indent: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class ConnectReply(Content):
    """Ports of the channels; an absent one says that the channel is not running (deprecated in 5.1)."""

    msg_type: ClassVar[str] = "connect_reply"

    status: Literal["ok"] = "ok"
    shell_port: int | None = None
    iopub_port: int | None = None
    stdin_port: int | None = None
    control_port: int | None = None
    hb_port: int | None = None


@frozen(kw_only=True, eq=False, repr=False)
class CommInfo(WireObject):
    """One open comm."""

    target_name: str


@frozen(kw_only=True, eq=False, repr=False)
class CommInfoReply(Content):
    """The open comms by comm id."""

    msg_type: ClassVar[str] = "comm_info_reply"

    status: Literal["ok"] = "ok"
    comms: dict[str, CommInfo]


@frozen(kw_only=True, eq=False, repr=False)
class LanguageInfo(WireObject):
    """The language that a kernel runs."""

    name: str
    version: str | None = None
    mimetype: str | None = None
    file_extension: str | None = None
    pygments_lexer: str | None = None
    codemirror_mode: str | dict[str, Any] | None = None
    nbconvert_exporter: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class HelpLink(WireObject):
    """An entry for a frontend's help menu."""

    text: str
    url: str


@frozen(kw_only=True, eq=False, repr=False)
class KernelInfoReply(Content):
    """What the kernel is."""

    msg_type: ClassVar[str] = "kernel_info_reply"

    status: Literal["ok"] = "ok"
    protocol_version: str
    implementation: str = ""
    implementation_version: str = ""
    language_info: LanguageInfo
    banner: str = ""
    debugger: bool | None = None
    help_links: list[HelpLink] | None = None
    supported_features: list[str] | None = None


@frozen(kw_only=True, eq=False, repr=False)
class ShutdownReply(Content):
    """The kernel is about to end. Sent on Control and also published on IOPub."""

    msg_type: ClassVar[str] = "shutdown_reply"

    status: Literal["ok"] = "ok"
    restart: bool = False


@frozen(kw_only=True, eq=False, repr=False)
class InterruptReply(Content):
    """The interrupt was delivered."""

    msg_type: ClassVar[str] = "interrupt_reply"

    status: Literal["ok"] = "ok"


@frozen(kw_only=True, eq=False, repr=False)
class DebugReply(Content):
    """A Response of the Debug Adapter Protocol.

    It has no `status`. The examples in the messaging specification leave out all but `type`, `success` and `body`.
    """

    msg_type: ClassVar[str] = "debug_reply"

    type: Literal["response"] = "response"
    success: bool
    command: str | None = None
    seq: int | None = None
    request_seq: int | None = None
    message: str | None = None
    body: Any = None


@frozen(kw_only=True, eq=False, repr=False)
class CreateSubshellReply(Content):
    """The id of the new subshell (JEP 91)."""

    msg_type: ClassVar[str] = "create_subshell_reply"

    status: Literal["ok"] = "ok"
    subshell_id: str


@frozen(kw_only=True, eq=False, repr=False)
class DeleteSubshellReply(Content):
    """The subshell is gone (JEP 91)."""

    msg_type: ClassVar[str] = "delete_subshell_reply"

    status: Literal["ok"] = "ok"


@frozen(kw_only=True, eq=False, repr=False)
class ListSubshellReply(Content):
    """The ids of all subshells; the field's name is in the singular (JEP 91)."""

    msg_type: ClassVar[str] = "list_subshell_reply"

    status: Literal["ok"] = "ok"
    subshell_id: list[str]


@frozen(kw_only=True, eq=False, repr=False)
class InputReply(Content):
    """The line that the user typed. Sent by the frontend, and without a `status` by most."""

    msg_type: ClassVar[str] = "input_reply"

    status: Literal["ok"] | None = None
    value: str
