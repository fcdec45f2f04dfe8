"""A step in which a kernel is killed or stopped at a random moment."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Final

from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.errors import BridgeError, KernelStartError
from kernelbridge.frontend.execution_states import State
from kernelbridge.testing import DEADLINE
from tests.chaos.kernels import CODES, START_SECONDS, Processes
from tests.chaos.ledger import Ledger
from tests.chaos.plan import Step

_BEAT_SECONDS: Final = 0.5
"""A stopped kernel is found within 2 s."""

_START_TIMEOUT: Final = 5.0
"""For a kernel that is stopped while it starts: nothing else ends that."""

_DIED: Final = frozenset({State.DIED})
_OK: Final = frozenset({State.OK})
_EITHER: Final = _DIED | _OK


class KernelStep:
    """Performs one step. `mark` is what the environment of its kernels has more."""

    def __init__(self, step: Step, mark: dict[str, str]) -> None:
        self._step = step
        self._mark = mark
        self._random = step.random()
        self._codes = CODES[step.kernel]
        self._ledger = Ledger()
        self._processes = Processes()
        self._disturb = signal.SIGKILL if step.kind == "kill" else signal.SIGSTOP
        self._disturbed_at = 0.0

    def perform(self) -> float | None:
        """Return in how many seconds an idle kernel's death was seen; None for another step."""
        stops_at_start = (self._step.kind, self._step.phase) == ("stop", "starting")
        with self._processes.watched():
            bridge = launch(
                self._step.kernel,
                transport=self._step.transport,
                env=self._mark,
                timeout=_START_TIMEOUT if stops_at_start else DEADLINE,
                beat_seconds=_BEAT_SECONDS,
            )
            try:
                seen_after = self._go_on(bridge)
            finally:
                bridge.close()
        self._ledger.hold_ends()
        return seen_after

    def _go_on(self, bridge: Bridge) -> float | None:
        statuses = bridge.subscribe(types={"status"}, backlog=None)
        dies = PHASES[self._step.phase](self, bridge)
        seen_after = None
        if dies:
            while statuses.get(DEADLINE).content["execution_state"] != "dead":
                pass
            if self._step.kind == "kill" and self._step.phase == "idle":
                seen_after = time.monotonic() - self._disturbed_at
            assert bridge.status == "dead"
            self._ledger.settle()
            if self._random.random() < 0.25:
                bridge.restart()
                self._ledger.execute(bridge, self._codes.quick, _OK)
        self._ledger.settle()
        bridge.close()
        if dies:
            left = [message.content["execution_state"] for message in statuses]
            assert "dead" not in left, f"it has died again: {left}"
        return seen_after

    def _strike(self) -> None:
        self._disturbed_at = time.monotonic()
        self._processes.signal_newest(self._disturb)

    def _pause(self, most: float) -> None:
        time.sleep(self._random.uniform(0, most))

    def _endless(self) -> str:
        return self._random.choice([self._codes.prints, self._codes.sleeps])

    # Phases. Each returns whether the kernel is dead now, or about to be, for sure.

    def _starting(self, bridge: Bridge) -> bool:
        for _ in range(3):
            # If it is started a second time, they end well.
            self._ledger.execute(bridge, self._codes.quick, _EITHER)
        self._processes.wait_for_first()
        self._pause(START_SECONDS[self._step.kernel])
        self._strike()
        try:
            bridge.wait_ready(DEADLINE)
        except KernelStartError:
            assert bridge.status == "dead"
        return False

    def _idle(self, bridge: Bridge) -> bool:
        bridge.wait_ready()
        self._pause(0.05)
        self._strike()
        self._ledger.execute(bridge, self._codes.quick, _DIED)
        return True

    def _running(self, bridge: Bridge) -> bool:
        bridge.wait_ready()
        execution = self._ledger.execute(bridge, self._codes.prints, _DIED)
        if self._random.random() < 0.5:
            next((message for message in execution if message.msg_type == "stream"), None)
        self._pause(0.1)
        self._strike()
        return True

    def _queued(self, bridge: Bridge) -> bool:
        bridge.wait_ready()
        self._ledger.execute(bridge, self._endless(), _DIED)
        may_be = [self._ledger.execute(bridge, self._codes.quick, {State.DIED, State.ABORTED}) for _ in range(8)]
        canceller = threading.Thread(target=lambda: [one.cancel() for one in may_be[::2]])
        canceller.start()
        if self._random.random() < 0.5:
            self._pause(0.05)
        self._strike()
        canceller.join()
        return True

    def _interrupting(self, bridge: Bridge) -> bool:
        bridge.wait_ready()
        self._ledger.execute(bridge, self._endless(), {State.INTERRUPTED, State.DIED})
        self._ledger.execute(bridge, self._codes.quick, {State.ABORTED, State.DIED})
        self._pause(0.1)
        interrupt_first = self._random.random() < 0.7
        if interrupt_first:
            bridge.interrupt()
            self._ledger.execute(bridge, self._codes.quick, _EITHER)
            self._pause(0.03)
            self._strike()
        else:
            self._strike()
            bridge.interrupt()
        return True

    def _restarting(self, bridge: Bridge) -> bool:
        bridge.wait_ready()
        self._ledger.execute(bridge, self._endless(), _DIED)
        grace = self._random.choice([0.0, 0.3, 1.0])
        raised: list[BaseException] = []

        def restart() -> None:
            try:
                bridge.restart(grace=grace)
            except BridgeError as error:
                raised.append(error)

        if self._step.kind == "stop":
            self._strike()
            self._pause(0.2)
            restart()
            assert not raised
            self._ledger.execute(bridge, self._codes.quick, _OK)
            return False
        restarter = threading.Thread(target=restart)
        restarter.start()
        self._pause(grace + START_SECONDS[self._step.kernel])
        self._strike()
        self._ledger.execute(bridge, self._codes.quick, _EITHER)
        restarter.join()
        return False

    def _continued(self, bridge: Bridge) -> bool:
        bridge.wait_ready()
        self._strike()
        for _ in range(3):
            self._ledger.execute(bridge, self._codes.quick, _EITHER)
        self._pause(2.5)
        self._processes.signal_newest(signal.SIGCONT)
        return False

    def _closing(self, bridge: Bridge) -> bool:
        bridge.wait_ready()
        self._ledger.execute(bridge, self._endless(), _DIED)
        self._pause(0.1)
        self._strike()
        bridge.close(grace=0.2)
        return False


PHASES: Final[dict[str, Callable[[KernelStep, Bridge], bool]]] = {
    "starting": KernelStep._starting,
    "idle": KernelStep._idle,
    "running": KernelStep._running,
    "queued": KernelStep._queued,
    "interrupting": KernelStep._interrupting,
    "restarting": KernelStep._restarting,
    "continued": KernelStep._continued,
    "closing": KernelStep._closing,
}
