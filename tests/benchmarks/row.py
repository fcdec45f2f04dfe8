"""What a row of the table is: what is done to each kernel, how often, and what is owed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .process import KERNELS, Subject


class Trial(NamedTuple):
    """What one trial measured, in the row's unit, and what has to be said about it."""

    samples: list[float]
    note: str = ""


@dataclass(frozen=True)
class Limit:
    """What a row owes: at most (or, where more is better, at least) `factor` times a figure.

    `of` names whose figure: a kernel in the same row, or another row of the same kernel; empty for an absolute limit.
    `plus` is added to that, in the row's unit.
    """

    factor: float
    of: str = ""
    plus: float = 0


@dataclass(frozen=True)
class Row:
    """One row: `trial` is given a subject and a count and may be run any number of times.

    `counts` are the kernels that are asked for another count. `rounds` limits the rounds of a row that is slow.
    """

    name: str
    title: str
    unit: str
    better: Literal["less", "more"]
    count: int
    trial: Callable[[Subject, int], Trial]
    reach: tuple[Limit, ...] = ()
    aim: tuple[Limit, ...] = ()
    kernels: tuple[str, ...] = KERNELS
    counts: Mapping[str, int] = field(default_factory=dict)
    rounds: int = 1000
