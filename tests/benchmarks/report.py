"""From samples to the table: medians, ratios of medians, and whether each limit is met."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table

from .row import Limit, Row

OURS = "kernelbridge"


@dataclass
class Result:
    """All that was measured of one kernel in one row; `failed` says why there is no more of it."""

    samples: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""

    @property
    def median(self) -> float | None:
        """The median of the samples, None where there are none."""
        return statistics.median(self.samples) if self.samples else None


# By the row's name, then the kernel's.
Results = dict[str, dict[str, Result]]


def figure(results: Results, row: str, kernel: str) -> float | None:
    """The median of a kernel in a row, None where it was not measured."""
    result = results.get(row, {}).get(kernel)
    return result.median if result else None


def verdict(results: Results, row: Row, limits: Sequence[Limit]) -> str:
    """`met`, `missed`, or nothing where a figure is not there to judge by."""
    ours = figure(results, row.name, OURS)
    if not limits or ours is None:
        return ""
    for limit in limits:
        theirs = _compared(results, row, limit)
        if theirs is None:
            return ""
        owed = limit.factor * theirs + limit.plus
        if ours > owed if row.better == "less" else ours < owed:
            return "missed"
    return "met"


def _compared(results: Results, row: Row, limit: Limit) -> float | None:
    if not limit.of:
        return 1.0
    if limit.of in results:
        return figure(results, limit.of, OURS)
    return figure(results, row.name, limit.of)


def owed(row: Row, limits: Sequence[Limit]) -> str:
    """The limits as text."""
    sign = "<=" if row.better == "less" else ">="
    return ", ".join(f"{sign} {_limit(row, limit)}" for limit in limits)


def _limit(row: Row, limit: Limit) -> str:
    if not limit.of:
        return f"{limit.factor:g} {row.unit}".strip()
    more = f" + {limit.plus:g} {row.unit}".rstrip() if limit.plus else ""
    return f"{limit.factor:g} x {limit.of}{more}"


def table(rows: Sequence[Row], kernels: Sequence[str], results: Results) -> Table:
    """The table, in Markdown, one line a row."""
    peers = [kernel for kernel in ("ipykernel", "floor", "xeus") if kernel in kernels and OURS in kernels]
    made = Table(box=box.MARKDOWN, show_edge=True)
    made.add_column("row", no_wrap=True)
    made.add_column("unit", no_wrap=True)
    for heading in (*kernels, *(f"/ {peer}" for peer in peers)):
        made.add_column(heading, justify="right", no_wrap=True)
    for heading in ("reach", "", "aim", ""):
        made.add_column(heading, no_wrap=True)
    for row in rows:
        ours = figure(results, row.name, OURS)
        made.add_row(
            row.title,
            row.unit,
            *(_cell(results[row.name].get(kernel)) for kernel in kernels),
            # Of a peer that was asked for another count there is no ratio.
            *("-" if peer in row.counts else _ratio(ours, figure(results, row.name, peer)) for peer in peers),
            owed(row, row.reach),
            verdict(results, row, row.reach),
            owed(row, row.aim),
            verdict(results, row, row.aim),
        )
    return made


def remarks(rows: Sequence[Row], results: Results) -> list[str]:
    """What has to be said about the figures: other counts, losses, failures."""
    lines = []
    for row in rows:
        for kernel, result in results[row.name].items():
            said = [f"failed: {result.failed}"] if result.failed else []
            said = [*(f"{result.notes.count(note)} x {note}" for note in dict.fromkeys(result.notes)), *said]
            if kernel in row.counts:
                said.insert(0, f"asked for {row.counts[kernel]:,} instead of {row.count:,}")
            if said:
                lines.append(f"{row.title}, {kernel}: {'; '.join(said)}")
    return lines


def as_json(results: Results) -> dict[str, object]:
    """All samples, for a file."""
    return {
        row: {kernel: {"median": result.median, **asdict(result)} for kernel, result in by_kernel.items()}
        for row, by_kernel in results.items()
    }


def show(made: Table, lines: Sequence[str]) -> None:
    """Print the table and the remarks, in their whole width whatever the terminal's: a figure cut off is none."""
    console = Console(width=250)
    console.print(made)
    for line in lines:
        console.print(f"- {line}", highlight=False, markup=False, soft_wrap=True)


def _cell(result: Result | None) -> str:
    if result is None:
        return "-"
    if result.median is None:
        return "failed"
    mark = "*" if result.notes or result.failed else ""
    return f"{_rounded(result.median)}{mark}"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "-" if ours is None or not theirs else f"{ours / theirs:.2f}"


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
