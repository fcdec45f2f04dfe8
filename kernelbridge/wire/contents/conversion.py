"""Between a message's content as a JSON object and as its class.

cattrs generates one function per class and direction, at the class's first use (a kernel's start would notice if all
were made at import). Its conversions are replaced by checks: what has the wrong type is refused, never coerced, since a
frontend that sends `"silent": "false"` has a bug that should be told to it.

Free-form values (MIME bundles, metadata, a comm's data) pass through as they are, shared and not copied.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from kernelbridge.wire.contents import iopub, replies, requests
from kernelbridge.wire.contents.base import Content, WireObject
from kernelbridge.wire.contents.replies import AbortedReply, ErrorReply
from kernelbridge.wire.errors import ContentError, short_repr

__all__ = ["CONTENT_TYPES", "reply_type", "request_type", "structure", "unstructure"]

CONTENT_TYPES: Final[Mapping[str, type[Content]]] = types.MappingProxyType(
    {
        cls.msg_type: cls
        for module in (requests, replies, iopub)
        for cls in (getattr(module, name) for name in module.__all__)
        if issubclass(cls, Content) and cls.msg_type
    }
)
"""Message type -> class of its content, for every type of the messaging specification 5.5."""

_REPLY_TYPES: Final = frozenset(msg_type for msg_type in CONTENT_TYPES if msg_type.endswith("_reply"))
_FAILURES: Final[Mapping[object, type[Content]]] = {"error": ErrorReply, "aborted": AbortedReply}


def structure(msg_type: str, content: Mapping[str, Any]) -> Content | dict[str, Any]:
    """Return the content of a message of type `msg_type` as its class, or as a new dict if the type is unknown.

    A reply whose `status` is 'error' or 'aborted' becomes an ErrorReply or AbortedReply whatever its type.
    Raises ContentError, naming the first field at fault, for a field that is missing or mistyped.
    """
    if type(content) is not dict and not isinstance(content, Mapping):
        raise ContentError(msg_type, "content", f"must be an object, not {short_repr(content)}")
    cls = CONTENT_TYPES.get(msg_type)
    if cls is None:
        return dict(content)
    if msg_type in _REPLY_TYPES:
        status = content.get("status")
        if isinstance(status, str):
            cls = _FAILURES.get(status, cls)
    try:
        return _build(cls, content)
    except _MisfitError as misfit:
        raise ContentError(msg_type, ".".join(misfit.path), misfit.problem) from None


def unstructure(content: Content | Mapping[str, Any]) -> dict[str, Any]:
    """Return a content as a JSON object, ready to be encoded: a new dict also where a mapping was given."""
    if isinstance(content, WireObject):
        return _take_apart(content)
    return dict(content)


def request_type(reply: type[Content]) -> type[Content]:
    """Return the class of the request that `reply` answers, ExecuteRequest for ExecuteReply.

    Raises ValueError for a class that is no reply, and for ErrorReply and AbortedReply, which answer any request.
    """
    return _counterpart(reply, "_reply", "_request")


def reply_type(request: type[Content]) -> type[Content]:
    """Return the class of the reply to `request`, ExecuteReply for ExecuteRequest.

    Raises ValueError for a class that is no request.
    """
    return _counterpart(request, "_request", "_reply")


def _counterpart(cls: type[Content], ending: str, other_ending: str) -> type[Content]:
    if not cls.msg_type.endswith(ending):
        raise ValueError(f"{cls.__name__} is the content of no message type that ends in {ending}")
    return CONTENT_TYPES[cls.msg_type.removesuffix(ending) + other_ending]


# --- objects ---------------------------------------------------------------------------------------------------------

_W = TypeVar("_W", bound=WireObject)
_CONVERTER: Final = Converter(detailed_validation=False)


@attrs.frozen
class _Codec:
    """What is generated for one class."""

    structure: Callable[[Mapping[str, Any], Any], Any]
    unstructure: Callable[[Any], dict[str, Any]]
    names: frozenset[str]
    checks: Mapping[str, _Check]
    required: frozenset[str]

    def find_misfit(self, content: Mapping[str, Any]) -> _MisfitError | None:
        """Return the first fault of a content that could not be structured.

        Looked for once more, field by field, so that contents without a fault need not pay for the bookkeeping.
        """
        for name, check in self.checks.items():
            if name in content or name in self.required:
                try:
                    check(content.get(name, _ABSENT), None)
                except _MisfitError as misfit:
                    misfit.path.insert(0, name)
                    return misfit
        return None


_codecs: Final[dict[type[WireObject], _Codec]] = {}


def _codec(cls: type[WireObject]) -> _Codec:
    try:
        return _codecs[cls]
    except KeyError:
        # Two threads that come here at once make the same codec twice; either serves.
        codec = _codecs[cls] = _generate(cls)
        return codec


def _generate(cls: type[WireObject]) -> _Codec:
    attrs.resolve_types(cls)
    fields = [field for field in attrs.fields(cls) if field.name != "extra"]
    checks = {field.name: _check_for(field.type) for field in fields}
    structuring: dict[str, Any] = {field.name: override(struct_hook=checks[field.name]) for field in fields}
    unstructuring: dict[str, Any] = {
        field.name: override(unstruct_hook=_way_out(field.type), omit_if_default=field.default is None)
        for field in fields
    }
    return _Codec(
        structure=make_dict_structure_fn(
            cls, _CONVERTER, _cattrs_use_linecache=False, extra=override(omit=True), **structuring
        ),
        unstructure=make_dict_unstructure_fn(
            cls, _CONVERTER, _cattrs_use_linecache=False, extra=override(omit=True), **unstructuring
        ),
        names=frozenset(checks),
        checks=checks,
        required=frozenset(field.name for field in fields if field.default is attrs.NOTHING),
    )


def _build(cls: type[_W], content: Mapping[str, Any]) -> _W:
    codec = _codec(cls)
    try:
        built = codec.structure(content, cls)
    except (KeyError, _MisfitError):
        misfit = codec.find_misfit(content)
        if misfit is None:
            raise
        raise misfit from None
    if not content.keys() <= codec.names:
        built.extra.update((name, value) for name, value in content.items() if name not in codec.names)
    return cast(_W, built)


def _take_apart(built: WireObject) -> dict[str, Any]:
    content = _codec(type(built)).unstructure(built)
    for name, value in built.extra.items():
        content.setdefault(name, value)
    return content


def _way_out(annotation: Any) -> Callable[[Any], Any]:
    """Return what turns a field's value into JSON values: `identity`, unless a class of ours may be inside."""
    inside = [annotation]
    for part in inside:
        inside.extend(get_args(part))
    ours = any(isinstance(part, type) and issubclass(part, WireObject) for part in inside)
    return _take_apart_inside if ours else identity


def _take_apart_inside(value: Any) -> Any:
    match value:
        case WireObject():
            return _take_apart(value)
        case list():
            return [_take_apart_inside(item) for item in value]
        case dict():
            return {key: _take_apart_inside(item) for key, item in value.items()}
        case _:
            return value


# --- checks ----------------------------------------------------------------------------------------------------------

_ABSENT: Final = object()
_Check = Callable[[Any, Any], Any]
"""Takes a value and, as cattrs calls it, its type; returns the value as it is to be held or raises _MisfitError."""


class _MisfitError(Exception):
    """A value is not what is `expected` at `path`, or is _ABSENT."""

    def __init__(self, expected: str, given: object) -> None:
        super().__init__(expected)
        self.path: list[str] = []
        self.expected = expected
        self.given = given

    @property
    def problem(self) -> str:
        if self.given is _ABSENT:
            return f"is missing: it must be {self.expected}"
        return f"must be {self.expected}, not {short_repr(self.given)}"


def _check_for(annotation: Any) -> _Check:
    """Return the check for a field's type; the types are those that the classes of this package use."""
    if annotation in _PLAIN_CHECKS:
        return _PLAIN_CHECKS[annotation]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _one_of(parts)
    if origin in (Union, types.UnionType):
        return _either(parts)
    if origin is list:
        return _list_of(_check_for(parts[0]))
    if origin is dict:
        return _object_of(_check_for(parts[1]))
    if isinstance(annotation, type) and issubclass(annotation, WireObject):
        return _object_as(annotation)
    raise TypeError(f"no check for {annotation}")


def _anything(value: Any, _: Any) -> Any:
    return value


def _string(value: Any, _: Any) -> Any:
    if isinstance(value, str):
        return value
    raise _MisfitError("a string", value)


def _integer(value: Any, _: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _MisfitError("an integer", value)


def _boolean(value: Any, _: Any) -> Any:
    if value is True or value is False:
        return value
    raise _MisfitError("true or false", value)


def _nothing(value: Any, _: Any) -> Any:
    if value is None:
        return value
    raise _MisfitError("null", value)


def _object(value: Any, _: Any) -> Any:
    if isinstance(value, dict):
        return value
    raise _MisfitError("an object", value)


def _list(value: Any, _: Any) -> Any:
    if isinstance(value, list):
        return value
    raise _MisfitError("a list", value)


_PLAIN_CHECKS: Final[dict[Any, _Check]] = {
    Any: _anything,
    str: _string,
    int: _integer,
    bool: _boolean,
    types.NoneType: _nothing,
    dict[str, Any]: _object,
    list[Any]: _list,
}


def _one_of(choices: tuple[str, ...]) -> _Check:
    expected = " or ".join(repr(choice) for choice in choices)

    def check(value: Any, _: Any) -> Any:
        if isinstance(value, str) and value in choices:
            return value
        raise _MisfitError(expected, value)

    return check


def _either(choices: tuple[Any, ...]) -> _Check:
    checks = [_check_for(choice) for choice in choices if choice is not types.NoneType]
    optional = types.NoneType in choices

    def check(value: Any, _: Any) -> Any:
        if optional and value is None:
            return value
        expected = []
        for one in checks:
            try:
                return one(value, None)
            except _MisfitError as misfit:
                if misfit.path:
                    raise
                expected.append(misfit.expected)
        raise _MisfitError(" or ".join(expected), value)

    return check


def _list_of(check_item: _Check) -> _Check:
    def check(value: Any, _: Any) -> Any:
        return [_inside(index, check_item, item) for index, item in enumerate(_list(value, None))]

    return check


def _object_of(check_item: _Check) -> _Check:
    def check(value: Any, _: Any) -> Any:
        return {key: _inside(key, check_item, item) for key, item in _object(value, None).items()}

    return check


def _inside(key: object, check: _Check, value: Any) -> Any:
    try:
        return check(value, None)
    except _MisfitError as misfit:
        misfit.path.insert(0, str(key))
        raise


def _object_as(cls: type[WireObject]) -> _Check:
    def check(value: Any, _: Any) -> Any:
        return _build(cls, _object(value, None))

    return check
