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
from kernelbridge.wire.messages import Header, Message, Session

__all__ = ["Maker", "channel_from_kernel", "channel_to_kernel"]

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
class _Filling:
    """What the fields that a matcher leaves open depend on."""

    request: Message | None
    execution_count: int
    protocol_version: str

    def asked(self, field: str, default: Any) -> Any:
        """Return what the request says in this field."""
        return default if self.request is None else self.request.content.get(field, default)


def _execute_reply(filling: _Filling) -> dict[str, Any]:
    return {"execution_count": filling.execution_count, "user_expressions": {}, "payload": []}


def _kernel_info_reply(filling: _Filling) -> dict[str, Any]:
    language = {"name": "script", "version": "1.0", "mimetype": "text/plain", "file_extension": ".txt"}
    return {
        "protocol_version": filling.protocol_version,
        "implementation": "kernelbridge.testing",
        "implementation_version": __version__,
        "language_info": language,
        "banner": "",
        "help_links": [],
    }


def _complete_reply(filling: _Filling) -> dict[str, Any]:
    place = filling.asked("cursor_pos", 0)
    return {"matches": [], "cursor_start": place, "cursor_end": place, "metadata": {}}


_DISPLAY: Final[dict[str, Any]] = {"data": {}, "metadata": {}, "transient": {}}

_OPEN_FIELDS: Final[dict[str, Callable[[_Filling], dict[str, Any]]]] = {
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


class Maker:
    """Makes the messages of one kernel, which speaks the given version; `numbered` as contract K9 has it."""

    def __init__(self, session: Session, protocol_version: str, *, numbered: bool = False) -> None:
        self.execution_count = 0
        """How many executions the kernel has been asked for."""
        self._session = session
        self._protocol_version = protocol_version
        self._number: int | None = 0 if numbered else None
        # What has come, by its id, and on which channel: its reply goes there.
        self._requests: dict[str, tuple[Message, Channel]] = {}

    def heard(self, message: Message, channel: Channel) -> None:
        """Learn of a message that the kernel was sent."""
        self._requests[message.msg_id] = message, channel

    def leave_out(self, numbers: int) -> None:
        """Leave out so many of IOPub's numbers. Raises ValueError where there are none."""
        if self._number is None:
            raise ValueError("a gap needs a kernel whose messages are numbered: numbered=True")
        self._number += numbers

    def make(
        self, matcher: Matcher, parent: Message | None, channel: Channel | None = None, *, fill: bool = True
    ) -> tuple[Channel, Message]:
        """Return the message that the matcher says, and where it goes.

        `parent` is the request that it answers if the matcher names none itself; who has sent that gets the answer.
        Unless it is to `fill`, what the matcher leaves open stays away. Raises ValueError for a placeholder, which
        stands for nothing to send, and LookupError for a parent that was not captured.
        """
        named = self._named(matcher.parent)
        asked = named if isinstance(named, Message) else parent
        msg_type = _type_of(matcher, asked)
        where = channel or channel_from_kernel(msg_type, self._asked_on(asked))
        content: dict[str, Any] = _plain(matcher.content)
        if fill:
            filling = _Filling(asked, self.execution_count, self._protocol_version)
            content = _open_fields(msg_type, content.get("status"), filling) | content
        metadata: dict[str, Any] = _plain(matcher.metadata)
        if where == "iopub" and self._number is not None:
            self._number += 1
            metadata = {"kernelbridge": {"seq": self._number}} | metadata
        made = Message(
            attrs.evolve(self._session.header(msg_type), version=self._protocol_version),
            content,
            _header_of(asked if named is UNSET else named),
            metadata,
            [] if matcher.buffers is UNSET else _plain(matcher.buffers),
        )
        if where == "iopub":
            made.identities = [msg_type.encode()]
        elif asked is not None:
            made.identities = asked.identities
        return where, made

    def _asked_on(self, request: Message | None) -> Channel:
        known = None if request is None else self._requests.get(request.msg_id)
        return "shell" if known is None else known[1]

    def _named(self, parent: Any) -> Any:
        """Return the request that a matcher names as a parent, if it is one, or what it names else."""
        named = parent.value if isinstance(parent, Capture) else parent
        return self._requests.get(named, (named,))[0] if isinstance(named, str) else named


def _type_of(matcher: Matcher, request: Message | None) -> str:
    """Return the type of the message: where the matcher leaves it open, that of the reply to `request`."""
    if matcher.msg_type is ANY and request is not None:
        return request.msg_type.removesuffix("_request") + "_reply"
    return str(_plain(matcher.msg_type))


def _open_fields(msg_type: str, status: Any, filling: _Filling) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if msg_type.endswith("_reply"):
        fields["status"] = "ok"
        if status == "error":
            fields |= {"ename": "Error", "evalue": "", "traceback": []}
    if msg_type in _OPEN_FIELDS:
        fields |= _OPEN_FIELDS[msg_type](filling)
    return fields


def _header_of(parent: Message | Header | str | None) -> Header | None:
    """Return the header of a message's parent, which may also be the id of nobody's request."""
    if isinstance(parent, Message):
        return parent.header
    return Header(parent, "execute_request", "elsewhere") if isinstance(parent, str) else parent


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
