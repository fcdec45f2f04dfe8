"""The check of installed kernels: what it selects, tells and leaves, and one of real kernels."""

from __future__ import annotations

import pytest

from kernelbridge.frontend.errors import NoSuchKernelError
from kernelbridge.testing.check import RULES, Progress, check, select_rules
from kernelbridge.testing.check.samples import samples_for
from tests.support.leftovers import child_processes, nothing_left


def test_rules_have_ids_of_their_own() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.title and rule.source for rule in RULES)


def test_patterns_select_rules_in_their_order() -> None:
    chosen = [rule.id for rule in select_rules(["wire.*", "order.prompt"])]
    assert chosen[-1] == "order.prompt"
    assert all(one.startswith("wire.") for one in chosen[:-1])
    assert select_rules([]) == list(RULES)


def test_a_pattern_that_selects_nothing_is_told_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no rule matches 'oder\.\*'; there are wire\.\*, "):
        check(["kernelbridge"], select=["oder.*"])


def test_a_kernel_that_is_not_there_is_told_before_any_is_launched() -> None:
    told: list[Progress] = []
    with pytest.raises(NoSuchKernelError, match="no kernel named 'nowhere'"):
        check(["kernelbridge", "nowhere"], on_progress=told.append)
    assert not told


def test_an_unknown_language_has_no_samples() -> None:
    assert not samples_for("Klingon").knows("print")
    assert samples_for("R").knows("print")


def test_a_report_has_each_kernel_and_each_rule() -> None:
    told: list[Progress] = []
    report = check(["kernelbridge"], trials=2, select=["status.*", "end.*"], on_progress=told.append)
    (kernel,) = report.kernels
    assert (kernel.language, kernel.implementation, kernel.protocol_version) == ("python", "kernelbridge", "5.5")
    assert [verdict.rule for verdict in kernel.verdicts] == list(report.rules)
    assert {verdict.status for verdict in kernel.verdicts} == {"held"}
    assert not report.failures
    assert [step.done for step in told if step.verdict] == list(range(1, len(report.rules) + 1))
    assert {step.total for step in told} == {len(report.rules)}


def test_kernels_are_tried_side_by_side_and_told_of_in_their_order() -> None:
    told: list[Progress] = []
    select = ["wire.ids", "heartbeat.echo"]
    report = check(["python3", "kernelbridge"], trials=1, select=select, on_progress=told.append)
    assert [(kernel.name, kernel.problem) for kernel in report.kernels] == [("python3", ""), ("kernelbridge", "")]
    assert all([verdict.rule.id for verdict in kernel.verdicts] == select for kernel in report.kernels)
    assert [step.done for step in told if step.verdict] == [1, 2, 3, 4]
    # What takes the time is tried when nothing else is.
    assert [step.rule.id for step in told] == 4 * ["wire.ids"] + 4 * ["heartbeat.echo"]


@pytest.mark.slow
def test_what_ends_the_check_ends_all_kernels() -> None:
    before = child_processes()

    def stop(progress: Progress) -> None:
        if progress.kernel == "python3" and progress.rule.id == "load.lines":
            raise KeyboardInterrupt

    # This one would run for another half minute.
    with nothing_left(), pytest.raises(KeyboardInterrupt):
        check(["kernelbridge", "python3"], select=["load.*"], on_progress=stop)
    assert child_processes() == before


@pytest.mark.slow
def test_real_kernels() -> None:
    report = check(["kernelbridge", "python3"])
    ours, ipykernel = report.kernels
    assert not [(verdict.rule.id, verdict.note) for verdict in ours.verdicts if verdict.is_deviation]
    assert not ipykernel.problem
    found = {verdict.rule.id: verdict for verdict in ipykernel.verdicts}
    # ipykernel 7 sends comm messages past the queue of what is printed.
    assert found["order.print-comm"].violations == found["order.print-comm"].trials > 0
    assert found["order.print-display"].status == "held"
