"""A kernel's test leaves nothing: no thread, no descriptor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.leftovers import nothing_left


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with nothing_left():
        yield
