"""Each rule holds on a kernel that keeps it, and fires on one that breaks it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet

from kernelbridge.testing.check.failures import KernelHung
from kernelbridge.testing.check.observer import Observer
from kernelbridge.testing.check.procedure import Procedure
from kernelbridge.testing.check.rules import PROCEDURES, liveness
from kernelbridge.testing.check.run import try_rule
from tests.testing.check import faults
from tests.testing.check.kernels import TINY, Faulty, Right, Subject

BY_ID = {procedure.rule.id: procedure for procedure in PROCEDURES}

ONE_THREAD = {
    "interrupt.pause",
    "interrupt.loop",
    "interrupt.input",
    "control.beside-shell",
    "heartbeat.pause",
}
"""The rules that a kernel of one thread cannot keep."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never ends here is seen to be so early."""
    monkeypatch.setattr(liveness, "_INTERRUPT_SECONDS", 0.5)


# This one stalls, and gives a kernel seconds to print on.
TAKES_SECONDS = "load.stalled"


def cases(procedures: Iterable[Procedure]) -> list[ParameterSet]:
    return [
        pytest.param(one, marks=pytest.mark.slow if one.rule.id == TAKES_SECONDS else (), id=one.rule.id)
        for one in procedures
    ]


@pytest.mark.parametrize("procedure", cases(PROCEDURES))
def test_this_library_keeps_every_rule(procedure: Procedure) -> None:
    with Subject(Right, TINY, **faults.INFO) as subject:
        verdict = try_rule(procedure, subject, 2)
    if procedure.rule.id == "heartbeat.held":
        # The tests' own interpreter would be held.
        assert verdict.status == "not applicable"
    else:
        assert (verdict.status, verdict.violations) == ("held", 0), verdict.example
        assert verdict.trials >= 1


@pytest.mark.parametrize(
    "procedure", cases(one for one in PROCEDURES if one.rule.id not in ONE_THREAD and "hold" not in one.needs)
)
def test_a_kernel_of_one_thread_keeps_the_others(procedure: Procedure) -> None:
    with Subject(Faulty) as subject:
        verdict = try_rule(procedure, subject, 2)
    expected = "not applicable" if procedure.rule.theme == "subshells" else "held"
    assert verdict.status == expected, verdict.example


@pytest.mark.parametrize(("rule", "fault"), faults.OF_RULES, ids=lambda value: getattr(value, "__name__", value))
def test_the_rule_fires(rule: str, fault: type[Faulty]) -> None:
    with Subject(fault, faults.SAMPLES, **faults.INFO) as subject:
        verdict = try_rule(BY_ID[rule], subject, 2)
    assert verdict.status == faults.STATUS.get(rule, "violated"), (verdict.note, verdict.example)
    assert 1 <= verdict.violations <= verdict.trials
    assert verdict.note
    # What was wrong, and what was sent and received.
    assert verdict.example.count("\n") >= 1


def test_every_rule_is_shown_to_fire() -> None:
    assert {rule for rule, _ in faults.OF_RULES} == set(BY_ID)


@pytest.mark.parametrize(
    "procedure", cases(one for one in PROCEDURES if one.rule.id in ("load.welcome", TAKES_SECONDS))
)
def test_what_is_no_message_is_passed_over_by_readers_of_their_own(procedure: Procedure) -> None:
    with Subject(faults.Noisy) as subject:
        verdict = try_rule(procedure, subject, 1)
    assert verdict.status == "held", (verdict.note, verdict.example)


@pytest.mark.parametrize("features", [None, 1, "kernel subshells", {}])
def test_features_that_are_no_list_are_none(features: object) -> None:
    with Subject(Faulty, supported_features=features) as subject:
        verdict = try_rule(BY_ID["subshells.list"], subject, 1)
    assert verdict.status == "not applicable"


class DeadOnArrival(Subject):
    """One that does not start anew."""

    def ready(self) -> Observer:
        if self.started:
            raise KernelHung("no reply to kernel_info_request within 5 s")
        return super().ready()


def test_a_kernel_that_does_not_start_again_ends_the_rule_with_what_was_found() -> None:
    with DeadOnArrival(faults.Fragile) as subject:
        frames = try_rule(BY_ID["malformed.frames"], subject, 2)
        parts = try_rule(BY_ID["malformed.parts"], subject, 2)
    assert (frames.status, frames.violations, frames.trials) == ("violated", 1, 1)
    assert (parts.status, parts.note) == ("not measured", "no reply to kernel_info_request within 5 s")


def test_variants_are_tried_on_a_new_kernel_each_that_the_one_before_has_killed() -> None:
    with Subject(faults.Fragile) as subject:
        verdict = try_rule(BY_ID["malformed.frames"], subject, 1)
        assert subject.started == verdict.trials == verdict.violations == BY_ID["malformed.frames"].variants
    assert verdict.note == "one empty frame: it has died"


def test_a_kernel_that_dies_of_a_wrong_signature_has_not_obeyed_it() -> None:
    with Subject(faults.Fragile) as subject:
        verdict = try_rule(BY_ID["malformed.signature"], subject, 2)
    assert verdict.status == "held", verdict.example
