"""What every message content has in common.

The classes are frozen, since one content is handed to many readers. The dicts inside are those that were given, not
copies (a display may hold 64 MiB), and are not to be changed either.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from attrs import field, fields, frozen

__all__ = ["Content", "MimeBundle", "WireObject"]

MimeBundle: TypeAlias = dict[str, Any]
"""MIME type -> representation: text for most types, unpacked JSON for application/json and its relatives."""


@frozen(kw_only=True, eq=False, repr=False)
class WireObject:
    """A JSON object with known fields.

    A field whose default is None is optional in the messaging specification: None stands for "absent", a JSON null is
    taken as None, and None is left out when the object is sent. Every other default is filled in.
    """

    extra: dict[str, Any] = field(factory=dict)
    """Fields that the class does not know, as they came; sent again beside the known ones."""

    # These two are here and not generated for each class: for all together, that takes 10 ms of each kernel's start.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WireObject) or type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __repr__(self) -> str:
        shown = (f"{field.name}={value!r}" for field, value in zip(fields(type(self)), self._values(), strict=True))
        return f"{type(self).__name__}({', '.join(shown)})"

    def _values(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(type(self))]


@frozen(kw_only=True, eq=False, repr=False)
class Content(WireObject):
    """The content of one message type."""

    msg_type: ClassVar[str] = ""
    """Message type in the header; '' for the two contents that any reply can have (ErrorReply, AbortedReply)."""
