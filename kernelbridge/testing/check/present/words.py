"""The words that all forms of a report share: what a cell says, its footnotes, the legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import attrs

from kernelbridge.testing.check.model import Checked, Report, Rule, Verdict

__all__ = [
    "LEGEND",
    "Cell",
    "Footnotes",
    "Kind",
    "by_theme",
    "capital",
    "cell",
    "identity",
    "plain",
    "plural",
    "summary",
    "totals",
    "violations",
]

Kind = Literal["held", "failure", "surprise", "number", "not applicable", "not measured"]

SYMBOLS: Final[dict[Kind, str]] = {
    "held": "✓",
    "failure": "✗",
    "surprise": "!",
    "number": "",
    "not applicable": "-",
    "not measured": "?",
}

LEGEND: Final[Sequence[tuple[str, str]]] = (
    ("✓ 0/20", "held in all of 20 trials"),
    ("✗ 3/20", "the protocol was violated in 3 of 20 trials"),
    ("! 3/20", "what happened in 3 of 20 trials the protocol leaves open, and it will surprise"),
    ("-", "not applicable"),
    ("?", "not measured"),
)


@attrs.frozen
class Cell:
    """What one kernel did about one rule, in a few characters: a symbol that needs no colour, and a number."""

    kind: Kind
    text: str
    note: str = ""
    """What belongs in a footnote."""

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.kind]

    def __str__(self) -> str:
        return f"{self.symbol} {self.text}".strip()


def cell(verdict: Verdict | None) -> Cell:
    """Return what the cell of a verdict says. None: there is none, because the kernel could not be checked."""
    if verdict is None:
        return Cell("not measured", "")
    number = [str(verdict.measure)] if verdict.measure is not None else []
    if verdict.status == "not applicable":
        return Cell("not applicable", "", verdict.note)
    if verdict.status == "not measured":
        return Cell("not measured", "", verdict.note)
    count = f"{verdict.violations}/{verdict.trials}"
    if verdict.is_deviation:
        fate = [] if verdict.status == "violated" else [verdict.status]
        kind: Kind = "failure" if verdict.is_failure else "surprise"
        return Cell(kind, " ".join([count, *fate, *number]), verdict.note)
    if verdict.rule.weight == "measure" and number:
        return Cell("number", number[0], verdict.note)
    return Cell("held", " ".join([count, *number]), verdict.note)


class Footnotes:
    """Numbers for notes, in the order in which they are first met. The same note has one number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, note: str) -> int:
        """Return the number of a note."""
        return self._numbers.setdefault(note, len(self._numbers) + 1)

    def items(self) -> list[tuple[int, str]]:
        """Return the notes with their numbers, in order."""
        return [(number, note) for note, number in self._numbers.items()]


def by_theme(rules: Iterable[Rule]) -> dict[str, list[Rule]]:
    """Return the rules of each theme, both in the order in which they come first."""
    themes: dict[str, list[Rule]] = {}
    for rule in rules:
        themes.setdefault(rule.theme, []).append(rule)
    return themes


def identity(kernel: Checked) -> str:
    """Return what a kernel says of itself, on one line: ``ipython 9.0, python 3.11, protocol 5.3``."""
    named = [
        f"{kernel.implementation} {kernel.implementation_version}",
        f"{kernel.language} {kernel.language_version}",
        f"protocol {kernel.protocol_version}" if kernel.protocol_version else "",
    ]
    return ", ".join(part.strip() for part in named if part.strip())


def totals(kernel: Checked) -> str:
    """Return how many rules a kernel violates, on one line."""
    if kernel.problem:
        return "not checked"
    failures = sum(verdict.is_failure for verdict in kernel.verdicts)
    surprises = sum(verdict.is_deviation and not verdict.is_failure for verdict in kernel.verdicts)
    text = f"✗ {failures}" if failures else "✓ 0"
    return f"{text}, ! {surprises}" if surprises else text


def summary(report: Report) -> str:
    """Return the whole of a report on one line."""
    failures, problems = len(report.failures), len(report.problems)
    what = f"{plural(len(report.rules), 'rule')} on {plural(len(report.kernels), 'kernel')} in {report.seconds:.0f} s"
    if not failures and not problems:
        return f"{what}: the protocol was held"
    said = [f"{plural(failures, 'violation')} of the protocol"] if failures else []
    if problems:
        said.append(f"{plural(problems, 'kernel')} not checked")
    return f"{what}: {', '.join(said)}"


def violations(report: Report) -> list[str]:
    """Return a line for each violation of the protocol, and for each kernel that could not be checked."""
    lines = [f"{kernel.name}: not checked: {plain(kernel.problem)}" for kernel in report.problems]
    return lines + [_line(verdict) for verdict in report.failures]


def _line(verdict: Verdict) -> str:
    """Return a verdict on one line."""
    line = f"{verdict.kernel}: {verdict.rule.id}: {cell(verdict)}"
    return plain(f"{line}: {verdict.note}" if verdict.note else line)


def plural(number: int, noun: str) -> str:
    """Return a number and what it is the number of."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def capital(text: str) -> str:
    """Return `text` as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def plain(text: str) -> str:
    """Return `text` without what no terminal and no XML takes: what is in it may come from a kernel."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
