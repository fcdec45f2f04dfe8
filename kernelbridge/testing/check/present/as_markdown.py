"""A report as Markdown: the table, for a README."""

from __future__ import annotations

import re

from kernelbridge.testing.check.model import Checked, Report, Rule
from kernelbridge.testing.check.present.words import (
    LEGEND,
    Cell,
    Footnotes,
    by_theme,
    capital,
    cell,
    identity,
    plain,
    plural,
    totals,
)

__all__ = ["to_markdown"]


def to_markdown(report: Report, *, short: bool = False) -> str:
    """Return the report as a table of GitHub's Markdown, with what its cells mean and their footnotes below.

    A `short` one sums up the rules from which no kernel deviates, and has no footnotes.
    """
    notes = None if short else Footnotes()
    shown = [rule for rule in report.rules if not short or _deviates(report, rule)]
    lines = [
        _row("", *(_escaped(kernel.name) for kernel in report.kernels)),
        _row("---", *(":---" for _ in report.kernels)),
    ]
    for theme, rules in by_theme(shown).items():
        if not short:
            lines.append(_row(f"**{_escaped(theme)}**", *("" for _ in report.kernels)))
        lines += [_rule_row(report, rule, notes) for rule in rules]
    left_out = len(report.rules) - len(shown)
    if left_out:
        held = ("?" if kernel.problem else "✓" for kernel in report.kernels)
        lines.append(_row(f"{plural(left_out, 'more rule')}, where they apply", *held))
    lines.append(_row("**violated**", *(f"**{totals(kernel)}**" for kernel in report.kernels)))
    legend = "; ".join(f"{mark} {meaning}" for mark, meaning in LEGEND)
    lines += ["", f"{capital(legend)}. {capital(plural(report.trials, 'trial'))} where nothing else is said.", ""]
    lines += [f"- {_escaped(kernel.name)}: {_escaped(_about(kernel))}" for kernel in report.kernels]
    if notes is not None:
        lines += ["", *(f"{number}. {_escaped(note)}" for number, note in notes.items())]
    return "\n".join(lines).rstrip() + "\n"


def _deviates(report: Report, rule: Rule) -> bool:
    """Return whether a kernel that was checked does not hold a rule, or it could not be seen."""
    verdicts = [kernel.verdict(rule) for kernel in report.kernels if not kernel.problem]
    return any(verdict is not None and verdict.status not in ("held", "not applicable") for verdict in verdicts)


def _rule_row(report: Report, rule: Rule, notes: Footnotes | None) -> str:
    cells = [_cell(cell(kernel.verdict(rule)), notes) for kernel in report.kernels]
    return _row(_escaped(rule.title), *cells)


def _cell(found: Cell, notes: Footnotes | None) -> str:
    text = f"**{found}**" if found.kind == "failure" else str(found)
    return f"{text} [{notes.number(found.note)}]" if found.note and notes is not None else text


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _about(kernel: Checked) -> str:
    return f"not checked: {kernel.problem}" if kernel.problem else identity(kernel)


def _escaped(text: str) -> str:
    """Return `text` such that nothing in it is taken for Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", " ".join(plain(text).split()))
