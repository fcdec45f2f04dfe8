"""How a pool's kernels come and go: started, warmed up, and ended when nobody wants them, on one thread.

Whether to start one is asked (stock.py); what has become of it is told.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.service import OnCrash, Service
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.frontend.bridge import Bridge, Kept, Policy, launch
from kernelbridge.frontend.errors import BridgeError, KernelStartError
from kernelbridge.frontend.execution import Execution
from kernelbridge.frontend.files import LaunchTransport
from kernelbridge.frontend.output_store import OutputStore
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import Limits

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpec


class LaunchOptions(TypedDict, total=False):
    """What each kernel of a pool is launched with; see `launch`."""

    cwd: str | os.PathLike[str] | None
    env: Mapping[str, str | None] | None
    extra_arguments: Sequence[str]
    transport: LaunchTransport | None
    curve: bool
    context: Context | None
    clock: Clock | None
    timeout: float | None
    limits: Limits
    beat_seconds: float | None
    restart_limit: int
    output_store: OutputStore | None
    kernelspec: KernelSpec | None


class Starter(Service):
    """Does one job after the other, and starts kernels between them as long as any are `wanted`.

    Takes what they are launched with, code to `warm_up` with, and the `lock` that guards what is `held`. Called on the
    thread: `on_start` with a kernel that has started, `on_failure` with why one has not. Called on any thread:
    `on_death` with one that is held and has died.
    """

    def __init__(
        self,
        kernel_name: str,
        options: LaunchOptions,
        policy: Policy,
        warm_up: str,
        lock: threading.Lock,
        *,
        wanted: Callable[[], bool],
        on_start: Callable[[Bridge], object],
        on_failure: Callable[[Exception], object],
        on_death: Callable[[Bridge], object],
        on_crash: OnCrash,
    ) -> None:
        super().__init__("frontend-pool", on_crash)
        self._kernel_name = kernel_name
        self._options = options
        self._kept = Kept(policy, on_death)
        self._warm_up = warm_up
        self._lock = lock
        self._wanted = wanted
        self._on_start = on_start
        self._on_failure = on_failure
        self.held: set[Bridge] = set()
        """All that were not handed over yet, and so are to be closed here. Guarded by the lock."""
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._gone = threading.Event()

    # For any thread

    def do(self, job: Callable[[], object]) -> None:
        """Have `job` done, unless the thread ends before."""
        self._jobs.put(job)

    def ring(self) -> None:
        """Have it asked whether a kernel is wanted."""
        self._jobs.put(self._start_wanted)

    def discard(self, bridge: Bridge) -> None:
        """Have a kernel ended that nobody wants."""
        self.do(partial(self.end, bridge))

    def end(self, bridge: Bridge) -> None:
        """End a kernel, and wait for that."""
        bridge.close(grace=0)
        self.forget(bridge)

    def forget(self, bridge: Bridge) -> None:
        """Learn that a kernel has ended."""
        with self._lock:
            self.held.discard(bridge)
        self.ring()

    def wake(self) -> None:
        self._jobs.put(None)

    def close(self, grace: float) -> None:
        """End the thread, and all that is held. Returns when nothing of it is left; again does the same."""
        self.wake()
        # Thread.join does not bear a signal handler that raises (bpo-45274).
        self._gone.wait()
        self.stop()
        with self._lock:
            held = list(self.held)
        for bridge in held:
            # All at once, since each takes its time. One that is not ready is killed, which takes none.
            if bridge.kernel_info_reply:
                bridge.shutdown(grace=grace)
        for bridge in held:
            bridge.close(grace=grace)
        with self._lock:
            self.held.clear()

    # On the thread

    def run(self) -> None:
        self.ready()
        try:
            self._start_wanted()
            while (job := self._jobs.get()) is not None:
                job()
                self._start_wanted()
        finally:
            self._gone.set()

    def _start_wanted(self) -> None:
        while self._wanted():
            try:
                bridge = launch(self._kernel_name, on_death=self._kept, **self._options)
            except (BridgeError, WireError) as error:
                self._on_failure(error)
                continue
            with self._lock:
                self.held.add(bridge)
            bridge._link.ready.add_done_callback(partial(self._is_ready, bridge))

    def _is_ready(self, bridge: Bridge, _: object) -> None:
        self.do(partial(self._warm, bridge))

    def _warm(self, bridge: Bridge) -> None:
        try:
            bridge.wait_ready(0)
        except BridgeError as error:
            self._failed(bridge, error)
        else:
            if self._warm_up:
                run(bridge, self._warm_up, lambda ran: self.do(partial(self._warmed, bridge, ran)))
            else:
                self._on_start(bridge)

    def _warmed(self, bridge: Bridge, execution: Execution) -> None:
        try:
            problem = problem_of(execution)
        except BridgeError as death:
            self._failed(bridge, death)
        else:
            if problem is None:
                self._on_start(bridge)
            else:
                error = KernelStartError(f"kernel {self._kernel_name!r} has failed to warm up: {problem}")
                self._failed(bridge, error)

    def _failed(self, bridge: Bridge, error: Exception) -> None:
        self._on_failure(error)
        self.end(bridge)


def run(bridge: Bridge, code: str, then: Callable[[Execution], object]) -> None:
    """Have a kernel run code silently, and call `then` when that has ended, on whichever thread hears of it."""
    execution = bridge.execute(code, silent=True)
    execution.running.when_done(lambda: then(execution))


def problem_of(execution: Execution) -> str | None:
    """Return what is wrong with an execution that has ended. Raises what has ended it if there is no reply."""
    reply = execution.result(0).content
    if reply.get("status") == "ok":
        return None
    return f"{reply.get('ename')}: {reply.get('evalue')}"


def death_of(bridge: Bridge) -> BridgeError:
    """Return how a kernel has died that has."""
    try:
        bridge.kernel_info().result(0)
    except BridgeError as death:
        return death
    raise RuntimeError(f"{bridge!r} has not died")
