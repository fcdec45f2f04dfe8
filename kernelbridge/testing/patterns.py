"""What a value may be: plain values, placeholders and captures, in dicts and lists of any depth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from kernelbridge.wire.errors import short_repr

__all__ = ["ANY", "UNSET", "Capture", "Captured", "Regex", "capture", "difference", "regex"]


class _Placeholder:
    """A name that stands for itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        # There is one of each, also where a script has been taken to another process.
        return self._name


ANY: Final = _Placeholder("ANY")
"""Matches any value, which has to be there."""

UNSET: Final = _Placeholder("UNSET")
"""The default of what a matcher does not look at."""


@attrs.define(eq=False)
class Capture:
    """Matches any value the first time, and from then on only the same value. Made by `capture`."""

    name: str
    _value: Any = attrs.field(default=UNSET, init=False)

    @property
    def known(self) -> bool:
        """Whether a message that held the value has matched."""
        return self._value is not UNSET

    @property
    def value(self) -> Any:
        """What was captured. Raises `LookupError` when no message that held it has matched."""
        if not self.known:
            raise LookupError(f"nothing has been captured as {self.name!r}")
        return self._value

    def keep(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"<{self.name}: {short_repr(self._value)}>" if self.known else f"<{self.name}>"


def capture(name: str) -> Capture:
    """Return a placeholder that keeps what it stands for. `name` is shown in reports."""
    return Capture(name)


@attrs.frozen(repr=False)
class Regex:
    """Matches strings in which the pattern is found. Made by `regex`."""

    pattern: re.Pattern[str]

    def __repr__(self) -> str:
        return f"/{self.pattern.pattern}/"


def regex(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> Regex:
    """Return a placeholder for any string in which `pattern` is found."""
    return Regex(re.compile(pattern, flags))


Captured = dict[Capture, Any]
"""What the captures in a pattern stand for, kept apart until all of a message matches."""


def difference(pattern: Any, value: Any, captured: Captured, path: str) -> str:
    """Return where and how `value` is not what `pattern` says, on one line, or nothing if it is.

    A dict in the pattern says what must be there and leaves open what else is; a list says all of its items. What
    captures stand for is put into `captured`. `path` names the value.
    """
    match pattern:
        case _Placeholder():
            return ""
        case Capture():
            if pattern in captured:
                return difference(captured[pattern], value, captured, path)
            if pattern.known:
                return difference(pattern.value, value, captured, path)
            captured[pattern] = value
            return ""
        case Regex():
            found = isinstance(value, str) and pattern.pattern.search(value)
            return "" if found else f"{path} is {short_repr(value)}, which does not match {pattern}"
        case Mapping():
            return _mapping_difference(pattern, value, captured, path)
        case list() | tuple():
            return _list_difference(pattern, value, captured, path)
        case _:
            # True == 1 in Python and not in JSON.
            same = pattern == value and isinstance(pattern, bool) == isinstance(value, bool)
            return "" if same else f"{path} is {short_repr(value)}, not {short_repr(pattern)}"


def _mapping_difference(pattern: Mapping[str, Any], value: Any, captured: Captured, path: str) -> str:
    if not isinstance(value, Mapping):
        return f"{path} is {short_repr(value)}, not an object"
    for name, wanted in pattern.items():
        if name not in value:
            return f"{path}.{name} is missing"
        if found := difference(wanted, value[name], captured, f"{path}.{name}"):
            return found
    return ""


def _list_difference(pattern: list[Any] | tuple[Any, ...], value: Any, captured: Captured, path: str) -> str:
    if not isinstance(value, list | tuple):
        return f"{path} is {short_repr(value)}, not a list"
    if len(value) != len(pattern):
        return f"{path} has {len(value)} items, not {len(pattern)}"
    for place, (wanted, item) in enumerate(zip(pattern, value, strict=True)):
        if found := difference(wanted, item, captured, f"{path}[{place}]"):
            return found
    return ""
