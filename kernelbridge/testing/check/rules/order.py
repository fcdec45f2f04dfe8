"""Rules of order: what a program does one after the other shows one after the other.

Only the order is judged: what did not come is for the rules of load.
"""

from __future__ import annotations

import time

from kernelbridge.testing.check.failures import NotApplicable, NotMeasured
from kernelbridge.testing.check.procedure import Kind, Trial, rule
from kernelbridge.testing.check.samples import Statement

_ROUNDS = 3
_PROMPT_LAG = 0.2
"""How many seconds behind a prompt what was printed before it may arrive: the two come on different sockets."""


def _in_turn(trial: Trial, *names: Statement, kinds: tuple[str, ...]) -> str:
    """Let a cell do some things in turn, a few times over."""
    steps: list[tuple[Statement, int]] = []
    for _ in range(_ROUNDS):
        for name in names:
            steps.append((name, len(steps) + 1))
    trial.run(*steps)
    return _judge(trial, kinds)


def _judge(trial: Trial, kinds: tuple[str, ...]) -> str:
    """Return how the order of what was shown differs from that of the numbers. All `kinds` must have been shown."""
    trial.kernel.settle()
    # Whatever their parent: that is judged elsewhere.
    shown = trial.marks(trial.kernel.received("iopub"))
    for kind in kinds:
        if not any(seen == kind for seen, _ in shown):
            raise NotMeasured(f"the sample shows no {kind}")
    numbers = [number for _, number in shown]
    if numbers == sorted(numbers):
        return ""
    return "shown as " + ", ".join(f"{number} {kind}" for kind, number in shown)


@rule(
    "order.input",
    "execute_input comes before all outputs of its cell",
    "what every frontend expects; the specification is silent",
    "expectation",
    needs=("print",),
)
def execute_input(trial: Trial) -> str:
    handled = trial.run(("print", 1))
    types = [message.msg_type for message in handled.published if message.msg_type != "status"]
    return f"the first was {types[0]}" if types and types[0] != "execute_input" else ""


@rule(
    "order.print-comm",
    "Printed text and comm messages come in program order",
    "contract K2 and K6; the specification is silent",
    "expectation",
    needs=("print", "comm"),
)
def print_comm(trial: Trial) -> str:
    return _in_turn(trial, "print", "comm", kinds=("stdout", "comm_msg"))


@rule(
    "order.print-display",
    "Printed text and displays come in program order",
    "contract K2; the specification is silent",
    "expectation",
    needs=("print", "display"),
)
def print_display(trial: Trial) -> str:
    return _in_turn(trial, "print", "display", kinds=("stdout", "display_data"))


@rule(
    "order.stdout-stderr",
    "Text on stdout and on stderr comes in program order",
    "contract K3; the specification is silent",
    "expectation",
    needs=("print", "stderr"),
)
def stdout_stderr(trial: Trial) -> str:
    return _in_turn(trial, "print", "stderr", kinds=("stdout", "stderr"))


@rule(
    "order.print-result",
    "A cell's result comes behind what it has printed",
    "contract K2; the specification is silent",
    "expectation",
    needs=("print", "result"),
)
def print_result(trial: Trial) -> str:
    trial.run(("print", 1), ("print", 2), ("result", 3))
    trial.kernel.settle()
    if not any(message.msg_type == "execute_result" for message in trial.kernel.received("iopub")):
        raise NotApplicable("the kernel shows no execute_result for a value")
    return _judge(trial, ("stdout", "execute_result"))


@rule(
    "order.print-error",
    "A cell's error comes behind what it has printed",
    "contract K2; the specification is silent",
    "expectation",
    needs=("print", "error"),
)
def print_error(trial: Trial) -> str:
    trial.kernel.run(trial.cell(("print", 1), ("print", 2), ("error", 3)))
    return _judge(trial, ("stdout", "error"))


@rule(
    "order.prompt",
    "A prompt comes behind what was printed before it",
    "contract K7; the specification is silent",
    "expectation",
    needs=("print", "input"),
    most=10,
    kind=Kind("s", "longest lag", max),
    alone=True,
)
def prompt(trial: Trial) -> str:
    kernel = trial.kernel
    request = kernel.execute(trial.cell(("print", 1), ("input", 2)), allow_stdin=True)
    asked = kernel.prompt(request)
    if asked is None:
        raise NotApplicable("the kernel does not ask the frontend for input")
    began = time.monotonic()
    came = kernel.wait("", lambda: ("stdout", 1) in trial.marks(kernel.published(request)), 1.0)
    trial.measured = lag = time.monotonic() - began
    kernel.send("input_reply", {"value": "<3>"}, parent=asked)
    trial.succeeded(kernel.finish(request))
    if not came:
        return "what was printed before the prompt did not come while it stood"
    return f"what was printed came {lag:.3f} s behind the prompt" if lag > _PROMPT_LAG else ""
