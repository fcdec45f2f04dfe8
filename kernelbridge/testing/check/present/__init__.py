"""What a check found, shown: a table for a terminal, Markdown, HTML, JUnit's XML, JSON, and the violations alone."""

from __future__ import annotations

from kernelbridge.testing.check.present.as_html import to_html
from kernelbridge.testing.check.present.as_json import rules_to_json, to_json
from kernelbridge.testing.check.present.as_junit import to_junit
from kernelbridge.testing.check.present.as_markdown import to_markdown
from kernelbridge.testing.check.present.terminal import show_report, show_rules
from kernelbridge.testing.check.present.words import violations

__all__ = [
    "rules_to_json",
    "show_report",
    "show_rules",
    "to_html",
    "to_json",
    "to_junit",
    "to_markdown",
    "violations",
]
