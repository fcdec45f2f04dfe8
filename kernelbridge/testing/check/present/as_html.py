"""A report as one HTML file: no script, nothing from elsewhere; light and dark as the reader has it.

It is built as a tree, so that whatever a kernel has said is escaped.
"""

from __future__ import annotations

from xml.etree import ElementTree

from kernelbridge.testing.check.model import Checked, Report, Rule, Verdict
from kernelbridge.testing.check.present.words import LEGEND, by_theme, cell, identity, plain, summary, totals

__all__ = ["to_html"]

_STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --back: #fff; --line: #d8d8d8; --soft: #f4f4f4; --dim: #666;
        --good: #17692b; --bad: #b3161b; --odd: #8a5a00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --back: #181818; --line: #3c3c3c; --soft: #242424; --dim: #a0a0a0;
          --good: #6fcf85; --bad: #ff8078; --odd: #e5b454; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
       max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem; border-bottom: 1px solid var(--line); }
tbody th { font-weight: normal; }
tr.theme th { font-weight: bold; background: var(--soft); }
td { white-space: nowrap; }
code { font-size: .85em; color: var(--dim); }
pre { overflow-x: auto; background: var(--soft); padding: .7rem; font-size: .8rem; line-height: 1.4; }
details { border: 1px solid var(--line); border-radius: .3rem; margin: .5rem 0; padding: .4rem .7rem; }
summary { cursor: pointer; }
a { color: inherit; }
.held { color: var(--good); }
.failure { color: var(--bad); font-weight: bold; }
.surprise { color: var(--odd); }
.not-applicable, .not-measured, .dim { color: var(--dim); }
"""


def to_html(report: Report) -> str:
    """Return the report as the text of an HTML file."""
    root = ElementTree.Element("html", lang="en")
    head = _in(root, "head")
    _in(head, "meta", charset="utf-8")
    _in(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _in(head, "title", "Kernels and the protocol")
    _in(head, "style", _STYLE)
    body = _in(root, "body")
    _in(body, "h1", "Kernels and the protocol")
    _in(body, "p", f"{summary(report)}. Each rule was tried up to {report.trials} times.")
    _table(body, report)
    legend = _in(body, "p", **{"class": "dim"})
    legend.text = "; ".join(f"{mark} {meaning}" for mark, meaning in LEGEND) + "."
    for place, kernel in enumerate(report.kernels):
        _section(body, place, kernel)
    return f"<!DOCTYPE html>\n{ElementTree.tostring(root, encoding='unicode', method='html')}\n"


def _in(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    """Add an element, and return it."""
    child = ElementTree.SubElement(parent, tag, {name: plain(value) for name, value in attributes.items()})
    child.text = plain(text)
    return child


def _table(body: ElementTree.Element, report: Report) -> None:
    table = _in(_in(body, "div", **{"class": "wide"}), "table")
    header = _in(_in(table, "thead"), "tr")
    _in(header, "th", "rule", scope="col")
    for place, kernel in enumerate(report.kernels):
        _in(_in(header, "th", scope="col"), "a", kernel.name, href=f"#kernel-{place}")
    for theme, rules in by_theme(report.rules).items():
        group = _in(table, "tbody")
        row = _in(group, "tr", **{"class": "theme"})
        _in(row, "th", theme, scope="rowgroup", colspan=str(1 + len(report.kernels)))
        for rule in rules:
            _rule_row(group, report, rule)
    row = _in(_in(table, "tfoot"), "tr")
    _in(row, "th", "rules violated", scope="row")
    for kernel in report.kernels:
        _in(row, "td", totals(kernel))


def _rule_row(group: ElementTree.Element, report: Report, rule: Rule) -> None:
    row = _in(group, "tr")
    about = _in(row, "th", rule.title, scope="row", title=rule.source)
    _in(about, "br")
    _in(about, "code", rule.id)
    for place, kernel in enumerate(report.kernels):
        verdict = kernel.verdict(rule)
        found = cell(verdict)
        box = _in(row, "td", **{"class": found.kind.replace(" ", "-"), "title": found.note})
        if verdict is not None and verdict.is_deviation:
            _in(box, "a", str(found), href=f"#{_anchor(place, rule)}")
        else:
            box.text = plain(str(found))


def _anchor(place: int, rule: Rule) -> str:
    return f"kernel-{place}-{rule.id}"


def _section(body: ElementTree.Element, place: int, kernel: Checked) -> None:
    section = _in(body, "section", id=f"kernel-{place}")
    _in(section, "h2", kernel.name)
    _in(section, "p", f"{identity(kernel)} ({kernel.seconds:.0f} s)".strip())
    if kernel.problem:
        _in(section, "p", f"Not checked: {kernel.problem}", **{"class": "failure"})
        return
    deviations = [verdict for verdict in kernel.verdicts if verdict.is_deviation]
    if not deviations:
        _in(section, "p", "Every rule that applies was held.")
    for verdict in deviations:
        _details(section, place, verdict)
    untried = [verdict for verdict in kernel.verdicts if verdict.status in ("not applicable", "not measured")]
    if untried:
        _in(section, "h3", "Not tried")
        items = _in(section, "ul")
        for verdict in untried:
            reason = f": {verdict.note}" if verdict.note else ""
            _in(items, "li", f"{verdict.rule.title}. {verdict.status.capitalize()}{reason}")


def _details(section: ElementTree.Element, place: int, verdict: Verdict) -> None:
    found = cell(verdict)
    details = _in(section, "details", id=_anchor(place, verdict.rule))
    line = _in(details, "summary")
    _in(line, "span", str(found), **{"class": found.kind}).tail = f" {plain(verdict.rule.title)}"
    _in(details, "p", verdict.note)
    _in(details, "p", f"{verdict.rule.id}, {verdict.rule.source}", **{"class": "dim"})
    if verdict.example:
        _in(details, "pre", verdict.example)
