"""What a check says: rules, what each kernel did about each of them, and all of it together.

Plain values, for whoever shows them; nothing here looks at a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import attrs

__all__ = ["Checked", "Measure", "OnProgress", "Progress", "Report", "Rule", "Status", "Verdict", "Weight"]

Weight = Literal["error", "expectation", "measure"]
"""What a violation means. ``error``: the messaging specification says otherwise. ``expectation``: the specification is
silent, and what the kernel does will surprise whoever sits before it. ``measure``: there is nothing to violate, only a
number."""

Status = Literal["held", "violated", "died", "hung", "not applicable", "not measured"]
"""``died``: the kernel's process ended while the rule was tried. ``hung``: it did not answer within the rule's
deadline. ``not applicable``: the kernel's language, or what it says of itself, has nothing to show it with. ``not
measured``: the rule could not be tried, and the note says why."""


@attrs.frozen
class Rule:
    """One rule of the protocol."""

    id: str
    """A theme and a name, such as ``order.print-comm``."""
    title: str
    """What holds, in one line."""
    source: str
    """Where that is said: a section of the messaging specification, a JEP, a line of kernelbridge's contract."""
    weight: Weight = "error"

    @property
    def theme(self) -> str:
        """The first part of the id."""
        return self.id.partition(".")[0]


@attrs.frozen
class Measure:
    """A number, and what it is the number of."""

    value: float
    unit: str
    """``s``, ``messages``."""
    what: str
    """Such as ``median``."""

    def __str__(self) -> str:
        if self.unit != "s":
            return f"{self.value:,.0f} {self.unit}"
        return f"{self.value * 1000:.1f} ms" if self.value < 1 else f"{self.value:.2f} s"


@attrs.frozen
class Verdict:
    """What one kernel did about one rule."""

    rule: Rule
    kernel: str
    """The name that the kernel was asked for by."""
    status: Status
    trials: int = 0
    """How often the rule was tried to the end."""
    violations: int = 0
    """In how many of these trials it did not hold."""
    measure: Measure | None = None
    note: str = ""
    """One line: why there is no result, or what the first violation was."""
    example: str = ""
    """The lines of the first violation, or of what could not be measured: what was wrong, and all that was sent and
    received."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def is_failure(self) -> bool:
        """Whether the kernel breaks the protocol here. A rule that is only an expectation or a measure breaks none."""
        return self.is_deviation and self.rule.weight == "error"

    @property
    def is_deviation(self) -> bool:
        """Whether the rule did not hold, whatever its weight."""
        return self.status in ("violated", "died", "hung")


@attrs.frozen
class Checked:
    """One kernel: what it says of itself (empty where it says nothing), and its verdicts in the order of the rules."""

    name: str
    implementation: str = ""
    implementation_version: str = ""
    language: str = ""
    language_version: str = ""
    protocol_version: str = ""
    verdicts: Sequence[Verdict] = ()
    problem: str = ""
    """Why there are no verdicts: one line, empty where there are."""
    seconds: float = 0.0

    def verdict(self, rule: Rule) -> Verdict | None:
        """Return what this kernel did about the rule."""
        return next((verdict for verdict in self.verdicts if verdict.rule.id == rule.id), None)


@attrs.frozen
class Report:
    """All of a check."""

    rules: Sequence[Rule]
    """Those that were tried, in order."""
    kernels: Sequence[Checked]
    """In the order in which they were asked for."""
    trials: int
    """The number of trials that was asked for. Rules that take seconds each do fewer."""
    seconds: float

    @property
    def failures(self) -> list[Verdict]:
        """The verdicts by which a kernel breaks the protocol."""
        return [verdict for kernel in self.kernels for verdict in kernel.verdicts if verdict.is_failure]

    @property
    def problems(self) -> list[Checked]:
        """The kernels that could not be checked."""
        return [kernel for kernel in self.kernels if kernel.problem]


@attrs.frozen
class Progress:
    """How far a check is. Told before each rule, with no verdict, and after it, with one."""

    kernel: str
    rule: Rule
    done: int
    """How many verdicts of all kernels there are."""
    total: int
    verdict: Verdict | None = None


OnProgress = Callable[[Progress], None]
