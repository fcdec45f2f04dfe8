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

__all__ = [
    "Checked",
    "Measure",
    "OnProgress",
    "Progress",
    "Report",
    "Rule",
    "Status",
    "Verdict",
    "Weight",
]
