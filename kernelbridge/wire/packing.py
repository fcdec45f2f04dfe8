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
keys that are no str                        their ``repr``; True, False and None as JSON spells them; of two
                                            that become the same, the later wins
tuples, sets, deques, dict views, arrays    lists
other mappings                              objects
datetime, date, UUID, enum, dataclass       as orjson writes them
numbers of other libraries                  int or float
anything else, and what nests too deep      its ``repr``
==========================================  =====================================================================
"""

from __future__ import annotations

import array
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

_repr = reprlib.Repr()
_repr.maxother = 10_000


def pack(value: Any) -> bytes:
    """Return `value` as JSON text (UTF-8). Never raises; the module's table says what becomes of what is no JSON."""
    try:
        return orjson.dumps(value, default=_substitute)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(_plain(value, 0, set()), ensure_ascii=False, separators=(",", ":")).encode()


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
    try:
        return _simpler(value)
    except Exception:  # noqa: BLE001 - an object of the user's may raise anything when it is looked at.
        return _shown(value)


def _simpler(value: Any) -> Any:
    if isinstance(value, memoryview):
        value = value.tobytes()
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        try:
            return float(value)
        except (OverflowError, TypeError, ValueError):
            return _shown(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | Set | deque | KeysView | ValuesView):
        return list(value)
    if isinstance(value, array.array) or hasattr(value, "__array_interface__"):
        return value.tolist()
    return _shown(value)


def _plain(value: Any, depth: int, above: set[int]) -> Any:
    """Rebuild `value` out of what the standard library's writer takes. Slow, and only for what orjson refused.

    `above` has the identities of the containers that `value` lies in: one that contains itself ends there, before it
    is unrolled in every way that there is.
    """
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if depth >= _MAX_DEPTH or id(value) in above:
        return _shown(value)
    above.add(id(value))
    try:
        if isinstance(value, dict):
            return {_key(key): _plain(item, depth + 1, above) for key, item in list(value.items())}
        if isinstance(value, list | tuple):
            return [_plain(item, depth + 1, above) for item in value]
        try:
            return json.loads(orjson.dumps(value, default=_substitute))
        except (TypeError, orjson.JSONEncodeError):
            return _plain(_substitute(value), depth + 1, above)
    finally:
        above.discard(id(value))


def _key(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    if isinstance(key, str):
        return _text(key)
    if type(key) is int:
        return str(_integer(key))
    try:
        # Not the abridged one of reprlib: two long keys must not become the same.
        return _text(repr(key))
    except Exception:  # noqa: BLE001 - a repr is the user's code.
        return _shown(key)


def _integer(value: int) -> int | str:
    return int(value) if value in _INT64 or abs(value) < 10**_MAX_DIGITS else hex(value)


def _shown(value: Any) -> str:
    """Return the `repr` of `value`, or where that raises, as that of a huge integer does, what its type is called."""
    try:
        return _text(_repr.repr(value))
    except Exception:  # noqa: BLE001 - a repr is the user's code.
        return f"<{type(value).__name__}>"


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return joined.encode("utf-8", "backslashreplace").decode()
    return text
