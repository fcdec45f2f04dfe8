"""JSON as both ends write and read it: orjson where it can, and a documented substitute where content is no JSON.

A kernel must not lose an output because somebody put a NaN or a set in it, so `pack` never raises:

==========================================  =====================================================================
given                                       travels as
==========================================  =====================================================================
NaN, infinities                             ``null``
integers beyond 64 bits                     the same digits (JSON has no limit; a reader may round them), in
                                            hexadecimal as a string beyond 4,000 digits
bytes, bytearray, memoryview                base64 text, as jupyter_client sends them
str with lone surrogates                    pairs are joined, a lone one becomes the six characters ``\\udc80``
keys that are no str                        their ``repr``; True, False and None as JSON spells them
tuples, sets, deques, dict views, arrays    lists
other mappings                              objects
datetime, date, UUID, enum, dataclass       as orjson writes them
numbers of other libraries                  int or float
anything else, and what nests too deep      its ``repr``
==========================================  =====================================================================
"""

from __future__ import annotations

import base64
import json
import math
import numbers
import reprlib
from collections import deque
from collections.abc import KeysView, Mapping, Set, ValuesView
from typing import Any

import orjson

from kernelbridge.wire.errors import WireError

_MAX_DEPTH = 200
_MAX_DIGITS = 4000  # CPython refuses to convert more than 4,300 to text.
_INT64 = range(-(2**63), 2**64)

# The one repr of the standard library that an object whose own repr raises does not break.
_repr = reprlib.Repr()
_repr.maxother = 10_000


def pack(value: Any) -> bytes:
    """Return `value` as JSON text (UTF-8). Never raises; the module's table says what becomes of what is no JSON."""
    try:
        return orjson.dumps(value, default=_substitute)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(_plain(value, 0), ensure_ascii=False, separators=(",", ":")).encode()


def unpack(text: bytes | memoryview) -> Any:
    """Return the value of JSON text.

    The standard library's reader stands behind orjson's, because kernels do send what orjson refuses: NaN, and
    escapes of lone surrogates. Raises `WireError` when neither can read it, which includes invalid UTF-8 and nesting
    beyond about 1,000 levels.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as refusal:
        try:
            return json.loads(bytes(text).decode())
        except (ValueError, RecursionError):
            raise WireError(f"not JSON: {refusal}") from None


def _substitute(value: Any) -> Any:
    """Give orjson something that it can write in place of one value that it cannot."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        try:
            return float(value)
        except (OverflowError, TypeError, ValueError):
            return _text(_repr.repr(value))
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set | deque | KeysView | ValuesView):
        return list(value)
    if hasattr(value, "__array_interface__"):
        return value.tolist()
    return _text(_repr.repr(value))


def _plain(value: Any, depth: int) -> Any:
    """Rebuild `value` out of what the standard library's writer takes. Slow, and only for what orjson refused."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value in _INT64 or abs(value) < 10**_MAX_DIGITS else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if depth >= _MAX_DEPTH:
        return _text(_repr.repr(value))
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    try:
        return json.loads(orjson.dumps(value, default=_substitute))
    except (TypeError, orjson.JSONEncodeError):
        return _plain(_substitute(value), depth + 1)


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    return _text(key if isinstance(key, str) else _repr.repr(key))


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return joined.encode("utf-8", "backslashreplace").decode()
    return text
