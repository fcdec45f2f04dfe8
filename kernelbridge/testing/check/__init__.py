"""Rules of the protocol, tried on installed kernels: what `kernelbridge check` shows."""

from __future__ import annotations

from kernelbridge.testing.check.model import (
    Checked,
    Measure,
    OnProgress,
    Progress,
    Report,
    Rule,
    Status,
    Verdict,
    Weight,
)
from kernelbridge.testing.check.run import RULES, TRIALS, check, select_rules

__all__ = [
    "RULES",
    "TRIALS",
    "Checked",
    "Measure",
    "OnProgress",
    "Progress",
    "Report",
    "Rule",
    "Status",
    "Verdict",
    "Weight",
    "check",
    "select_rules",
]
