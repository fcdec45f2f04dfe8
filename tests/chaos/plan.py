"""What is done: steps, each made from the seed and its own name, so that one can be done again alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final, Literal

import attrs

from kernelbridge.frontend.files import LaunchTransport

Kind = Literal["kill", "stop", "frontend"]

PHASES: Final[dict[Kind, tuple[str, ...]]] = {
    # kill -9 of the kernel.
    "kill": ("starting", "idle", "running", "queued", "interrupting", "restarting"),
    # SIGSTOP of the kernel; `continued` with a SIGCONT behind it.
    "stop": ("starting", "idle", "running", "continued", "restarting", "closing"),
    # kill -9 of the frontend.
    "frontend": ("launching", "idle", "running", "restarting", "closing"),
}

_WEIGHTS: Final = {"kernelbridge": 5, "python3": 4, "deno": 1}
_TRANSPORTS: Final[tuple[LaunchTransport | None, ...]] = ("ipc", "tcp", None)


@attrs.frozen
class Step:
    """One launch that does not go well. `transport` is what is given to `launch`: None leaves it the choice."""

    kind: Kind
    number: int
    seed: int
    phase: str
    kernel: str
    transport: LaunchTransport | None

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"

    def random(self) -> Random:
        """Return where all that is random in the step comes from."""
        return Random(f"{self.seed} {self.name} moments")

    def __str__(self) -> str:
        return f"{self.name}: {self.kernel} ({self.transport or 'any transport'}), {self.kind} while {self.phase}"


def make_step(seed: int, kind: Kind, number: int, kernels: Sequence[str]) -> Step:
    """Return the step of this name. It depends on the seed and on the `kernels` that there are, and on nothing else."""
    random = Random(f"{seed} {kind}-{number}")
    kernel = random.choices(kernels, [_WEIGHTS[name] for name in kernels])[0]
    # Deno knows TCP alone, so on IPC it would only fail to start.
    transport = random.choice(_TRANSPORTS[1:] if kernel == "deno" else _TRANSPORTS)
    return Step(kind, number, seed, PHASES[kind][number % len(PHASES[kind])], kernel, transport)


def make_plan(seed: int, counts: Mapping[Kind, int], kernels: Sequence[str]) -> list[Step]:
    """Return as many steps of each kind as `counts` says, the kinds evenly mixed."""
    placed = [
        (number / count, make_step(seed, kind, number, kernels))
        for kind, count in counts.items()
        for number in range(count)
    ]
    return [step for _, step in sorted(placed, key=lambda placed_step: placed_step[0])]


def named_step(seed: int, name: str, kernels: Sequence[str]) -> Step:
    """Return the step of a name such as ``kill-17``. Raises `ValueError` for what is no such name."""
    kind, _, number = name.partition("-")
    for known in PHASES:
        if kind == known and number.isdecimal():
            return make_step(seed, known, int(number), kernels)
    raise ValueError(f"no step {name!r}: steps are named as kill-0, stop-0 and frontend-0 are")
