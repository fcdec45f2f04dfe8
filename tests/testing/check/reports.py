"""A made-up report with everything that a report can hold."""

from __future__ import annotations

from kernelbridge.testing.check import Checked, Measure, Report, Rule, Verdict

BRACKETS = Rule("status.brackets", "One busy, then one idle", 'specification, "Kernel status"')
SILENT = Rule("status.silent", "A silent one | too", "specification")
STDERR = Rule("order.stderr", "Text on stdout & stderr in order", "K3", "expectation")
LATENCY = Rule("interrupt.latency", "How long an <interrupt> takes", "measure", "measure")
EXAMPLE = "r1 busy\nr1 </pre><script>alert(1)</script> \x1b[2J\nr1 idle"

GOOD = Checked(
    "good",
    "fine",
    "1.0",
    "Fine",
    "2.0",
    "5.5",
    [
        Verdict(BRACKETS, "good", "held", 20, seconds=0.5),
        Verdict(SILENT, "good", "held", 20, measure=Measure(0.0123, "s", "median")),
        Verdict(STDERR, "good", "held", 20),
        Verdict(LATENCY, "good", "held", 5, measure=Measure(0.25, "s", "median")),
    ],
    seconds=2.0,
)
BAD = Checked(
    "bad",
    language="Bad",
    verdicts=[
        Verdict(BRACKETS, "bad", "violated", 20, 3, None, "two idles", EXAMPLE, 1.25),
        Verdict(SILENT, "bad", "died", 2, 1, None, "the kernel has gone"),
        Verdict(STDERR, "bad", "violated", 20, 7, None, "<err> before out", "out\nerr"),
        Verdict(LATENCY, "bad", "not applicable", note="no sample of Bad for *waiting*"),
    ],
    seconds=3.0,
)
ODD = Checked(
    "odd",
    "odd",
    verdicts=[
        Verdict(BRACKETS, "odd", "hung", 4, 1, None, "no answer within 10 s"),
        Verdict(SILENT, "odd", "not applicable", note="no sample of Bad for *waiting*"),
        Verdict(STDERR, "odd", "not measured", note="two idles"),
        Verdict(LATENCY, "odd", "not measured"),
    ],
)
ABSENT = Checked("absent", problem="the kernel ended with status 1: no module \x1b[31mabsent")

REPORT = Report([BRACKETS, SILENT, STDERR, LATENCY], [GOOD, BAD, ODD, ABSENT], trials=20, seconds=12.3)
HELD = Report([BRACKETS, SILENT, STDERR, LATENCY], [GOOD], trials=20, seconds=2.0)
