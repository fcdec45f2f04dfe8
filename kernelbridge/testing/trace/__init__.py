"""A live time line of a running kernel: who sent what, in which order. `kernelbridge trace` shows it."""

from __future__ import annotations

from kernelbridge.testing.trace.show import Filters, JsonLines, Lines, summary
from kernelbridge.testing.trace.tracer import Note, Tracer

__all__ = [
    "Filters",
    "JsonLines",
    "Lines",
    "Note",
    "Tracer",
    "summary",
]
