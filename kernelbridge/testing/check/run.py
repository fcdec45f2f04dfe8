"""Tries the rules on kernels, one kernel after the other, so that what is measured is measured alone."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from kernelbridge.frontend.errors import BridgeError
from kernelbridge.testing.check.failures import KernelDied, KernelHung, NotApplicable, NotMeasured
from kernelbridge.testing.check.model import Checked, OnProgress, Progress, Report, Rule, Status, Verdict
from kernelbridge.testing.check.observer import Observer
from kernelbridge.testing.check.procedure import Procedure, Running, Trial
from kernelbridge.testing.check.rules import PROCEDURES
from kernelbridge.testing.check.samples import Samples
from kernelbridge.testing.check.subject import Launched

__all__ = ["RULES", "TRIALS", "Subject", "check", "select_rules", "try_rule"]

TRIALS: Final = 20
"""How often a rule is tried by default. Rules that take long are tried less often."""

_LONGEST_NOTE: Final = 200
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

RULES: Final[Sequence[Rule]] = tuple(procedure.rule for procedure in PROCEDURES)
"""All rules, in the order in which they are tried."""


class Subject(Running, Protocol):
    """A kernel that can be started anew."""

    name: str
    samples: Samples
    setup_problem: str

    def ready(self) -> Observer:
        """Return the observer of a kernel that runs and is at rest."""

    def end(self) -> None:
        """End the kernel, so that the next one is a new one."""


def check(
    kernels: Sequence[str],
    *,
    trials: int = TRIALS,
    on_progress: OnProgress | None = None,
    select: Sequence[str] = (),
) -> Report:
    """Try the rules on installed kernels, and return what they did about each.

    Takes the names of the kernels; how often each rule is tried; a function that is told of the progress; and patterns
    of rule ids, such as ``order.*``, of which a rule has to match one (all rules, if there are none). Nothing of a
    kernel is left when this returns or raises, a KeyboardInterrupt too. Raises `NoSuchKernelError` before any kernel is
    launched, and `ValueError` for a pattern that matches no rule. A kernel that does not start is told of in the
    report.
    """
    from kernelbridge.frontend.launch import find_kernelspec

    procedures = _selected(select)
    for name in kernels:
        find_kernelspec(name)
    began = time.monotonic()
    total = len(kernels) * len(procedures)
    checked: list[Checked] = []
    for place, name in enumerate(kernels):
        done = place * len(procedures)
        checked.append(_check_kernel(name, procedures, trials, _teller(name, done, total, on_progress)))
    rules = [procedure.rule for procedure in procedures]
    return Report(rules, checked, trials, time.monotonic() - began)


def select_rules(patterns: Sequence[str]) -> Sequence[Rule]:
    """Return the rules whose ids match one of the patterns; all, if there are none. Raises `ValueError`."""
    return [procedure.rule for procedure in _selected(patterns)]


def _selected(patterns: Sequence[str]) -> list[Procedure]:
    for pattern in patterns:
        if not fnmatch.filter([rule.id for rule in RULES], pattern):
            themes = ", ".join(f"{theme}.*" for theme in dict.fromkeys(rule.theme for rule in RULES))
            raise ValueError(f"no rule matches {pattern!r}; there are {themes}")
    return [
        procedure
        for procedure in PROCEDURES
        if not patterns or any(fnmatch.fnmatchcase(procedure.rule.id, pattern) for pattern in patterns)
    ]


_Tell = Callable[[int, Rule, Verdict | None], None]


def _teller(kernel: str, before: int, total: int, on_progress: OnProgress | None) -> _Tell:
    def tell(done: int, rule: Rule, verdict: Verdict | None) -> None:
        if on_progress is not None:
            on_progress(Progress(kernel, rule, before + done, total, verdict))

    return tell


def _check_kernel(name: str, procedures: Sequence[Procedure], trials: int, tell: _Tell) -> Checked:
    began = time.monotonic()
    with Launched(name) as subject:
        try:
            subject.ready()
        except (BridgeError, KernelDied, KernelHung) as failure:
            return Checked(name, problem=_one_line(str(failure)), seconds=time.monotonic() - began)
        verdicts: list[Verdict] = []
        for done, procedure in enumerate(procedures):
            tell(done, procedure.rule, None)
            verdicts.append(try_rule(procedure, subject, trials))
            tell(done + 1, procedure.rule, verdicts[-1])
        info = subject.info
    return Checked(name, **_identity(info), verdicts=verdicts, seconds=time.monotonic() - began)


def _identity(info: Mapping[str, Any]) -> dict[str, str]:
    given = info.get("language_info")
    language: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    return {
        "implementation": str(info.get("implementation", "")),
        "implementation_version": str(info.get("implementation_version", "")),
        "language": str(language.get("name", "")),
        "language_version": str(language.get("version", "")),
        "protocol_version": str(info.get("protocol_version", "")),
    }


def try_rule(procedure: Procedure, subject: Subject, trials: int) -> Verdict:
    """Try one rule on one kernel, as often as it says, and return the verdict."""
    return _Trying(procedure, subject).run(procedure.variants or min(trials, procedure.most))


def _one_line(text: str) -> str:
    """Return text for a table: the last words of a kernel may be many, and coloured."""
    line = " ".join(_ESCAPES.sub("", text).split())
    return line if len(line) <= _LONGEST_NOTE else f"{line[: _LONGEST_NOTE - 3]}..."


class _Trying:
    """One rule on one kernel."""

    def __init__(self, procedure: Procedure, subject: Subject) -> None:
        self._procedure = procedure
        self._subject = subject
        self._began = time.monotonic()
        self._tried = self._violations = 0
        self._measured: list[float] = []
        self._note = self._example = ""

    def run(self, trials: int) -> Verdict:
        if self._procedure.fresh:
            self._subject.end()
        status: Status | None = None
        try:
            for number in range(trials):
                if number and time.monotonic() - self._began > self._procedure.budget:
                    break
                status = self._try_once(number)
                if status is not None:
                    break
        # A kernel that dies or hangs while a rule is tried is told of by `_try_once`; here, one that does not start.
        except (NotApplicable, NotMeasured, BridgeError, KernelDied, KernelHung) as reason:
            # What was found before stands.
            if not self._tried:
                status = "not applicable" if isinstance(reason, NotApplicable) else "not measured"
            self._note = self._note or _one_line(str(reason))
        if self._violations:
            # What it has been through is not to be held against it by another rule.
            self._subject.end()
        return self._verdict(status or ("violated" if self._violations else "held"))

    def _try_once(self, number: int) -> Status | None:
        """Try once. Returns how the rule ends here, if it does."""
        procedure, subject = self._procedure, self._subject
        kernel = subject.ready()
        self._require_samples()
        trial = Trial(number, kernel, subject, subject.samples)
        kernel.begin(procedure.seconds)
        end: Status | None = None
        try:
            problem = procedure.try_once(trial)
        except NotMeasured as reason:
            self._example = self._example or kernel.report(str(reason))
            raise
        except (KernelDied, KernelHung) as failure:
            problem = str(failure)
            end = "died" if isinstance(failure, KernelDied) else "hung"
        self._tried += 1
        if trial.measured is not None:
            self._measured.append(trial.measured)
        if problem:
            self._violated(f"{trial.doing}: {problem}" if trial.doing else problem, kernel)
        if end is not None or trial.abandoned:
            subject.end()
        return None if procedure.variants else end

    def _require_samples(self) -> None:
        samples, needs = self._subject.samples, self._procedure.needs
        for statement in needs:
            # Says what there is no sample for.
            samples.cell(statement)
        if needs and self._subject.setup_problem:
            raise NotMeasured(f"the samples cannot be set up: {self._subject.setup_problem}")

    def _violated(self, problem: str, kernel: Observer) -> None:
        self._violations += 1
        if not self._note:
            self._note = _one_line(problem)
            self._example = kernel.report(problem)

    def _verdict(self, status: Status) -> Verdict:
        kind = self._procedure.kind
        measure = None if kind is None else kind.measure(self._measured)
        return Verdict(
            self._procedure.rule,
            self._subject.name,
            status,
            self._tried,
            self._violations,
            measure,
            self._note,
            self._example,
            time.monotonic() - self._began,
        )
