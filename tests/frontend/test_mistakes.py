"""A user's mistakes: told at once, in a line that names the thing, and never on the bridge's own threads."""

from __future__ import annotations

import asyncio
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from kernelbridge.frontend.bridge import connect, launch
from kernelbridge.frontend.errors import BridgeClosedError
from kernelbridge.frontend.execution_states import State
from kernelbridge.testing import DEADLINE, ManualKernel, execute_request, handle
from tests.support.bridges import played


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        # What a type checker takes for several texts, too.
        ({"extra_arguments": "--debug"}, r"extra_arguments are several, as \['--debug'\], and not one text"),
        ({"env": {"THREADS": 1}}, "the environment variable 'THREADS' is a text, and not 1"),
        ({"on_death": "reboot"}, "on_death is 'stay' or 'restart' or a function, and not 'reboot'"),
    ],
    ids=["arguments", "environment", "policy"],
)
def test_an_option_of_launch_that_cannot_be_used(options: dict[str, Any], problem: str) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        launch(**options)


def test_a_kernel_that_was_connected_to_cannot_be_restarted_when_it_dies() -> None:
    unable: Any = "restart"
    with (
        ManualKernel() as kernel,
        pytest.raises(ValueError, match="on_death is 'stay' or a function, and not 'restart'"),
    ):
        connect(kernel.connection, on_death=unable)


def test_types_that_are_one_text() -> None:
    """A text is an iterable of texts: of letters, which no message has for its type."""
    with (
        played() as (_, bridge),
        pytest.raises(TypeError, match=r"types are several, as \['stream'\], and not one text"),
    ):
        bridge.subscribe(types="stream")


def test_a_timeout_that_is_no_number_is_its_callers_matter() -> None:
    """Where it waits for its turn, it would be added up on a thread of the bridge."""
    unusable: Any = "soon"
    with played() as (kernel, bridge):
        bridge.execute("1")
        with pytest.raises(ValueError, match="soon"):
            bridge.execute("2", timeout=unusable)
        other_number: Any = Decimal("1000")
        waiting = bridge.execute("3", timeout=other_number)
        for code in ("1", "3"):
            kernel.play(handle(), parent=kernel.take(execute_request(code)))
        assert waiting.wait(DEADLINE) is State.OK


def test_a_bridge_that_was_closed_cannot_be_entered_again() -> None:
    with played() as (_, bridge):
        bridge.close()
        with pytest.raises(BridgeClosedError), bridge:
            pass
        with pytest.raises(BridgeClosedError):
            bridge.wait_ready(DEADLINE)
        with pytest.raises(BridgeClosedError):
            asyncio.run(bridge.ready())


def test_a_wait_that_was_too_short_says_for_what() -> None:
    with closing(launch()) as bridge:
        with pytest.raises(TimeoutError, match=r"was not ready within 0 s"):
            bridge.wait_ready(0)
        with pytest.raises(TimeoutError, match="execute_request was not answered within 0 s"):
            bridge.execute("1").result(0)
