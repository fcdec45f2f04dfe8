"""A report in all its forms. What is in it may come from a kernel: nothing of that is taken for more than text."""

from __future__ import annotations

import json
from io import BytesIO, StringIO, TextIOWrapper
from xml.etree import ElementTree

import attrs
import pytest
from rich.console import Console

from kernelbridge.testing.check.present import (
    rules_to_json,
    show_report,
    show_rules,
    to_html,
    to_json,
    to_junit,
    to_markdown,
    violations,
)
from tests.testing.check.reports import ABSENT, BAD, EXAMPLE, GOOD, HELD, LATENCY, REPORT


def shown(width: int, encoding: str = "utf-8", *, color: bool = False) -> list[str]:
    """Return what a terminal of this width shows."""
    out = TextIOWrapper(BytesIO(), encoding=encoding)
    console = Console(
        file=out,
        width=width,
        highlight=False,
        force_terminal=True,
        color_system="standard" if color else None,
        legacy_windows=False,
        _environ={},
    )
    show_report(REPORT, console)
    out.seek(0)
    return [line.rstrip() for line in out.read().splitlines()]


WIDE = """\
rule               what holds                        good            bad             odd             absent
status
status.brackets    One busy, then one idle           ✓ 0/20          ✗ 3/20 [1]      ✗ 1/4 hung [2]  ?
status.silent      A silent one | too                ✓ 0/20 12.3 ms  ✗ 1/2 died [3]  - [4]           ?
order
order.stderr       Text on stdout & stderr in order  ✓ 0/20          ! 7/20 [5]      ? [1]           ?
interrupt
interrupt.latency  How long an <interrupt> takes     250.0 ms        - [4]           ?               ?
violated                                             ✓ 0             ✗ 2, ! 1        ✗ 1             not checked

✓ 0/20  held in all of 20 trials
✗ 3/20  the protocol was violated in 3 of 20 trials
! 3/20  what happened in 3 of 20 trials the protocol leaves open, and it will surprise
-       not applicable
?       not measured
good: fine 1.0, Fine 2.0, protocol 5.5
bad: Bad
odd: odd
absent: not checked: the kernel ended with status 1: no module \\x1b[31mabsent
[1] two idles
[2] no answer within 10 s
[3] the kernel has gone
[4] no sample of Bad for *waiting*
[5] <err> before out
4 rules on 4 kernels in 12 s: 3 violations of the protocol, 1 kernel not checked.
""".splitlines()


def test_kernels_stand_beside_each_other() -> None:
    assert shown(140) == WIDE


def test_a_narrow_terminal_has_them_one_below_the_other() -> None:
    lines = shown(50)
    assert [line for line in lines if line.startswith("rule ")] == [
        "rule               good",
        "rule               bad",
        "rule               odd             absent",
    ]
    assert "status.silent      ✗ 1/2 died [2]" in lines


def test_without_unicode_there_are_words() -> None:
    lines = shown(140, "ascii")
    assert any("ok 0/20" in line and "X 3/20 [1]" in line for line in lines)
    assert all(line.isascii() for line in lines)


def test_colours_only_add() -> None:
    coloured = "\n".join(shown(140, color=True))
    assert "\x1b[1;31m✗ 3/20\x1b[0m" in coloured
    assert "\x1b[31mabsent" not in coloured


def test_the_rules() -> None:
    out = StringIO()
    show_rules(REPORT.rules, Console(file=out, width=100))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["rule", *(rule.id for rule in REPORT.rules)]
    assert json.loads(rules_to_json(REPORT.rules))["rules"] == json.loads(to_json(REPORT))["rules"]


def test_markdown() -> None:
    assert to_markdown(REPORT).splitlines()[:11] == [
        "|  | good | bad | odd | absent |",
        "| --- | :--- | :--- | :--- | :--- |",
        "| **status** |  |  |  |  |",
        "| One busy, then one idle | ✓ 0/20 | **✗ 3/20** [1] | **✗ 1/4 hung** [2] | ? |",
        "| A silent one \\| too | ✓ 0/20 12.3 ms | **✗ 1/2 died** [3] | - [4] | ? |",
        "| **order** |  |  |  |  |",
        "| Text on stdout \\& stderr in order | ✓ 0/20 | ! 7/20 [5] | ? [1] | ? |",
        "| **interrupt** |  |  |  |  |",
        "| How long an \\<interrupt\\> takes | 250.0 ms | - [4] | ? | ? |",
        "| **violated** | **✓ 0** | **✗ 2, ! 1** | **✗ 1** | **not checked** |",
        "",
    ]
    assert to_markdown(REPORT).splitlines()[-5:] == [
        "1. two idles",
        "2. no answer within 10 s",
        "3. the kernel has gone",
        "4. no sample of Bad for \\*waiting\\*",
        "5. \\<err\\> before out",
    ]


def test_short_markdown_sums_up_what_nobody_deviates_from() -> None:
    assert to_markdown(HELD, short=True).splitlines()[:4] == [
        "|  | good |",
        "| --- | :--- |",
        "| 4 more rules, where they apply | ✓ |",
        "| **violated** | **✓ 0** |",
    ]
    held = [verdict for verdict in GOOD.verdicts if verdict.rule == LATENCY]
    bad = attrs.evolve(BAD, verdicts=[verdict for verdict in BAD.verdicts if verdict.rule != LATENCY] + held)
    assert to_markdown(attrs.evolve(REPORT, kernels=[GOOD, bad, ABSENT]), short=True).splitlines()[:7] == [
        "|  | good | bad | absent |",
        "| --- | :--- | :--- | :--- |",
        "| One busy, then one idle | ✓ 0/20 | **✗ 3/20** | ? |",
        "| A silent one \\| too | ✓ 0/20 12.3 ms | **✗ 1/2 died** | ? |",
        "| Text on stdout \\& stderr in order | ✓ 0/20 | ! 7/20 | ? |",
        "| 1 more rule, where they apply | ✓ | ✓ | ? |",
        "| **violated** | **✓ 0** | **✗ 2, ! 1** | **not checked** |",
    ]


def test_json_has_the_keys_that_are_promised() -> None:
    fields = json.loads(to_json(REPORT))
    assert (fields["format"], fields["version"]) == ("kernelbridge check", 1)
    assert (fields["trials"], fields["seconds"]) == (20, 12.3)
    assert fields["rules"][0] == {
        "id": "status.brackets",
        "theme": "status",
        "title": "One busy, then one idle",
        "source": 'specification, "Kernel status"',
        "weight": "error",
    }
    good, bad, _, absent = fields["kernels"]
    assert {key: value for key, value in good.items() if key != "verdicts"} == {
        "name": "good",
        "implementation": "fine",
        "implementation_version": "1.0",
        "language": "Fine",
        "language_version": "2.0",
        "protocol_version": "5.5",
        "seconds": 2.0,
        "problem": "",
    }
    assert bad["verdicts"][0] == {
        "rule": "status.brackets",
        "status": "violated",
        "failure": True,
        "trials": 20,
        "violations": 3,
        "measure": None,
        "note": "two idles",
        "example": EXAMPLE,
        "seconds": 1.25,
    }
    assert good["verdicts"][1]["measure"] == {"value": 0.0123, "unit": "s", "what": "median"}
    assert [verdict["failure"] for verdict in bad["verdicts"]] == [True, True, False, False]
    assert absent["problem"].startswith("the kernel ended")


def test_junit_counts_as_ci_systems_do() -> None:
    root = ElementTree.fromstring(to_junit(REPORT))
    counts = ("tests", "failures", "errors", "skipped")
    assert [root.get(name) for name in counts] == ["13", "3", "1", "4"]
    suites = {suite.get("name"): suite for suite in root}
    assert {name: [suite.get(count) for count in counts] for name, suite in suites.items()} == {
        "good": ["4", "0", "0", "0"],
        "bad": ["4", "2", "0", "1"],
        "odd": ["4", "1", "0", "3"],
        "absent": ["1", "0", "1", "0"],
    }
    failure = suites["bad"].find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert failure.attrib == {"type": "violated", "message": "two idles"}
    assert "</pre><script>alert(1)</script> \\x1b[2J" in failure.text
    case = suites["bad"].find("testcase")
    assert case is not None
    assert (case.get("classname"), case.get("time")) == ("bad.status", "1.250")


def test_the_page_stands_alone_and_takes_everything_for_text() -> None:
    page = to_html(REPORT)
    assert page.startswith("<!DOCTYPE html>\n<html lang=")
    for foreign in ("<script", "src=", "http:", "https:", "<link", "\x1b"):
        assert foreign not in page
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt; \\x1b[2J" in page
    assert "prefers-color-scheme: dark" in page
    assert page.count("<details") == 4
    for anchor in ("kernel-0", "kernel-1-status.brackets", "kernel-2-status.brackets", "kernel-3"):
        assert f'href="#{anchor}"' in page
        assert f'id="{anchor}"' in page
    assert "Every rule that applies was held." in page


def test_violations_alone() -> None:
    assert violations(REPORT) == [
        "absent: not checked: the kernel ended with status 1: no module \\x1b[31mabsent",
        "bad: status.brackets: ✗ 3/20: two idles",
        "bad: status.silent: ✗ 1/2 died: the kernel has gone",
        "odd: status.brackets: ✗ 1/4 hung: no answer within 10 s",
    ]
    assert violations(HELD) == []


@pytest.mark.parametrize("width", [1, 10, 30])
def test_no_terminal_is_too_narrow(width: int) -> None:
    assert shown(width)
