"""Matchers: one for each kind of message, by content, parent and metadata.

What a matcher does not name is left open: ``result({"text/plain": "3"})`` matches whatever the number of the execution.
Every value may be a placeholder (`ANY`, `regex`) or a `capture`. The keyword arguments that all of them take:

parent      the request that the message answers or comes from, its id, or a placeholder for that; None for a message
            that must have no parent
metadata    what the metadata must hold
buffers     all of the binary buffers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

import attrs

from kernelbridge.testing.patterns import ANY, UNSET, Captured, Regex, difference
from kernelbridge.wire.errors import short_repr
from kernelbridge.wire.messages import Message

__all__ = [
    "Common",
    "Matcher",
    "busy",
    "clear_output",
    "comm_close",
    "comm_msg",
    "comm_open",
    "display",
    "error",
    "execute_input",
    "execute_reply",
    "execute_request",
    "idle",
    "input_reply",
    "input_request",
    "iopub_welcome",
    "message",
    "reply",
    "request",
    "result",
    "starting",
    "status",
    "stderr",
    "stdout",
    "update_display",
]


class Common(TypedDict, total=False):
    """The keyword arguments of every matcher."""

    parent: Any
    metadata: Mapping[str, Any]
    buffers: Sequence[Any]


@attrs.frozen(eq=False)
class Matcher:
    """What one message must be. Made by the functions of this module."""

    msg_type: Any
    content: Mapping[str, Any]
    parent: Any = UNSET
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    buffers: Any = UNSET

    @property
    def is_stream(self) -> bool:
        return self.msg_type == "stream" and isinstance(self.content.get("name"), str) and "text" in self.content

    def with_text(self, text: Any) -> Matcher:
        """Return the same matcher for another text of the stream."""
        return attrs.evolve(self, content={**self.content, "text": text})

    def with_parent(self, parent: Any) -> Matcher:
        """Return the matcher with this parent, if it names none itself."""
        return attrs.evolve(self, parent=parent) if self.parent is UNSET else self

    def difference(self, message: Message, captured: Captured) -> str:
        """Return how `message` is not what this matcher says, on one line, or nothing if it is."""
        if self.msg_type is not ANY and message.msg_type != self.msg_type:
            return f"its type is {message.msg_type}, not {self.msg_type}"
        if found := difference(self.content, message.content, captured, "content"):
            return found
        if found := _parent_difference(self.parent, message, captured):
            return found
        if found := difference(self.metadata, message.metadata, captured, "metadata"):
            return found
        return difference(self.buffers, [bytes(buffer) for buffer in message.buffers], captured, "buffers")


def _parent_difference(parent: Any, message: Message, captured: Captured) -> str:
    if parent is None:
        return "" if message.parent is None else f"its parent is {message.parent_id}, and it should have none"
    if isinstance(parent, Message):
        if message.parent is None:
            return f"it has no parent, and should have {parent.msg_id}"
        return "" if message.parent_id == parent.msg_id else f"its parent is {message.parent_id}, not {parent.msg_id}"
    if parent is UNSET:
        return ""
    return (
        "it has no parent" if message.parent is None else difference(parent, message.parent_id, captured, "its parent")
    )


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not UNSET}


def message(
    msg_type: Any,
    /,
    *,
    parent: Any = UNSET,
    metadata: Mapping[str, Any] | None = None,
    buffers: Any = UNSET,
    **content: Any,
) -> Matcher:
    """Match any message of this type, which may be `ANY`, whose content holds the fields given."""
    return Matcher(msg_type, content, parent, metadata or {}, buffers)


def reply(
    msg_type: Any = ANY, /, *, parent: Any = UNSET, metadata: Mapping[str, Any] | None = None, **content: Any
) -> Matcher:
    """Match a reply. The type is that of the reply (``kernel_info_reply``) or its name (``kernel_info``).

    Where a scripted kernel sends it, it may be left out: it is then that of the request.
    """
    return Matcher(_with_ending(msg_type, "_reply"), content, parent, metadata or {})


def request(msg_type: Any = ANY, /, *, metadata: Mapping[str, Any] | None = None, **content: Any) -> Matcher:
    """Match a request of a frontend. The type is that of the request (``complete_request``) or its name."""
    return Matcher(_with_ending(msg_type, "_request"), content, metadata=metadata or {})


def _with_ending(msg_type: Any, ending: str) -> Any:
    return f"{msg_type.removesuffix(ending)}{ending}" if isinstance(msg_type, str) else msg_type


def execute_request(code: Any = UNSET, /, **content: Any) -> Matcher:
    """Match the request to run code."""
    return Matcher("execute_request", _given(code=code, **content))


def execute_reply(
    status: Any = "ok", *, parent: Any = UNSET, metadata: Mapping[str, Any] | None = None, **content: Any
) -> Matcher:
    """Match the reply to an execution: ``ok``, ``error`` or ``aborted``."""
    return Matcher("execute_reply", {"status": status, **content}, parent, metadata or {})


def status(execution_state: Any, **common: Unpack[Common]) -> Matcher:
    """Match a status."""
    return Matcher("status", {"execution_state": execution_state}, **common)


def busy(**common: Unpack[Common]) -> Matcher:
    """Match the status that opens what a request causes."""
    return status("busy", **common)


def idle(**common: Unpack[Common]) -> Matcher:
    """Match the status that closes what a request causes."""
    return status("idle", **common)


def starting(**common: Unpack[Common]) -> Matcher:
    """Match the status that a kernel publishes once. A client sees it only if it was there first (`settle=False`)."""
    return status("starting", **common)


def iopub_welcome(subscription: Any = "", **common: Unpack[Common]) -> Matcher:
    """Match the answer to a subscription (JEP 65)."""
    return Matcher("iopub_welcome", {"subscription": subscription}, **common)


def execute_input(code: Any = UNSET, *, execution_count: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match the code that starts to run."""
    return Matcher("execute_input", _given(code=code, execution_count=execution_count), **common)


def _stream(name: str, text: Any, common: Common) -> Matcher:
    if text == "":
        raise ValueError("an empty text is no message: leave it out")
    if not isinstance(text, str | Regex) and isinstance(text, Mapping | Sequence):
        raise TypeError(f"the text of a stream is a string or a placeholder, not {short_repr(text)}")
    return Matcher("stream", {"name": name, "text": text}, **common)


def stdout(text: Any, **common: Unpack[Common]) -> Matcher:
    """Match text on stdout, however it was cut: neighbouring messages of one name and parent are one text.

    A placeholder stands for all of the text up to the next message of another kind, which is waited for.
    """
    return _stream("stdout", text, common)


def stderr(text: Any, **common: Unpack[Common]) -> Matcher:
    """Match text on stderr, as `stdout` does."""
    return _stream("stderr", text, common)


def _bundle(data: Any) -> Any:
    return {"text/plain": data} if isinstance(data, str | Regex) else data


def _display(msg_type: str, data: Any, display_id: Any, fields: Mapping[str, Any], common: Common) -> Matcher:
    content = _given(data=_bundle(data), **fields)
    if display_id is not UNSET:
        content["transient"] = {"display_id": display_id}
    return Matcher(msg_type, content, **common)


def display(data: Any = UNSET, *, display_id: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match a display. `data` is a MIME bundle, or a string for its ``text/plain``."""
    return _display("display_data", data, display_id, {}, common)


def update_display(data: Any = UNSET, *, display_id: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match the update of a display."""
    return _display("update_display_data", data, display_id, {}, common)


def result(data: Any = UNSET, *, execution_count: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match the value of an execution."""
    return _display("execute_result", data, UNSET, {"execution_count": execution_count}, common)


def error(ename: Any = UNSET, evalue: Any = UNSET, traceback: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match an error."""
    return Matcher("error", _given(ename=ename, evalue=evalue, traceback=traceback), **common)


def clear_output(wait: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match a clear_output."""
    return Matcher("clear_output", _given(wait=wait), **common)


def comm_open(
    target_name: Any = UNSET, data: Any = UNSET, *, comm_id: Any = UNSET, **common: Unpack[Common]
) -> Matcher:
    """Match the opening of a comm."""
    return Matcher("comm_open", _given(target_name=target_name, data=data, comm_id=comm_id), **common)


def comm_msg(data: Any = UNSET, *, comm_id: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match a message on a comm."""
    return Matcher("comm_msg", _given(data=data, comm_id=comm_id), **common)


def comm_close(data: Any = UNSET, *, comm_id: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match the end of a comm."""
    return Matcher("comm_close", _given(data=data, comm_id=comm_id), **common)


def input_reply(value: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match a frontend's answer to a question."""
    return Matcher("input_reply", _given(value=value), **common)


def input_request(prompt: Any = UNSET, *, password: Any = UNSET, **common: Unpack[Common]) -> Matcher:
    """Match a question on Stdin."""
    return Matcher("input_request", _given(prompt=prompt, password=password), **common)
