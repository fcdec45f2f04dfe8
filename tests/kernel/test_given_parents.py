"""A parent that was given holds inside its block, and nowhere else (K4)."""

from __future__ import annotations

import pytest

from kernelbridge.kernel.parents import Parents
from kernelbridge.wire.messages import Header, Message

CELL = Message(Header("cell", "execute_request"), {})
OTHER = Message(Header("other", "execute_request"), {})


def test_k4_behind_the_block_the_context_has_the_parent_that_it_had() -> None:
    parents = Parents()
    parents.enter(CELL)
    with parents.given(OTHER):
        assert parents.current() == OTHER.header
        with parents.given(None):
            assert parents.current() is None
        assert parents.current() == OTHER.header
    assert parents.current() == CELL.header


def test_k4_also_where_the_block_is_left_by_an_exception() -> None:
    parents = Parents()
    parents.enter(CELL)
    with pytest.raises(ValueError, match="left"), parents.given(OTHER):
        raise ValueError("left")
    assert parents.request() is CELL
