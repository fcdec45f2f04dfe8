"""How a rule is tried: a function that tries it once, and how often and how long it may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from statistics import median
from types import ModuleType
from typing import Any, Final, Protocol

import attrs

from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.testing.check.failures import NotMeasured
from kernelbridge.testing.check.model import Measure, Rule, Weight
from kernelbridge.testing.check.observer import Handled, Observer
from kernelbridge.testing.check.samples import Samples, Statement, marks
from kernelbridge.wire.connection import ConnectionInfo
from kernelbridge.wire.messages import Message

__all__ = ["LATENCY", "LOST", "Kind", "Procedure", "Running", "Trial", "procedures_of", "rule"]

_TRIAL_SECONDS: Final = 10.0
_RULE_SECONDS: Final = 1.5


class Running(Protocol):
    """A kernel that runs."""

    @property
    def connection(self) -> ConnectionInfo: ...

    @property
    def context(self) -> Context: ...

    @property
    def info(self) -> Mapping[str, Any]:
        """Content of its kernel_info_reply."""

    def interrupt(self) -> None:
        """Interrupt what runs, as its kernelspec says: by a signal or by a request."""


@attrs.define
class Trial:
    """One trial of a rule."""

    number: int
    """From 0."""
    kernel: Observer
    running: Running
    samples: Samples
    doing: str = ""
    """What is tried, where a rule tries several things; a note of its failure begins so."""
    measured: float | None = None
    """What was measured, if anything was."""
    abandoned: bool = False
    """Set when the kernel is no use for further trials, which then get a new one."""

    _base: int = attrs.field(factory=partial(next, count(1_000_000, 1_000)), init=False)

    def cell(self, *steps: tuple[Statement, int] | Statement) -> str:
        """Return a cell of samples, whose marks are this trial's own. Raises `NotApplicable`."""
        return self.samples.cell(*(self._own(step) for step in steps))

    def _own(self, step: tuple[Statement, int] | Statement) -> tuple[Statement, int] | Statement:
        if isinstance(step, str) or step[0] not in _MARKED:
            return step
        return step[0], step[1] + self._base

    def marks(self, messages: Iterable[Message]) -> list[tuple[str, int]]:
        """Return the kinds and numbers of this trial's own marks: what comes late of another is not its business."""
        own = [(kind, number if kind == "error" else number - self._base) for kind, number in marks(messages)]
        return [(kind, number) for kind, number in own if 0 <= number < _MOST_MARKS]

    def run(self, *steps: tuple[Statement, int] | Statement, **options: Any) -> Handled:
        """Run a cell of samples, which has to succeed. Raises `NotMeasured` if it does not."""
        return self.succeeded(self.kernel.run(self.cell(*steps), **options))

    def succeeded(self, handled: Handled) -> Handled:
        """Return what was given, if it says that all is well."""
        if handled.status != "ok":
            content = handled.reply.content
            raise NotMeasured(f"the sample does not run: {content.get('ename')}: {content.get('evalue')}")
        return handled


@attrs.frozen
class Kind:
    """What the numbers of the trials are, and how they are made one."""

    unit: str
    what: str
    combine: Callable[[Iterable[float]], float]

    def measure(self, values: list[float]) -> Measure | None:
        return Measure(self.combine(values), self.unit, self.what) if values else None


LATENCY: Final = Kind("s", "median", median)
LOST: Final = Kind("messages", "lost", sum)

_MARKED: Final = ("print", "stderr", "display", "result", "comm", "input")
"""The statements whose numbers are marks. An error's is one as well, and stays small: a shell has 255 of them."""

_MOST_MARKS: Final = 1_000

Try = Callable[[Trial], str]
"""Tries a rule once, and returns what was wrong, on one line, or nothing. May raise what `failures` has."""


@attrs.frozen
class Procedure:
    """A rule, and how it is tried."""

    rule: Rule
    try_once: Try
    needs: tuple[Statement, ...] = ()
    """What the samples of the language must have."""
    most: int = 1000
    """How often at most it is tried, however many trials were asked for."""
    variants: int = 0
    """How many different things it tries, each once: `Trial.number` says which. A kernel that dies of one, or hangs,
    has violated the rule once, and another is started for the next."""
    seconds: float = _TRIAL_SECONDS
    """How long one trial may take."""
    budget: float = _RULE_SECONDS
    """After how many seconds no further trial is begun."""
    fresh: bool = False
    """Whether it is tried on a kernel that has done nothing else, at the end."""
    kind: Kind | None = None
    alone: bool = False
    """Whether it is tried when no other kernel is: what it finds depends on what else the machine does."""


def rule(
    id: str,
    title: str,
    source: str,
    weight: Weight = "error",
    **how: Any,
) -> Callable[[Try], Procedure]:
    """Make a function that tries a rule once into its procedure. `how` holds the fields of `Procedure`."""

    def make(try_once: Try) -> Procedure:
        return Procedure(Rule(id, title, source, weight), try_once, **how)

    return make


def procedures_of(*modules: ModuleType) -> tuple[Procedure, ...]:
    """Return the procedures that modules define, in the order in which they do."""
    return tuple(value for module in modules for value in vars(module).values() if isinstance(value, Procedure))
