"""The variables of the user's namespace, when no thread is stopped that debugpy could be asked about."""

from __future__ import annotations

import itertools
import reprlib
import types
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from kernelbridge.wire.packing import pack

FIRST_REFERENCE: Final = 2**30
"""References from here on are this module's own; debugpy counts its own from 1."""

COUNT = 1000
"""How many children are shown of a value whose reader does not say how many it wants."""

_LEAVES: Final = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type,
    type(None),
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
)

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 300
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = _repr.maxfrozenset = _repr.maxdeque = 30


class Variables:
    """Rows for a table of variables, each with a reference by which its children can be asked for."""

    def __init__(self) -> None:
        self._values: dict[int, Any] = {}

    def rows(self, namespace: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a row for each variable. All references that were given before are forgotten."""
        self._values.clear()
        return [self._row(name, value, name) for name, value in sorted(namespace.items())]

    def children(self, reference: int, start: int = 0, count: int = COUNT) -> list[dict[str, Any]] | None:
        """Return rows for what the value with this reference consists of; None for a reference that is none."""
        if reference not in self._values:
            return None
        found = _children(self._values[reference])
        return [self._row(name, value) for name, value in itertools.islice(found, start, start + count)]

    def _row(self, name: str, value: Any, evaluate_name: str | None = None) -> dict[str, Any]:
        reference = 0
        if next(_children(value), None) is not None:
            reference = FIRST_REFERENCE + len(self._values)
            self._values[reference] = value
        # Whatever the value's own code raises, this returns something.
        row = {"name": name, "value": _repr.repr(value), "type": type(value).__name__, "variablesReference": reference}
        return row if evaluate_name is None else {**row, "evaluateName": evaluate_name}


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what `value` consists of, without running code of its own. Copies, because other threads change it."""
    if isinstance(value, _LEAVES):
        return
    if isinstance(value, dict):
        for key, child in list(dict.items(value)):
            yield _repr.repr(key), child
    elif isinstance(value, list | tuple | set | frozenset | deque):
        for number, child in enumerate(list(value)):
            yield str(number), child
    else:
        try:
            attributes = dict(object.__getattribute__(value, "__dict__"))
        except (AttributeError, TypeError):
            return
        yield from attributes.items()


def rich(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the representations of `value` that IPython would display, and their metadata."""
    from IPython.core.interactiveshell import InteractiveShell

    data, metadata = InteractiveShell.instance().display_formatter.format(value)
    return data, metadata


def rich_text(value: Any) -> str:
    """Return the same as JSON text: what debugpy evaluates for us, it shows as text."""
    return pack(rich(value)).decode()
