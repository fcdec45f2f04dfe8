"""Contents are values: compared by what is in them, shown with it, and no keys, since they hold dicts."""

from __future__ import annotations

import math

import pytest

from kernelbridge.wire.contents import CONTENT_TYPES, AbortedReply, Content, ErrorReply, Stream
from kernelbridge.wire.contents.base import WireObject


def test_contents_are_equal_when_class_and_fields_are() -> None:
    failed = ErrorReply(ename="E", traceback=["at"], extra={"more": math.nan})
    assert failed == ErrorReply(ename="E", traceback=["at"], extra=failed.extra)
    assert failed != ErrorReply(ename="E", traceback=["at"])
    assert ErrorReply(status="error") != AbortedReply()
    assert failed != {"ename": "E"}


def test_a_content_is_shown_with_its_fields() -> None:
    assert repr(Stream(name="stdout", text="hi\n")) == "Stream(extra={}, name='stdout', text='hi\\n')"


def test_a_content_is_no_key() -> None:
    with pytest.raises(TypeError, match="unhashable type: 'Stream'"):
        hash(Stream(name="stdout", text=""))


@pytest.mark.parametrize("cls", CONTENT_TYPES.values(), ids=CONTENT_TYPES)
def test_no_class_has_code_of_its_own_for_that(cls: type[Content]) -> None:
    """It would be made at each kernel's start."""
    assert cls.__eq__ is WireObject.__eq__
    assert cls.__repr__ is WireObject.__repr__
