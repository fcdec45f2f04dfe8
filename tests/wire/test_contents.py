"""Every content class of the messaging specification 5.5: what survives, what is refused, what is filled in."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelbridge.wire import contents
from kernelbridge.wire.contents import (
    CONTENT_TYPES,
    AbortedReply,
    CommInfo,
    CommInfoReply,
    CompleteRequest,
    Content,
    DisplayData,
    ErrorReply,
    ExecuteReply,
    ExecuteRequest,
    HelpLink,
    InputReply,
    InspectRequest,
    KernelInfoReply,
    LanguageInfo,
    Stream,
    UpdateDisplayData,
    WireObject,
    reply_type,
    request_type,
    structure,
    unstructure,
)
from kernelbridge.wire.errors import ContentError

SPECIFIED_TYPES = [
    "execute_request",
    "execute_reply",
    "inspect_request",
    "inspect_reply",
    "complete_request",
    "complete_reply",
    "history_request",
    "history_reply",
    "is_complete_request",
    "is_complete_reply",
    "connect_request",
    "connect_reply",
    "comm_info_request",
    "comm_info_reply",
    "kernel_info_request",
    "kernel_info_reply",
    "shutdown_request",
    "shutdown_reply",
    "interrupt_request",
    "interrupt_reply",
    "debug_request",
    "debug_reply",
    "create_subshell_request",
    "create_subshell_reply",
    "delete_subshell_request",
    "delete_subshell_reply",
    "list_subshell_request",
    "list_subshell_reply",
    "input_request",
    "input_reply",
    "iopub_welcome",
    "status",
    "execute_input",
    "stream",
    "display_data",
    "update_display_data",
    "clear_output",
    "execute_result",
    "error",
    "debug_event",
    "comm_open",
    "comm_msg",
    "comm_close",
]

# --- strategies, derived from the classes ----------------------------------------------------------------------------

TEXT = st.text(max_size=8)
# One level is enough, and quick: what is inside a free-form value is never looked at.
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
JSON_VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(TEXT, SCALARS, max_size=2)
FEW_EXAMPLES = settings(max_examples=30, deadline=None)
"""For what is tested once per class."""


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Return the strategy for a field's type."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        Any: JSON_VALUES,
        str: TEXT,
        int: st.integers(-(2**53), 2**53),
        bool: st.booleans(),
        types.NoneType: st.none(),
    }
    if annotation in simple:
        return simple[annotation]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return st.sampled_from(parts)
    if origin in (Union, types.UnionType):
        return st.one_of([values_of(part) for part in parts])
    if origin is list:
        return st.lists(values_of(parts[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(TEXT, values_of(parts[1]), max_size=3)
    return instances_of(annotation)


def known_fields(cls: type[WireObject]) -> list[attrs.Attribute[Any]]:
    """Return the fields that the specification gives the class, with their types resolved."""
    return [field for field in attrs.fields(attrs.resolve_types(cls)) if field.name != "extra"]


def instances_of(cls: type[WireObject]) -> st.SearchStrategy[Any]:
    """Return the strategy for instances of the class; fields with a default are sometimes left to it."""
    fields = known_fields(cls)
    names = {field.name for field in fields}
    extra = st.dictionaries(TEXT.filter(lambda name: name not in names), JSON_VALUES, max_size=2)
    return st.fixed_dictionaries(
        {field.name: values_of(field.type) for field in fields if field.default is attrs.NOTHING},
        optional={field.name: values_of(field.type) for field in fields if field.default is not attrs.NOTHING}
        | {"extra": extra},
    ).map(lambda given: cls(**given))


ALL_CLASSES = [pytest.param(msg_type, cls, id=cls.__name__) for msg_type, cls in CONTENT_TYPES.items()] + [
    pytest.param("execute_reply", ErrorReply, id="ErrorReply"),
    pytest.param("inspect_reply", AbortedReply, id="AbortedReply"),
]

# --- the set of types ------------------------------------------------------------------------------------------------


def test_there_is_a_class_for_every_specified_message_type() -> None:
    assert sorted(CONTENT_TYPES) == sorted(SPECIFIED_TYPES)


def test_a_class_is_named_after_its_message_type_and_is_public() -> None:
    for msg_type, cls in CONTENT_TYPES.items():
        assert cls.__name__ == "".join(word.capitalize() for word in msg_type.split("_"))
        assert cls.msg_type == msg_type
        assert cls.__name__ in contents.__all__


def test_a_request_knows_its_reply_and_a_reply_its_request() -> None:
    assert request_type(ExecuteReply) is ExecuteRequest
    assert reply_type(ExecuteRequest) is ExecuteReply
    for msg_type, cls in CONTENT_TYPES.items():
        if msg_type.endswith("_request"):
            assert request_type(reply_type(cls)) is cls


@pytest.mark.parametrize("cls", [Stream, ErrorReply, AbortedReply, ExecuteRequest])
def test_what_is_no_reply_has_no_request(cls: type[Content]) -> None:
    with pytest.raises(ValueError, match=cls.__name__):
        request_type(cls)


# --- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("msg_type", "cls"), ALL_CLASSES)
@FEW_EXAMPLES
@given(data=st.data())
def test_an_instance_survives_the_wire(msg_type: str, cls: type[Content], data: st.DataObject) -> None:
    instance = data.draw(instances_of(cls))
    received = orjson.loads(orjson.dumps(unstructure(instance)))
    assert structure(msg_type, received) == instance


@pytest.mark.parametrize(("msg_type", "cls"), ALL_CLASSES)
@FEW_EXAMPLES
@given(data=st.data())
def test_an_object_survives_its_class(msg_type: str, cls: type[Content], data: st.DataObject) -> None:
    """Forwarding changes nothing: what was absent and is optional stays absent, what is unknown stays."""
    content = unstructure(data.draw(instances_of(cls)))
    assert unstructure(as_content(structure(msg_type, content))) == content


def as_content(structured: Content | dict[str, Any]) -> Content:
    assert isinstance(structured, Content)
    return structured


def test_optional_fields_that_are_absent_stay_absent() -> None:
    absences: list[tuple[str, dict[str, Any]]] = [
        ("inspect_request", {"code": "x", "detail_level": 0}),
        ("comm_info_request", {}),
        ("display_data", {"data": {}, "metadata": {}}),
        ("is_complete_reply", {"status": "complete"}),
        ("connect_reply", {"status": "ok", "shell_port": 1}),
        ("input_reply", {"value": "x"}),
        ("debug_request", {"type": "request", "command": "debugInfo"}),
    ]
    for msg_type, content in absences:
        assert unstructure(as_content(structure(msg_type, content))) == content


def test_null_for_an_optional_field_is_the_same_as_absence() -> None:
    request = structure("comm_info_request", {"target_name": None})
    assert unstructure(as_content(request)) == {}


def test_unknown_fields_survive_at_every_level() -> None:
    content = {
        "status": "ok",
        "protocol_version": "5.5",
        "implementation": "x",
        "implementation_version": "1",
        "language_info": {"name": "x", "ipython_version": 3},
        "banner": "",
        "help_links": [{"text": "a", "url": "b", "icon": "c"}],
        "extra": {"a field of this very name": 1},
    }
    reply = structure("kernel_info_reply", content)
    assert isinstance(reply, KernelInfoReply)
    assert reply.language_info == LanguageInfo(name="x", extra={"ipython_version": 3})
    assert reply.help_links == [HelpLink(text="a", url="b", extra={"icon": "c"})]
    assert reply.extra == {"extra": {"a field of this very name": 1}}
    assert unstructure(reply) == content


def test_an_extra_field_never_replaces_a_known_one() -> None:
    assert unstructure(Stream(name="stdout", text="a", extra={"text": "b"})) == {"name": "stdout", "text": "a"}


def test_comm_info_is_typed_by_comm_id() -> None:
    reply = structure("comm_info_reply", {"status": "ok", "comms": {"1": {"target_name": "t", "more": True}}})
    assert isinstance(reply, CommInfoReply)
    assert reply.comms == {"1": CommInfo(target_name="t", extra={"more": True})}


def test_an_unknown_type_stays_a_plain_dict() -> None:
    given = {"a": {"b": 1}}
    result = structure("my_own_type", given)
    assert result == given
    assert type(result) is dict
    assert result is not given
    assert structure("my_own_reply", {"status": "error"}) == {"status": "error"}


def test_a_mapping_is_unstructured_to_a_new_dict() -> None:
    given = types.MappingProxyType({"a": 1})
    assert unstructure(given) == {"a": 1}
    assert structure("my_own_type", given) == {"a": 1}


def test_any_mapping_can_be_structured() -> None:
    assert structure("stream", types.MappingProxyType({"name": "stdout", "text": ""})) == Stream(name="stdout", text="")


def test_free_form_values_are_not_copied() -> None:
    """A display may hold 64 MiB."""
    data = {"image/png": "..."}
    display = structure("display_data", {"data": data})
    assert isinstance(display, DisplayData)
    assert display.data is data
    assert unstructure(display)["data"] is data


# --- defaults of the specification -----------------------------------------------------------------------------------


def test_an_execute_request_gets_the_defaults_of_the_specification() -> None:
    assert unstructure(as_content(structure("execute_request", {"code": "x"}))) == {
        "code": "x",
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }


@pytest.mark.parametrize(
    ("given", "store_history", "counts"),
    [
        ({}, True, True),
        ({"silent": True}, False, False),
        ({"store_history": False}, False, False),
        ({"silent": True, "store_history": True}, True, False),
    ],
)
def test_silent_forces_an_execution_not_to_count(given: dict[str, Any], store_history: bool, counts: bool) -> None:
    request = structure("execute_request", {"code": "", **given})
    assert isinstance(request, ExecuteRequest)
    assert request.store_history is store_history
    assert request.counts is counts


@pytest.mark.parametrize("cls", [InspectRequest, CompleteRequest])
def test_the_cursor_is_at_the_end_of_the_code_unless_said(cls: type[InspectRequest] | type[CompleteRequest]) -> None:
    assert cls(code="\U0001d41abc").cursor == 3
    assert cls(code="abc", cursor_pos=0).cursor == 0


def test_a_display_knows_its_display_id() -> None:
    assert UpdateDisplayData(data={}, transient={"display_id": "a"}).display_id == "a"
    assert DisplayData(data={}).display_id is None
    assert DisplayData(data={}, transient={"display_id": 3}).display_id is None


# --- replies that failed ---------------------------------------------------------------------------------------------

REPLY_TYPES = sorted(msg_type for msg_type in CONTENT_TYPES if msg_type.endswith("_reply"))


@pytest.mark.parametrize("msg_type", REPLY_TYPES)
def test_any_reply_can_be_an_error(msg_type: str) -> None:
    content = {"status": "error", "ename": "E", "evalue": "v", "traceback": ["t"], "engine_info": {}}
    reply = structure(msg_type, content)
    assert reply == ErrorReply(ename="E", evalue="v", traceback=["t"], extra={"engine_info": {}})
    assert unstructure(as_content(reply)) == content


@pytest.mark.parametrize("msg_type", REPLY_TYPES)
def test_any_reply_can_be_aborted(msg_type: str) -> None:
    reply = structure(msg_type, {"status": "aborted"})
    assert reply == AbortedReply()
    assert unstructure(as_content(reply)) == {"status": "aborted"}


def test_a_failed_execution_keeps_its_count() -> None:
    assert structure("execute_reply", {"status": "aborted", "execution_count": 3}) == AbortedReply(execution_count=3)
    reply = structure("execute_reply", {"status": "error", "execution_count": 3})
    assert isinstance(reply, ErrorReply)
    assert reply.execution_count == 3


def test_an_input_reply_needs_no_status() -> None:
    assert structure("input_reply", {"value": "x"}) == InputReply(value="x")
    assert structure("input_reply", {"value": "x", "status": "ok"}) == InputReply(value="x", status="ok")


# --- strictness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("msg_type", "content", "field", "problem"),
    [
        ("execute_request", {}, "code", "is missing: it must be a string"),
        ("execute_request", {"code": None}, "code", "must be a string, not None"),
        ("execute_request", {"code": b"1"}, "code", "must be a string, not b'1'"),
        ("execute_request", {"code": "", "silent": 0}, "silent", "must be true or false, not 0"),
        ("execute_request", {"code": "", "silent": "false"}, "silent", "must be true or false, not 'false'"),
        ("execute_request", {"code": "", "silent": None}, "silent", "must be true or false, not None"),
        ("execute_request", {"code": "", "user_expressions": ""}, "user_expressions", "must be an object, not ''"),
        ("complete_request", {"code": "", "cursor_pos": True}, "cursor_pos", "must be an integer, not True"),
        ("complete_request", {"code": "", "cursor_pos": 1.0}, "cursor_pos", "must be an integer, not 1.0"),
        ("complete_request", {"code": "", "cursor_pos": "1"}, "cursor_pos", "must be an integer, not '1'"),
        (
            "history_request",
            {"hist_access_type": "all"},
            "hist_access_type",
            "must be 'range' or 'tail' or 'search', not 'all'",
        ),
        (
            "history_request",
            {"hist_access_type": []},
            "hist_access_type",
            "must be 'range' or 'tail' or 'search', not a list of 0",
        ),
        ("execute_reply", {"status": "fine", "execution_count": 1}, "status", "must be 'ok', not 'fine'"),
        ("execute_reply", {"status": {}, "execution_count": 1}, "status", "must be 'ok', not a dict of 0"),
        ("error", {"ename": "", "evalue": "", "traceback": ["", 1]}, "traceback.1", "must be a string, not 1"),
        ("display_data", {"data": "text"}, "data", "must be an object, not 'text'"),
        ("update_display_data", {"data": {}}, "transient", "is missing: it must be an object"),
        ("comm_info_reply", {"comms": {"a b": {}}}, "comms.a b.target_name", "is missing: it must be a string"),
        (
            "kernel_info_reply",
            {"protocol_version": "5", "language_info": {}},
            "language_info.name",
            "is missing: it must be a string",
        ),
        (
            "kernel_info_reply",
            {"protocol_version": "5", "language_info": {"name": "x", "codemirror_mode": 3}},
            "language_info.codemirror_mode",
            "must be a string or an object, not 3",
        ),
        (
            "kernel_info_reply",
            {"protocol_version": "5", "language_info": {"name": "x"}, "help_links": [{"text": "", "url": None}]},
            "help_links.0.url",
            "must be a string, not None",
        ),
    ],
)
def test_a_missing_or_mistyped_field_is_named(
    msg_type: str, content: Mapping[str, Any], field: str, problem: str
) -> None:
    """Bad input, "a request with a missing or mistyped field"."""
    with pytest.raises(ContentError) as caught:
        structure(msg_type, content)
    assert (caught.value.msg_type, caught.value.field, caught.value.problem) == (msg_type, field, problem)
    assert str(caught.value) == f"{msg_type}: field {field!r} {problem}"


def test_a_huge_integer_is_told_by_its_size() -> None:
    """Python refuses to print an integer of more than 4300 digits, orjson one of more than 64 bits."""
    with pytest.raises(ContentError, match=r"must be a string, not an integer of 16610 bits"):
        structure("execute_request", {"code": 10**5000})


@pytest.mark.parametrize("content", [[], "x", None, 3])
def test_a_content_that_is_no_object_is_refused(content: Any) -> None:
    with pytest.raises(ContentError, match="must be an object"):
        structure("execute_request", content)


@pytest.mark.parametrize(
    "value",
    ["x" * 1000, "a\nb\u2028c\ud800", True, [0] * 1000, {"k": "v" * 1000}, object()],
    ids=["long text", "unprintable text", "boolean", "long list", "large object", "no JSON"],
)
def test_an_error_is_one_short_line_whatever_was_given(value: Any) -> None:
    with pytest.raises(ContentError) as caught:
        structure("complete_request", {"code": "", "cursor_pos": value})
    line = str(caught.value)
    assert len(line) < 160
    assert line.isprintable()


@pytest.mark.parametrize("msg_type", sorted(CONTENT_TYPES))
@FEW_EXAMPLES
@given(content=st.dictionaries(TEXT | st.sampled_from(["code", "status", "data", "name", "comms"]), JSON_VALUES))
def test_arbitrary_objects_give_a_content_or_the_declared_error(msg_type: str, content: dict[str, Any]) -> None:
    try:
        structured = structure(msg_type, content)
    except ContentError as error:
        assert error.msg_type == msg_type
    else:
        assert isinstance(structured, Content)


@pytest.mark.parametrize(("msg_type", "cls"), ALL_CLASSES)
@FEW_EXAMPLES
@given(data=st.data())
def test_each_single_mistyped_field_is_named(msg_type: str, cls: type[Content], data: st.DataObject) -> None:
    fields = [field for field in known_fields(cls) if field.type is not Any and field.name != "status"]
    if not fields:
        return
    content = unstructure(data.draw(instances_of(cls)))
    name = data.draw(st.sampled_from(fields)).name
    content[name] = 1.5  # no field of the specification is a float
    with pytest.raises(ContentError) as caught:
        structure(msg_type, content)
    assert caught.value.field == name
