"""A report as JSON, for programs.

The keys stay as they are; new ones may come. ``version`` changes when one goes or means something else.

format, version     ``"kernelbridge check"``, 1
trials, seconds     how many trials were asked for, and how long it all took
rules               of each ``id``, ``theme``, ``title``, ``source`` and ``weight`` (error, expectation, measure)
kernels             of each ``name``, ``implementation``, ``implementation_version``, ``language``,
                    ``language_version``, ``protocol_version``, ``seconds``, ``problem`` (why it could not be checked,
                    else empty) and ``verdicts``

A verdict has the id of its ``rule``; a ``status`` (held, violated, died, hung, not applicable, not measured); whether
it is a ``failure``, for which the command's exit status is 1; ``trials``, ``violations``, ``seconds``; a ``measure``,
null or ``value``, ``unit`` and ``what``; a ``note`` of one line and an ``example`` of many, either may be empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs

from kernelbridge.testing.check.model import Checked, Report, Rule, Verdict

__all__ = ["rules_to_json", "to_json"]


def to_json(report: Report) -> str:
    """Return the report as JSON text."""
    return _text(
        {
            "format": "kernelbridge check",
            "version": 1,
            "trials": report.trials,
            "seconds": round(report.seconds, 3),
            "rules": [_rule(rule) for rule in report.rules],
            "kernels": [_kernel(kernel) for kernel in report.kernels],
        }
    )


def rules_to_json(rules: Iterable[Rule]) -> str:
    """Return the rules alone, as the key ``rules`` of a report has them."""
    return _text({"format": "kernelbridge check", "version": 1, "rules": [_rule(rule) for rule in rules]})


def _text(fields: dict[str, Any]) -> str:
    # In ASCII: a lone surrogate, which a kernel may have sent, cannot be written otherwise.
    return json.dumps(fields, indent=2) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "theme": rule.theme,
        "title": rule.title,
        "source": rule.source,
        "weight": rule.weight,
    }


def _kernel(kernel: Checked) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "implementation": kernel.implementation,
        "implementation_version": kernel.implementation_version,
        "language": kernel.language,
        "language_version": kernel.language_version,
        "protocol_version": kernel.protocol_version,
        "seconds": round(kernel.seconds, 3),
        "problem": kernel.problem,
        "verdicts": [_verdict(verdict) for verdict in kernel.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "rule": verdict.rule.id,
        "status": verdict.status,
        "failure": verdict.is_failure,
        "trials": verdict.trials,
        "violations": verdict.violations,
        "measure": None if verdict.measure is None else attrs.asdict(verdict.measure),
        "note": verdict.note,
        "example": verdict.example,
        "seconds": round(verdict.seconds, 3),
    }
