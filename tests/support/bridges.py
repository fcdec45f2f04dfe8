"""Bridges to kernels whose part is played: by a script, or by the test itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, Unpack

from kernelbridge.frontend.bridge import Bridge, connect
from kernelbridge.frontend.execution import Execution, Request
from kernelbridge.frontend.output_store import OutputStore
from kernelbridge.testing import (
    DEADLINE,
    Always,
    ManualKernel,
    Scriptable,
    ScriptedKernel,
    always,
    busy,
    comm_msg,
    idle,
)
from kernelbridge.testing.manual import KernelOptions
from kernelbridge.wire.frames import NO_LIMITS, Limits

_COMM: Final = "nothing but a sign"
_SIGN: Final = comm_msg(comm_id=_COMM)


@contextmanager
def connected(
    *script: Scriptable | Always, limits: Limits = NO_LIMITS, **options: Unpack[KernelOptions]
) -> Iterator[Bridge]:
    """A bridge that is ready, and has heard all that goes with that, to a kernel that plays the script."""
    with ScriptedKernel(*script, always(_SIGN, busy(), idle()), **options) as kernel:
        context = kernel.context if kernel.connection.transport == "inproc" else None
        with connect(kernel.connection, context=context, timeout=DEADLINE, limits=limits) as bridge:
            # A bridge that was not sure to be heard has asked for the kernel_info twice, and has yet to hear of it.
            _ask_for_sign(bridge).result(DEADLINE)
            yield bridge


@contextmanager
def played(
    *,
    limits: Limits = NO_LIMITS,
    on_death: Literal["stay"] | Callable[[Bridge], object] = "stay",
    output_store: OutputStore | None = None,
    **options: Unpack[KernelOptions],
) -> Iterator[tuple[ManualKernel, Bridge]]:
    """A kernel that the test plays, and a bridge to it that is ready and has heard all that goes with that."""
    with ManualKernel(**options) as kernel:
        context = kernel.context if kernel.connection.transport == "inproc" else None
        bridge = connect(
            kernel.connection,
            context=context,
            timeout=DEADLINE,
            limits=limits,
            on_death=on_death,
            output_store=output_store,
        )
        try:
            kernel.become_ready()
            bridge.wait_ready(DEADLINE)
            sign = _ask_for_sign(bridge)
            kernel.play(busy(), idle(), parent=kernel.take(_SIGN))
            sign.result(DEADLINE)
            yield kernel, bridge
        finally:
            bridge.close()


def types(execution: Execution) -> list[str]:
    """Return the types of what an execution has published, when it has ended."""
    return [message.msg_type for message in execution]


def types_of(bridge: Bridge, code: str) -> list[str]:
    """Run code, and return the types of what it has published."""
    execution = bridge.execute(code)
    execution.result(DEADLINE)
    return types(execution)


def _ask_for_sign(bridge: Bridge) -> Request:
    return bridge.send_comm("comm_msg", {"comm_id": _COMM, "data": {}})
