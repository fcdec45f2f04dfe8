"""What a protocol client can be given: each is made a running kernel for as long as the client lives."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import zmq

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.socket_bridge import Context, Socket
from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.kernel.handler import Handler
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.wire.connection import CHANNELS, ConnectionInfo, load_connection_file, random_key

logger = logging.getLogger("kernelbridge")

__all__ = ["Running", "Target", "running"]

Target = str | os.PathLike[str] | ConnectionInfo | Kernel | Handler
"""The name of a kernel, which is launched; a connection file, or what one says; a Kernel that serves; or a handler,
which is served in this process over inproc."""


@attrs.frozen
class Running:
    """A kernel that runs. `ended` is readable when it has ended, where it is in this process."""

    connection: ConnectionInfo
    context: Context
    kernel: Kernel | None = None
    bridge: Bridge | None = None
    ended: Socket | None = None
    fate: Callable[[], str] = str
    """Says how the kernel has ended, as far as anybody knows."""
    start: Callable[[], None] | None = None
    """Lets the kernel start, where it is to find its client there already."""
    begun: Callable[[float], bool] | None = None
    """Waits at most so many seconds until the kernel runs requests or has failed to, where somebody knows."""


@contextmanager
def running(
    target: Target, context: Context | None, deadline: Callable[[], float], clock: Clock | None = None
) -> Iterator[Running]:
    """Give a running kernel. What was started for it has ended when the block has.

    `deadline` tells how many seconds of real time a wait may take. `context` is needed for a Kernel that serves over
    inproc. The `clock` is that of a handler's kernel: what is launched starts in real time. Raises what the loading of
    a connection file and the launch of a kernel raise.
    """
    own: Context | None = zmq.Context() if context is None else None
    shared = context or own or zmq.Context()
    try:
        match target:
            case Handler():
                with _served(target, shared, deadline, clock) as found:
                    yield found
            case Kernel():
                if not all(target.connection.ports.values()):
                    raise ValueError("the kernel does not serve yet: start it first, or give its handler")
                yield Running(target.connection, shared, target)
            case ConnectionInfo():
                yield Running(target, shared)
            case str() if not _is_file(target):
                with _launched(target, shared, deadline) as found:
                    yield found
            case _:
                yield Running(load_connection_file(target), shared)
    finally:
        if own is not None:
            own.term()


def _is_file(given: str) -> bool:
    return given.endswith(".json") or os.sep in given or Path(given).is_file()


@contextmanager
def _launched(name: str, context: Context, deadline: Callable[[], float]) -> Iterator[Running]:
    with launch(name, timeout=deadline()) as bridge:
        # When this is done, all that the bridge itself has asked at the start is answered and published.
        bridge.execute("", silent=True).result(deadline())
        connection = bridge.connection
        if connection is None:
            raise RuntimeError("a kernel that is ready has no connection")
        yield Running(
            connection, context, bridge=bridge, fate=lambda: f"the bridge that launched it says: {bridge.status}"
        )


class _Announced(Kernel):
    """A kernel that says when its handler has started. Its Shell answers before."""

    def __init__(self, handler: Handler, connection: ConnectionInfo, context: Context, clock: Clock | None) -> None:
        super().__init__(handler, connection, context=context, clock=clock)
        self.begun = threading.Event()

    def _ready(self) -> None:
        super()._ready()
        self.begun.set()


class _Serving(threading.Thread):
    """Serves a kernel, and says at `address` that it has ended. `failure` is what `serve` raised."""

    def __init__(self, kernel: _Announced, context: Context, address: str) -> None:
        super().__init__(name="kernelbridge-testing-kernel", daemon=True)
        self._kernel = kernel
        self._context = context
        self._address = address
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._kernel.serve()
        except BaseException as failure:  # noqa: BLE001 - raised in the thread of the test.
            self.failure = failure
        finally:
            self._kernel.begun.set()
            self._tell()

    def _tell(self) -> None:
        try:
            with self._context.socket(zmq.PAIR) as ended:
                ended.connect(self._address)
                ended.send(b"")
        except zmq.ZMQError as refusal:
            # A client that was not willing to wait any longer has ended the context.
            logger.debug("nobody hears of the kernel's end: %s", refusal)


@contextmanager
def _served(
    handler: Handler, context: Context, deadline: Callable[[], float], clock: Clock | None
) -> Iterator[Running]:
    name = f"kernelbridge-testing-{secrets.token_hex(8)}"
    # Known beforehand, so that a client can be there before the kernel is.
    ports = {channel: number for number, channel in enumerate(CHANNELS, 1)}
    info = ConnectionInfo(transport="inproc", ip=name, key=random_key()).with_ports(ports)
    kernel = _Announced(handler, info, context, clock)
    ended = context.socket(zmq.PAIR)
    serving = _Serving(kernel, context, f"inproc://{name}-ended")
    ended.bind(f"inproc://{name}-ended")

    def fate() -> str:
        return "" if serving.failure is None else f"it raised {serving.failure!r}"

    try:
        yield Running(info, context, kernel, ended=ended, fate=fate, start=serving.start, begun=kernel.begun.wait)
    finally:
        kernel.stop()
        if serving.ident is not None:
            serving.join(deadline())
        ended.close(0)
    if serving.is_alive():
        raise TimeoutError(f"the kernel's handler has not returned {deadline():g} s after the kernel was stopped")
    if serving.failure is not None:
        raise serving.failure
