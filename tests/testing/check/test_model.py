"""What a report says about itself."""

from __future__ import annotations

import pytest

from kernelbridge.testing.check import Checked, Measure, Report, Rule, Status, Verdict, Weight


def verdict(status: Status, weight: Weight = "error") -> Verdict:
    return Verdict(Rule(f"theme.{status}", "a title", "a source", weight), "a kernel", status)


@pytest.mark.parametrize("status", ["violated", "died", "hung"])
def test_only_a_broken_specification_is_a_failure(status: Status) -> None:
    error, expectation, measure = (verdict(status, weight) for weight in ("error", "expectation", "measure"))
    report = Report([], [Checked("a kernel", verdicts=[error, expectation, measure])], 1, 0.0)
    assert report.failures == [error]
    assert all(one.is_deviation for one in (error, expectation, measure))


@pytest.mark.parametrize("status", ["held", "not applicable", "not measured"])
def test_what_held_or_could_not_be_tried_is_no_failure(status: Status) -> None:
    assert not verdict(status).is_deviation
    assert not verdict(status).is_failure


def test_a_kernel_that_could_not_be_checked_is_named() -> None:
    held, broken = Checked("one", verdicts=[verdict("held")]), Checked("two", problem="it does not start")
    report = Report([], [held, broken], 1, 0.0)
    assert report.problems == [broken]
    assert held.verdict(verdict("held").rule) == verdict("held")
    assert held.verdict(verdict("died").rule) is None


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure(0.0123, "s", "median"), "12.3 ms"),
        (Measure(2.5, "s", "longest"), "2.50 s"),
        (Measure(2500, "messages", "lost"), "2,500 messages"),
    ],
)
def test_a_measure_is_written_with_its_unit(measure: Measure, text: str) -> None:
    assert str(measure) == text
