"""A ZMQ context whose end proves that every socket was closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from kernelbridge.bridges.socket_bridge import Context
from tests.support.leftovers import nothing_left


@pytest.fixture
def context() -> Iterator[Context]:
    with nothing_left():
        made: Context = zmq.Context()
        yield made
        # Would wait for ever for a socket that was left open: the test then fails at its time limit.
        made.term()
