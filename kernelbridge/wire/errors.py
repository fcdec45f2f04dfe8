"""The errors of what travels: a message, its content, a connection file.

Everything that can be wrong with what came from the other side, or from a file, is a `WireError`. So a channel catches
one type, counts, logs and goes on, and whatever else is raised there is a fault of this program. Every message is one
line, made for the person who has to mend the input.
"""

from __future__ import annotations

import os

__all__ = ["ConnectionFileError", "ContentError", "WireError", "short_repr"]

_SHORT_REPR_LENGTH = 60
_LONGEST_INT_SHOWN = 128  # bits


class WireError(Exception):
    """The one declared error for anything wrong that travels."""


class ContentError(WireError):
    """A field of a message's content is missing or is not what the messaging specification says.

    `problem` continues the sentence "field 'code' ...", for instance "is missing: it must be a string" or
    "must be a string, not 12". `field` is a dotted path where the fault lies inside a nested object.
    """

    def __init__(self, msg_type: str, field: str, problem: str) -> None:
        super().__init__(msg_type, field, problem)
        self.msg_type = msg_type
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.msg_type}: field {self.field!r} {self.problem}"


class ConnectionFileError(WireError):
    """A connection file or registration file, or what it says, cannot be used.

    `file` is its path, or says where else the information came from. `field` is '' where the fault is the file as a
    whole. `problem` continues the sentence "shell_port ...", for instance "must be an integer from 1 to 65535, not 0".
    """

    def __init__(self, file: str | os.PathLike[str], field: str, problem: str) -> None:
        super().__init__(file, field, problem)
        self.file = os.fspath(file)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        sentence = f"{self.field} {self.problem}" if self.field else self.problem
        return f"{self.file}: {sentence}"


def short_repr(value: object) -> str:
    """Return a description of `value` for an error message: one printable line of at most 60 characters.

    Only plain JSON values are shown, containers by their size: what arrived may be 64 MiB, or an integer longer than
    `repr` accepts to print (sys.set_int_max_str_digits).
    """
    match value:
        case str() | bytes():
            text = repr(value[:_SHORT_REPR_LENGTH])
            if len(text) > _SHORT_REPR_LENGTH or len(value) > _SHORT_REPR_LENGTH:
                text = f"{text[: _SHORT_REPR_LENGTH - 3]}..."
        case None | bool() | float():
            text = repr(value)
        case int():
            bits = value.bit_length()
            text = repr(value) if bits <= _LONGEST_INT_SHOWN else f"an integer of {bits} bits"
        case dict() | list() | tuple():
            text = f"a {type(value).__name__} of {len(value)}"
        case _:
            text = f"a {type(value).__name__}"
    return text[:_SHORT_REPR_LENGTH]
