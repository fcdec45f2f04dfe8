"""Tries the rules on kernels: on all side by side, but for those that measure, each of which is tried alone."""

from __future__ import annotations

import fnmatch
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any, Final, Protocol

import attrs

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

_PLAIN: Final = ("wire", "status", "parents", "order")
"""The themes whose rules only run cells and wait for their ends: nothing of that can be held against a kernel later."""

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
    tell = _Teller(len(kernels) * len(procedures), on_progress)
    with ExitStack() as stack:
        checks = [_KernelCheck(stack.enter_context(Launched(name)), trials, tell) for name in kernels]
        _side_by_side(checks, [procedure for procedure in procedures if not procedure.alone and not procedure.fresh])
        for one in checks:
            one.run([procedure for procedure in procedures if procedure.alone])
        _side_by_side(checks, [procedure for procedure in procedures if procedure.fresh])
    rules = [procedure.rule for procedure in procedures]
    return Report(rules, [one.checked(rules) for one in checks], trials, time.monotonic() - began)


def _side_by_side(checks: Sequence[_KernelCheck], procedures: Sequence[Procedure]) -> None:
    """Try rules on all kernels, each on a thread. Whatever ends this early ends the kernels."""
    if not procedures:
        return
    # Most of the time is spent in waiting.
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1), "kernelbridge-check") as pool:
        try:
            running = [pool.submit(one.run, procedures) for one in checks]
            for finished in wait(running, return_when=FIRST_EXCEPTION).done:
                finished.result()
        except BaseException:
            for one in checks:
                one.subject.give_up()
            raise


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


class _Teller:
    """Tells of the progress of kernels that are checked side by side, one step at a time."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._done = 0

    def __call__(self, kernel: str, rule: Rule, verdict: Verdict | None = None) -> None:
        with self._lock:
            self._done += verdict is not None
            if self._on_progress is not None:
                self._on_progress(Progress(kernel, rule, self._done, self._total, verdict))


@attrs.define
class _KernelCheck:
    """What is found about one kernel."""

    subject: Launched
    trials: int
    tell: _Teller
    problem: str = ""
    info: Mapping[str, Any] = attrs.field(factory=dict)
    verdicts: dict[str, Verdict] = attrs.field(factory=dict)
    """By the ids of their rules."""
    seconds: float = 0.0

    def run(self, procedures: Sequence[Procedure]) -> None:
        """Try rules, one after the other, unless the kernel does not start or is given up."""
        began = time.monotonic()
        subject = self.subject
        if not self.info and not self.problem:
            try:
                subject.ready()
            except (BridgeError, KernelDied, KernelHung) as failure:
                self.problem = _one_line(str(failure))
            self.info = subject.info
        for procedure in procedures:
            if self.problem or subject.given_up:
                break
            self.tell(subject.name, procedure.rule)
            verdict = self.verdicts[procedure.rule.id] = try_rule(procedure, subject, self.trials)
            self.tell(subject.name, procedure.rule, verdict)
        self.seconds += time.monotonic() - began

    def checked(self, rules: Sequence[Rule]) -> Checked:
        """Return what was found, in the order of the rules."""
        verdicts = [] if self.problem else [self.verdicts[rule.id] for rule in rules]
        identity = {} if self.problem else _identity(self.info)
        return Checked(self.subject.name, **identity, verdicts=verdicts, problem=self.problem, seconds=self.seconds)


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
    """Return text for a table: the last words of a kernel may be many, and coloured. The last of them tell most."""
    line = " ".join(_ESCAPES.sub("", text).split())
    if len(line) <= _LONGEST_NOTE:
        return line
    half = _LONGEST_NOTE // 2
    return f"{line[:half]} ... {line[-half:]}"


class _Trying:
    """One rule on one kernel."""

    def __init__(self, procedure: Procedure, subject: Subject) -> None:
        self._procedure = procedure
        self._subject = subject
        self._began = time.monotonic()
        self._first: float | None = None
        self._tried = self._violations = 0
        self._measured: list[float] = []
        self._note = self._example = ""

    def run(self, trials: int) -> Verdict:
        if self._procedure.fresh:
            self._subject.end()
        status: Status | None = None
        try:
            for number in range(trials):
                if self._first is not None and time.monotonic() - self._first > self._procedure.budget:
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
        if self._violations and self._procedure.rule.theme not in _PLAIN:
            # What it has been through is not to be held against it by another rule.
            self._subject.end()
        return self._verdict(status or ("violated" if self._violations else "held"))

    def _try_once(self, number: int) -> Status | None:
        """Try once. Returns how the rule ends here, if it does."""
        procedure, subject = self._procedure, self._subject
        kernel = subject.ready()
        self._require_samples()
        trial = Trial(number, kernel, subject, subject.samples)
        # The start of a kernel is not to cost trials.
        self._first = self._first or time.monotonic()
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
