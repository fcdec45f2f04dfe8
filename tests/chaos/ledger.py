"""What was asked for, and how it has ended: each execution once, as it may end, with a result that says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from typing import Final

from kernelbridge.frontend.bridge import Bridge
from kernelbridge.frontend.errors import BridgeError
from kernelbridge.frontend.execution import Execution
from kernelbridge.frontend.execution_states import State
from kernelbridge.testing import DEADLINE

_STATUS: Final = {State.OK: "ok", State.ERROR: "error", State.ABORTED: "aborted", State.INTERRUPTED: "error"}


class Ledger:
    """Asks for executions and keeps them. Any thread may ask."""

    def __init__(self) -> None:
        self._asked: list[tuple[Execution, frozenset[State]]] = []
        self._ends: Counter[str] = Counter()

    def execute(self, bridge: Bridge, code: str, may_end: Set[State]) -> Execution:
        """Ask for an execution that has to end in one of these states."""
        execution = bridge.execute(code)
        self._asked.append((execution, frozenset(may_end)))
        execution.when_done(lambda: self._ends.update([execution.msg_id]))
        return execution

    def settle(self) -> None:
        """Hold that all end, as they may. Waits for each at most as long as a test waits."""
        for execution, may_end in self._asked:
            state = execution.wait(DEADLINE)
            assert state in may_end, f"{execution!r} of {execution.code!r} is {state}, not one of {sorted(may_end)}"
            try:
                said = execution.result(0).content["status"]
                agrees = said == _STATUS.get(state)
            except BridgeError as error:
                said = repr(error)
                agrees = state is State.DIED
            assert agrees, f"{execution!r} is {state}, and its result says {said}"
            # It ends, too.
            list(execution)

    def hold_ends(self) -> None:
        """Hold, when all threads have ended that could tell of an end, that each was told of once."""
        ends = {execution.msg_id: self._ends[execution.msg_id] for execution, _ in self._asked}
        assert all(count == 1 for count in ends.values()), f"ends that were told of: {ends}"
        for execution, may_end in self._asked:
            assert execution.state in may_end, f"{execution!r} has become {execution.state} after its end"
