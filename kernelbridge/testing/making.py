"""What a matcher says, made a message: the same words say what is expected and what is sent.

What a matcher leaves open is filled in with what a kernel that has nothing to say would put there, so that every
message is one that the specification allows; a field that the matcher names is sent as it is, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from kernelbridge.testing.matchers import Matcher
from kernelbridge.testing.patterns import ANY, UNSET, Capture, Regex
from kernelbridge.version import __version__
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.messages import Header, Message

__all__ = ["Filling", "channel_from_kernel", "channel_to_kernel", "content_of", "header_of", "type_of"]

_CONTROL: Final = frozenset(
    {
        "create_subshell_request",
        "debug_request",
        "delete_subshell_request",
        "interrupt_request",
        "list_subshell_request",
        "shutdown_request",
    }
)


def channel_to_kernel(msg_type: Any) -> Channel:
    """Return the channel on which the specification has frontends send messages of this type."""
    if msg_type in _CONTROL:
        return "control"
    return "stdin" if msg_type == "input_reply" else "shell"


def channel_from_kernel(msg_type: str, asked_on: Channel) -> Channel:
    """Return the channel on which kernels send messages of this type, in answer to a request on `asked_on`."""
    if msg_type.endswith("_reply"):
        return asked_on
    return "stdin" if msg_type == "input_request" else "iopub"


@attrs.frozen
class Filling:
    """What the fields that a matcher leaves open depend on: the request, the number of the execution, the version."""

    request: Message | None
    execution_count: int
    protocol_version: str

    def asked(self, field: str, default: Any) -> Any:
        """Return what the request says in this field."""
        return default if self.request is None else self.request.content.get(field, default)


def _execute_reply(filling: Filling) -> dict[str, Any]:
    return {"execution_count": filling.execution_count, "user_expressions": {}, "payload": []}


def _kernel_info_reply(filling: Filling) -> dict[str, Any]:
    language = {"name": "script", "version": "1.0", "mimetype": "text/plain", "file_extension": ".txt"}
    return {
        "protocol_version": filling.protocol_version,
        "implementation": "kernelbridge.testing",
        "implementation_version": __version__,
        "language_info": language,
        "banner": "",
        "help_links": [],
    }


def _complete_reply(filling: Filling) -> dict[str, Any]:
    place = filling.asked("cursor_pos", 0)
    return {"matches": [], "cursor_start": place, "cursor_end": place, "metadata": {}}


_DISPLAY: Final[dict[str, Any]] = {"data": {}, "metadata": {}, "transient": {}}

_OPEN_FIELDS: Final[dict[str, Callable[[Filling], dict[str, Any]]]] = {
    "execute_reply": _execute_reply,
    "kernel_info_reply": _kernel_info_reply,
    "complete_reply": _complete_reply,
    "inspect_reply": lambda _: {"found": False, "data": {}, "metadata": {}},
    "is_complete_reply": lambda _: {"status": "complete"},
    "history_reply": lambda _: {"history": []},
    "comm_info_reply": lambda _: {"comms": {}},
    "shutdown_reply": lambda filling: {"restart": filling.asked("restart", False)},
    "execute_input": lambda filling: {"code": filling.asked("code", ""), "execution_count": filling.execution_count},
    "execute_result": lambda filling: {"execution_count": filling.execution_count, "data": {}, "metadata": {}},
    "display_data": lambda _: _DISPLAY,
    "update_display_data": lambda _: _DISPLAY,
    "clear_output": lambda _: {"wait": False},
    "error": lambda _: {"ename": "Error", "evalue": "", "traceback": []},
    "comm_open": lambda _: {"target_name": "", "data": {}},
    "comm_msg": lambda _: {"data": {}},
    "comm_close": lambda _: {"data": {}},
    "input_request": lambda _: {"prompt": "", "password": False},
}


def type_of(matcher: Matcher, request: Message | None) -> str:
    """Return the type of the message: where the matcher leaves it open, that of the reply to `request`."""
    if matcher.msg_type is ANY and request is not None:
        return request.msg_type.removesuffix("_request") + "_reply"
    return str(_plain(matcher.msg_type))


def content_of(matcher: Matcher, msg_type: str, filling: Filling) -> dict[str, Any]:
    """Return the content of the message. Raises ValueError for a placeholder, which stands for nothing to send."""
    given: dict[str, Any] = _plain(matcher.content)
    fields: dict[str, Any] = {}
    if msg_type.endswith("_reply"):
        fields["status"] = "ok"
        if given.get("status") == "error":
            fields |= {"ename": "Error", "evalue": "", "traceback": []}
    if msg_type in _OPEN_FIELDS:
        fields |= _OPEN_FIELDS[msg_type](filling)
    return fields | given


def header_of(parent: Message | Header | str | None) -> Header | None:
    """Return the header of a message's parent, which may also be the id of nobody's request."""
    if isinstance(parent, Message):
        return parent.header
    return Header(parent, "execute_request", "elsewhere") if isinstance(parent, str) else parent


def metadata_of(matcher: Matcher) -> dict[str, Any]:
    """Return the metadata of the message."""
    return dict(_plain(matcher.metadata))


def buffers_of(matcher: Matcher) -> list[Any]:
    """Return the binary buffers of the message."""
    return [] if matcher.buffers is UNSET else list(_plain(matcher.buffers))


def _plain(value: Any) -> Any:
    """Return `value` with what captures stand for in their places."""
    match value:
        case Capture():
            if not value.known:
                raise ValueError(f"{value} cannot be sent: nothing has been captured")
            return value.value
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Regex():
            raise ValueError(f"{value} cannot be sent: it is a placeholder")
        case _ if value is ANY or value is UNSET:
            raise ValueError(f"{value} cannot be sent: it is a placeholder")
        case _:
            return value
