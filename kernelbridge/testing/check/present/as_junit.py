"""A report as JUnit's XML, which continuous integration systems read: a testsuite for each kernel, a testcase for each
rule."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from kernelbridge.testing.check.model import Checked, Report, Verdict
from kernelbridge.testing.check.present.words import cell, plain

__all__ = ["to_junit"]


def to_junit(report: Report) -> str:
    """Return the report as XML text.

    A violation of the protocol is a failure. What does not apply or was not measured is skipped. What only surprises
    has passed, and says so on its standard output. A kernel that could not be checked is an error.
    """
    suites = [_suite(kernel) for kernel in report.kernels]
    root = ElementTree.Element("testsuites", _counts("kernelbridge check", suites, report.seconds))
    root.extend(suites)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(kernel: Checked) -> ElementTree.Element:
    cases = [_case(verdict) for verdict in kernel.verdicts]
    if kernel.problem:
        case = ElementTree.Element("testcase", classname=kernel.name, name="start", time="0.000")
        ElementTree.SubElement(case, "error", message=plain(kernel.problem))
        cases.append(case)
    suite = ElementTree.Element("testsuite", _counts(kernel.name, cases, kernel.seconds))
    known = {
        name: getattr(kernel, name)
        for name in ("implementation", "implementation_version", "language", "language_version", "protocol_version")
    }
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in known.items():
        ElementTree.SubElement(properties, "property", name=name, value=plain(value))
    suite.extend(cases)
    return suite


def _counts(name: str, inside: Sequence[ElementTree.Element], seconds: float) -> dict[str, str]:
    def count(tag: str) -> str:
        return str(sum(len(list(element.iter(tag))) for element in inside))

    return {
        "name": plain(name),
        "tests": count("testcase"),
        "failures": count("failure"),
        "errors": count("error"),
        "skipped": count("skipped"),
        "time": f"{seconds:.3f}",
    }


def _case(verdict: Verdict) -> ElementTree.Element:
    rule = verdict.rule
    name = f"{rule.id}: {rule.title}"
    attributes = {"classname": f"{verdict.kernel}.{rule.theme}", "name": name, "time": f"{verdict.seconds:.3f}"}
    case = ElementTree.Element("testcase", attributes)
    said = str(cell(verdict))
    if verdict.is_failure:
        failure = ElementTree.SubElement(case, "failure", type=verdict.status, message=plain(verdict.note or said))
        failure.text = plain(f"{said}\n{rule.source}\n\n{verdict.example}").rstrip()
    elif verdict.status in ("not applicable", "not measured"):
        ElementTree.SubElement(case, "skipped", message=plain(verdict.note or verdict.status))
    else:
        output = ElementTree.SubElement(case, "system-out")
        parts = (said, verdict.note, verdict.example)
        output.text = plain("\n".join(part for part in parts if part))
    return case
