"""Messages and their headers: who said what, in answer to what, as which number.

A `Message` is what both ends work with; `frames` turns it into what a socket carries. Its content is the plain dict
that travelled; `contents.structure` gives the typed form.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Self

import attrs

from kernelbridge.wire.errors import WireError
from kernelbridge.wire.packing import pack, unpack

PROTOCOL_VERSION = "5.5"

SUBSHELL_FEATURE = "kernel subshells"
"""What a kernel that has subshells says among its ``supported_features`` (JEP 91)."""

Buffer = bytes | bytearray | memoryview
"""A binary buffer beside the content. Mutable ones are copied when they are sent."""

_FIELDS = ("msg_id", "msg_type", "session", "username", "date", "version")
_FIELD_SET = frozenset(_FIELDS)
_KNOWN = _FIELD_SET | {"subshell_id"}
_NO_TEXTS = dict.fromkeys(_FIELDS, "")
_texts_of: Callable[[dict[str, Any]], tuple[str, str, str, str, str, str]] = itemgetter(*_FIELDS)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def texts_of(fields: Any) -> tuple[str, str, str, str, str, str]:
    """Return ``msg_id``, ``msg_type``, session, username, date and version of a header, its decoded JSON object.

    Raises `WireError` when it is no object, or a field has the wrong type; ``msg_id`` and ``msg_type`` must be there,
    the rest may be missing (kernels do leave them out).
    """
    if not isinstance(fields, dict):
        raise WireError(f"header is no JSON object but {type(fields).__name__}")
    try:
        texts = _texts_of(fields)
    except KeyError:
        texts = _texts_of(_NO_TEXTS | fields)
    try:
        # The cheapest question whether all are strings.
        "".join(texts)
    except TypeError:
        raise WireError(_fault(fields)) from None
    subshell_id = fields.get("subshell_id")
    if not texts[0] or not texts[1] or not (subshell_id is None or isinstance(subshell_id, str)):
        raise WireError(_fault(fields))
    return texts


def _fault(fields: dict[str, Any]) -> str:
    """Return what is wrong with a header that is refused."""
    for name in _FIELDS:
        if not isinstance(fields.get(name, ""), str):
            return f"header field {name!r} is no string but {type(fields[name]).__name__}"
    for name in ("msg_id", "msg_type"):
        if not fields.get(name):
            return f"header without {name}"
    return f"header field 'subshell_id' is no string but {type(fields['subshell_id']).__name__}"


@attrs.frozen(slots=True)
class Header:
    """The header of a message ("Message Header" in the messaging specification).

    `date` is ISO 8601 with a time zone. `subshell_id` names the subshell that a Shell request is for (JEP 91). `extra`
    holds fields that the specification does not know; they survive a round trip.
    """

    msg_id: str
    msg_type: str
    session: str = ""
    username: str = ""
    date: str = ""
    version: str = PROTOCOL_VERSION
    subshell_id: str | None = None
    extra: Mapping[str, Any] = _NOTHING
    _json: bytes | None = attrs.field(default=None, eq=False, repr=False, alias="json")

    @classmethod
    def from_dict(cls, fields: Any, json: bytes | None = None) -> Self:
        """Make a header of its JSON form.

        Takes the decoded object and, where it came off the wire, the text that it came as, so that a parent header
        goes back letter for letter. Raises `WireError` as `texts_of` does.
        """
        texts = texts_of(fields)
        if len(fields) == len(_FIELDS) and fields.keys() == _FIELD_SET:
            return cls(*texts, None, _NOTHING, json)
        extra = {name: value for name, value in fields.items() if name not in _KNOWN}
        return cls(*texts, fields.get("subshell_id"), extra or _NOTHING, json)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        fields: dict[str, Any] = {
            "msg_id": self.msg_id,
            "msg_type": self.msg_type,
            "session": self.session,
            "username": self.username,
            "date": self.date,
            "version": self.version,
        }
        if self.subshell_id is not None:
            fields["subshell_id"] = self.subshell_id
        if self.extra:
            fields.update(self.extra)
        return fields

    def to_json(self) -> bytes:
        """Return the JSON text: the one that it came as, where it came off the wire."""
        text = self._json
        if text is None:
            text = pack(self.to_dict())
            object.__setattr__(self, "_json", text)
        return text


def _made(header: Header | bytes) -> Header:
    return Header.from_dict(unpack(header), header) if isinstance(header, bytes) else header


@attrs.define(slots=True)
class Message:
    """One message.

    `identities` are the routing frames before the delimiter: the peer's identity on Shell, Control and Stdin, the
    topic on IOPub. `parent` is the header of the request that this message answers or comes from, if any.

    The header may be given as the JSON text that it came as, once it has been checked, beside its ``msg_type``. It is
    made when somebody asks for it. Of most outputs nobody does, and each is one object less to make, to keep, and to be
    looked at by the garbage collector.
    """

    _header: Header | bytes = attrs.field(eq=_made, repr=lambda header: repr(_made(header)))
    content: dict[str, Any]
    parent: Header | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
    buffers: list[Buffer] = attrs.field(factory=list)
    identities: list[bytes] = attrs.field(factory=list, repr=False)
    _msg_type: str = attrs.field(default="", eq=False, repr=False)

    @property
    def header(self) -> Header:
        header = self._header
        if isinstance(header, bytes):
            # Two threads that ask at once get equal ones.
            header = self._header = _made(header)
        return header

    @header.setter
    def header(self, header: Header) -> None:
        self._header = header

    @property
    def msg_type(self) -> str:
        header = self._header
        return self._msg_type if isinstance(header, bytes) else header.msg_type

    @property
    def msg_id(self) -> str:
        return self.header.msg_id

    @property
    def parent_id(self) -> str | None:
        """The ``msg_id`` of the request that this message answers or comes from."""
        return None if self.parent is None else self.parent.msg_id

    @property
    def seq(self) -> int | None:
        """The message's place in its kernel's IOPub queue, from 1, where the kernel is kernelbridge's (contract K9)."""
        own = self.metadata.get("kernelbridge")
        number = own.get("seq") if isinstance(own, dict) else None
        return number if isinstance(number, int) else None

    @property
    def is_idle(self) -> bool:
        """Whether this is the status that closes what its parent causes."""
        return self.msg_type == "status" and self.content.get("execution_state") == "idle"

    def to_dict(self) -> dict[str, Any]:
        """Return the dict of dicts that jupyter_client and most Jupyter code work with."""
        return {
            "header": self.header.to_dict(),
            "msg_id": self.msg_id,
            "msg_type": self.msg_type,
            "parent_header": {} if self.parent is None else self.parent.to_dict(),
            "metadata": self.metadata,
            "content": self.content,
            "buffers": self.buffers,
        }

    @classmethod
    def from_dict(cls, message: Mapping[str, Any]) -> Self:
        """Make a message of the form that `to_dict` gives. Raises `WireError` for a header that is none."""
        parent = message.get("parent_header")
        return cls(
            Header.from_dict(message.get("header")),
            dict(message.get("content") or {}),
            Header.from_dict(parent) if parent else None,
            dict(message.get("metadata") or {}),
            list(message.get("buffers") or ()),
        )


class Session:
    """One end's name on the wire: makes the headers of all that it sends. Any thread may call it.

    Takes `now`, which returns the date of a header (ISO 8601), the `session_id` (a random one by default; the
    specification wants a new one for each process), and the `username`.
    """

    def __init__(self, now: Callable[[], str], session_id: str | None = None, username: str = "") -> None:
        self.session_id = session_id or os.urandom(16).hex()
        self.username = username
        self._now = now
        # next() on a count is atomic, so ids stay unique without a lock.
        self._numbers = itertools.count(1)
        # What is the same in all headers, as JSON.
        self._name = pack(self.session_id)[:-1]
        self._rest = b',"session":%b,"username":%b,"version":"%b","date":' % (
            pack(self.session_id),
            pack(username),
            PROTOCOL_VERSION.encode(),
        )

    def header(self, msg_type: str, subshell_id: str | None = None) -> Header:
        """Return a new header with an id of its own."""
        msg_id = f"{self.session_id}_{next(self._numbers)}"
        return Header(msg_id, msg_type, self.session_id, self.username, self._now(), PROTOCOL_VERSION, subshell_id)

    def header_json(self, msg_type: str) -> bytes:
        """Return the JSON text of a new header, for who only sends it: in half the time that `header` takes."""
        return b'{"msg_id":%b_%d","msg_type":%b%b%b}' % (
            self._name,
            next(self._numbers),
            pack(msg_type),
            self._rest,
            pack(self._now()),
        )


def speaks(version: object, least: tuple[int, int]) -> bool:
    """Return whether a ``protocol_version``, as a kernel or a kernelspec gives it, is `least` or a later one."""
    found = re.match(r"(\d+)\.(\d+)", version) if isinstance(version, str) else None
    return found is not None and (int(found[1]), int(found[2])) >= least
