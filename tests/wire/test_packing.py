"""What becomes of content that is no JSON: the table in the module's docstring, row by row."""

from __future__ import annotations

import array
import base64
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelbridge.wire.errors import WireError
from kernelbridge.wire.packing import pack, unpack

HUGE = 10**5000
SOMETHING = object()
"""Stands for a text that says something, whatever it is."""
POINT = namedtuple("POINT", "x y")


@dataclasses.dataclass
class Record:
    name: str
    size: int


class Colour(enum.Enum):
    RED = "red"


class Hostile:
    """Raises whenever it is looked at."""

    def _raise(self, *_: object) -> NoReturn:
        raise ArithmeticError("hands off")

    __repr__ = __str__ = __iter__ = __len__ = __hash__ = _raise
    __array_interface__ = property(_raise)


class HostileMapping(Mapping[str, int]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> NoReturn:
        raise ArithmeticError(key)

    def __iter__(self) -> Iterator[str]:
        raise ArithmeticError("iter")

    def __len__(self) -> int:
        return 1


class Anything:
    """Has every attribute, and is what each of its methods returns."""

    def __getattr__(self, name: str) -> Anything:
        return self

    def __call__(self, *_: object) -> Anything:
        return self

    def __repr__(self) -> str:
        return "Anything()"


class ArrayLike:
    """What packing knows of an array of another library."""

    __array_interface__: Mapping[str, object] = MappingProxyType({"version": 3})

    def tolist(self) -> list[int]:
        return [1, 2]


def value_of(name: str) -> type:
    """Return a class with the `name` of a type whose repr the standard library abridges in its own way."""
    return type(name, (), {"__repr__": lambda self: f"a {name}"})


TABLE: list[tuple[str, Any, Any]] = [
    ("NaN", float("nan"), None),
    ("infinity", [math.inf, -math.inf], [None, None]),
    ("integer beyond 64 bits", 2**70, 2**70),
    ("negative integer beyond 64 bits", [-(2**64)], [-(2**64)]),
    ("integer of 4,000 digits", 10**3999, 10**3999),
    ("integer beyond 4,000 digits", HUGE, hex(HUGE)),
    ("bytes", b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
    ("bytearray", bytearray(b"ab"), "YWI="),
    ("memoryview", memoryview(b"ab"), "YWI="),
    ("memoryview in pieces", memoryview(b"a-b-")[::2], "YWI="),
    ("surrogate pair", "\ud83d\ude00", "\U0001f600"),
    ("lone surrogate", "a\udc80b", "a\\udc80b"),
    ("lone surrogate in a key", {"\ud800": 1}, {"\\ud800": 1}),
    ("keys that are no str", {1: 1, None: 2, False: 3, (1, "a"): 4}, {"1": 1, "null": 2, "false": 3, "(1, 'a')": 4}),
    ("huge key", {HUGE: 1}, {hex(HUGE): 1}),
    ("tuple", (1, (2,)), [1, [2]]),
    ("named tuple", POINT(1, 2), [1, 2]),
    ("named tuple beside what orjson refuses", [POINT(1, 2), HUGE], [[1, 2], hex(HUGE)]),
    ("set", {1}, [1]),
    ("frozenset", frozenset({1}), [1]),
    ("deque", deque([1, 2]), [1, 2]),
    ("dict views", [{1: 2}.keys(), {1: 2}.values(), {1: 2}.items()], [[1], [2], [[1, 2]]]),
    ("array", array.array("i", [1, 2]), [1, 2]),
    ("array of another library", ArrayLike(), [1, 2]),
    ("mappings", [UserDict(a=1), MappingProxyType({"a": 1}), OrderedDict(a=1)], [{"a": 1}] * 3),
    ("mapping with keys that are no str", MappingProxyType({1: {2: 3}}), {"1": {"2": 3}}),
    ("datetime", datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), "2020-01-02T00:00:00+00:00"),
    ("date", datetime.date(2020, 1, 2), "2020-01-02"),
    ("UUID", uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ("enum", Colour.RED, "red"),
    ("dataclass", Record("a", 1), {"name": "a", "size": 1}),
    ("fraction", fractions.Fraction(1, 2), 0.5),
    ("fraction beyond a float", fractions.Fraction(10**400), SOMETHING),
    ("decimal", decimal.Decimal("1.5"), "Decimal('1.5')"),
    ("anything else", [object, range(3)], ["<class 'object'>", "range(0, 3)"]),
    *((f"a class called {name}", value_of(name)(), SOMETHING) for name in ("dict", "list", "array", "int", "str")),
    ("an object that raises whatever it is asked", Hostile(), SOMETHING),
    ("a mapping that raises", [HostileMapping()], SOMETHING),
    ("an object with every attribute", Anything(), "Anything()"),
]


@pytest.mark.parametrize(("given_", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_table(given_: Any, expected: Any) -> None:
    """Alone, inside of what orjson takes, and inside of what it refuses."""
    for wrap, unwrap in _WRAPPINGS:
        found = unwrap(_loads(pack(wrap(given_))))
        if expected is SOMETHING:
            assert found
        else:
            assert found == expected


_WRAPPINGS: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda value: value, lambda value: value),
    (lambda value: {"a": [value]}, lambda value: value["a"][0]),
    (lambda value: {"a": [value], "b": 2**80}, lambda value: value["a"][0]),
]


def _loads(text: bytes) -> Any:
    """Read as a stranger would: strict UTF-8, and no NaN."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text.decode(), parse_constant=refuse)


def test_long_keys_stay_apart() -> None:
    """What is no key in JSON gets one that loses nothing: two values never fall on one another."""
    keys: list[Any] = [(*range(9), 1), (*range(9), 2), ("a" * 99, 1), ("a" * 99, 2), HUGE, HUGE + 1]
    assert sorted(_loads(pack({key: number for number, key in enumerate(keys)})).values()) == list(range(len(keys)))


def test_what_contains_itself_ends() -> None:
    """Also where it does so twice at each level, which would make 2**200 copies."""
    alone: list[Any] = []
    alone.append(alone)
    twice: list[Any] = []
    twice.extend([twice, twice])
    table: dict[str, Any] = {}
    table.update(a=table, b=[table, table])
    for value in (alone, twice, table):
        assert _loads(pack(value))


def test_what_is_shared_but_no_cycle_travels_twice() -> None:
    shared = [2**70]
    assert _loads(pack([shared, shared])) == [[2**70], [2**70]]


def test_deep_nesting_ends_in_text() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert _loads(pack(deep))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(st.characters())
    | st.text(st.sampled_from("\ud83d\ude00\udc80a"))
    | st.binary(max_size=8)
    | st.datetimes()
    | st.uuids()
    | st.fractions()
    | st.decimals()
    | st.complex_numbers()
    | st.builds(Hostile)
    | st.builds(Anything)
    | st.builds(object)
)
HASHABLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(inner, max_size=4).map(deque)
        | st.dictionaries(HASHABLE | st.tuples(HASHABLE), inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4).map(MappingProxyType)
        | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_pack_never_raises_and_gives_valid_json(value: Any) -> None:
    """Content that is no JSON is never an exception that loses the output or the reply."""
    _loads(pack(value))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_is_json_comes_back_as_it_was(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(st.binary() | st.text().map(str.encode))
def test_unpack_gives_a_value_or_the_one_declared_error(text: bytes) -> None:
    try:
        unpack(text)
    except WireError as refusal:
        assert "\n" not in str(refusal)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'"\xed\xa0\x80"', b"[" * 100_000, b"[" * 5000 + b"]" * 5000])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(WireError, match="not JSON"):
        unpack(text)


@pytest.mark.parametrize(("text", "value"), [(b'"\\ud800"', "\ud800"), (b"[Infinity]", [math.inf]), (b"null", None)])
def test_what_other_kernels_write_is_read(text: bytes, value: Any) -> None:
    """Escapes of lone surrogates, NaN and infinities: no JSON, but what Python's own writer makes."""
    assert unpack(text) == value
