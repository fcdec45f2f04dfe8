"""Kernels that start at once do not meet: not over IPC, not where they choose their ports, and not where they cannot.

A port that is free and not held is given to somebody else sooner or later (jupyter_client#487, papermill#511).
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Literal

import pytest

from kernelbridge.frontend.bridge import launch
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.connection import CHANNELS

Ways = pytest.mark.parametrize(
    ("name", "transport"),
    [
        ("kernelbridge", "ipc"),
        # JEP 66: it is told where to report the ports that it has bound.
        ("kernelbridge", "tcp"),
        # It is given ports that are held for it.
        ("python3", "tcp"),
    ],
)


def start_at_once(count: int, name: str, transport: Literal["ipc", "tcp"]) -> None:
    """Launch so many, wait for all, and ask each who it is. No start may be made twice."""
    timeout = count * DEADLINE
    with ExitStack() as stack:
        began = time.perf_counter()
        bridges = [launch(name, transport=transport, timeout=timeout) for _ in range(count)]
        for bridge in bridges:
            stack.callback(bridge.close, grace=timeout)
        for bridge in bridges:
            bridge.wait_ready()
        print(f"{count} kernels {name} over {transport}: all ready after {time.perf_counter() - began:.1f} s")
        assert [bridge._link.attempt for bridge in bridges] == [1] * count
        addresses = {
            bridge.connection.endpoint(channel) for bridge in bridges if bridge.connection for channel in CHANNELS
        }
        assert len(addresses) == count * len(CHANNELS)
        cells = [bridge.execute(f"print({number})") for number, bridge in enumerate(bridges)]
        for cell in cells:
            cell.result(timeout)
        assert [cell.outputs[0]["text"] for cell in cells] == [f"{number}\n" for number in range(count)]
        for bridge in bridges:
            # All at once, as they were started.
            bridge.shutdown(grace=timeout)


@Ways
def test_a_few_at_once(name: str, transport: Literal["ipc", "tcp"]) -> None:
    start_at_once(4, name, transport)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@Ways
def test_64_at_once(name: str, transport: Literal["ipc", "tcp"]) -> None:
    start_at_once(64, name, transport)
