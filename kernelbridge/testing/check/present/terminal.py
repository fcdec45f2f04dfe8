"""A report on a terminal: kernels beside each other, rule by rule, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kernelbridge.testing.check.model import Checked, Report, Rule
from kernelbridge.testing.check.present.words import (
    LEGEND,
    Cell,
    Footnotes,
    Kind,
    by_theme,
    capital,
    cell,
    identity,
    plain,
    summary,
    totals,
)

__all__ = ["show_report", "show_rules"]

_STYLES: Final[dict[Kind, str]] = {
    "held": "green",
    "failure": "bold red",
    "surprise": "yellow",
    "number": "default",
    "not applicable": "dim",
    "not measured": "dim",
}

_ASCII: Final = str.maketrans({"✓": "ok", "✗": "X"})

_PADDING: Final = 2
"""How many columns of a terminal each column of a table has beside its text."""

_LEAST_TITLE: Final = 40
"""How wide the titles of rules must be able to stand to be shown beside their ids."""

_LEAST_LIST: Final = 100
"""How wide a terminal must be for the list of rules to be a table."""


def show_report(report: Report, console: Console) -> None:
    """Print the report: its tables, what they mean, the footnotes, and the sum."""
    _Tables(report, console).show()


def show_rules(rules: Iterable[Rule], console: Console) -> None:
    """Print the rules: ids, what holds, where that is said; beside each other where there is room for that."""
    if console.width < _LEAST_LIST:
        for rule in rules:
            for indent, part in ((0, rule.id), (2, rule.title), (2, f"{rule.weight}: {rule.source}")):
                console.print(Padding(Text(plain(part)), (0, 0, 0, indent)))
        return
    table = Table(box=None, padding=(0, _PADDING, 0, 0), header_style="bold")
    for name in ("rule", "what holds", "weight", "source"):
        table.add_column(name, overflow="fold")
    for theme_rules in by_theme(rules).values():
        for rule in theme_rules:
            table.add_row(*(Text(plain(part)) for part in (rule.id, rule.title, rule.weight, rule.source)))
    console.print(table)


class _Tables:
    def __init__(self, report: Report, console: Console) -> None:
        self._report = report
        self._console = console
        self._notes = Footnotes()
        self._ids = max((len(rule.id) for rule in report.rules), default=0) + _PADDING
        self._columns = [(kernel, self._column(kernel)) for kernel in report.kernels]

    def show(self) -> None:
        for kernels in self._rows_of_kernels():
            self._console.print(self._table(kernels))
            self._console.print()
        for mark, meaning in LEGEND:
            self._line(f"{mark:<8}{meaning}", "dim")
        for kernel in self._report.kernels:
            about = f"not checked: {kernel.problem}" if kernel.problem else identity(kernel)
            self._line(f"{kernel.name}: {about}", "bold red" if kernel.problem else "default")
        for number, note in self._notes.items():
            self._line(f"[{number}] {note}")
        failed = self._report.failures or self._report.problems
        self._line(capital(summary(self._report)) + ".", "bold red" if failed else "bold green")

    def _line(self, text: str, style: str = "default") -> None:
        self._console.print(self._text(text, style), soft_wrap=not self._console.is_terminal)

    def _text(self, text: str, style: str) -> Text:
        return Text(plain(text).translate(_ASCII if self._console.options.ascii_only else {}), style)

    def _rows_of_kernels(self) -> list[list[Checked]]:
        """Return the kernels that have room beside each other; one has to, however narrow the terminal."""
        rows: list[list[Checked]] = []
        left = 0
        for kernel, width in self._columns:
            if not rows or width > left:
                rows.append([])
                left = self._console.width - self._ids
            rows[-1].append(kernel)
            left -= width
        return rows

    def _column(self, kernel: Checked) -> int:
        # Room for the number of a footnote.
        cells = [len(self._said(cell(kernel.verdict(rule)))) + len(" [00]") for rule in self._report.rules]
        return max(len(plain(kernel.name)), len(totals(kernel)), *cells, 0) + _PADDING

    def _said(self, found: Cell) -> str:
        return self._text(str(found), "").plain

    def _table(self, kernels: Sequence[Checked]) -> Table:
        table = Table(box=None, padding=(0, _PADDING, 0, 0), header_style="bold")
        table.add_column("rule", no_wrap=True, overflow="ellipsis")
        used = self._ids + sum(width for kernel, width in self._columns if kernel in kernels)
        titles = self._console.width - used >= _LEAST_TITLE
        if titles:
            table.add_column("what holds", overflow="fold")
        for kernel in kernels:
            table.add_column(Text(plain(kernel.name)), no_wrap=True)
        between = [""] if titles else []
        for theme, rules in by_theme(self._report.rules).items():
            table.add_row(self._text(theme, "bold cyan"))
            for rule in rules:
                title = [Text(plain(rule.title))] if titles else []
                cells = [self._cell(cell(kernel.verdict(rule))) for kernel in kernels]
                table.add_row(self._text(rule.id, "default"), *title, *cells)
        sums = [self._text(totals(kernel), "bold") for kernel in kernels]
        table.add_row(self._text("violated", "bold"), *between, *sums)
        return table

    def _cell(self, found: Cell) -> Text:
        text = self._text(str(found), _STYLES[found.kind])
        if found.note:
            text.append(f" [{self._notes.number(found.note)}]", "dim")
        return text
