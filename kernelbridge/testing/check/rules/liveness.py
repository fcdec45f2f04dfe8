"""Rules of life: interrupts, the heartbeat, Control beside Shell, subshells, the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from kernelbridge.frontend.channel import reach
from kernelbridge.testing.check.failures import NotApplicable, NotMeasured
from kernelbridge.testing.check.procedure import LATENCY, Kind, Trial, rule
from kernelbridge.testing.check.rules.status import asked_on_control, states
from kernelbridge.testing.check.samples import Statement
from kernelbridge.wire.messages import SUBSHELL_FEATURE, Message

_INTERRUPT_SECONDS = 5.0
_END_SECONDS = 5.0
_BUSY_MILLISECONDS = 1_000
_LONGEST = Kind("s", "longest", max)


def _started(trial: Trial, *steps: tuple[Statement, int] | Statement) -> Message:
    """Start a cell that goes on for a while, and return its request when it runs."""
    kernel = trial.kernel
    request = kernel.execute(trial.cell(("print", 1), *steps))
    kernel.wait(
        "neither a busy nor a reply", lambda: bool(states(kernel.published(request))) or kernel.has_reply(request)
    )
    # A kernel need not show at once what is printed.
    kernel.wait("", lambda: bool(trial.marks(kernel.published(request))) or kernel.has_reply(request), 1.0)
    return request


def _interrupted(trial: Trial, *steps: tuple[Statement, int] | Statement) -> str:
    kernel = trial.kernel
    request = _started(trial, *steps)
    if kernel.has_reply(request):
        raise NotMeasured("the sample ends before it can be interrupted")
    return _interrupt(trial, request)


def _interrupt(trial: Trial, request: Message) -> str:
    """Interrupt a cell, and return what is wrong if it does not end, or the next one does not run."""
    kernel = trial.kernel
    began = time.monotonic()
    trial.running.interrupt()
    if not kernel.wait("", lambda: kernel.has_reply(request), _INTERRUPT_SECONDS):
        trial.abandoned = True
        return f"the cell still runs {_INTERRUPT_SECONDS:g} s after the interrupt"
    trial.measured = time.monotonic() - began
    kernel.finish(request)
    status = kernel.run(trial.cell(("print", 2))).status
    return "" if status == "ok" else f"the next cell is answered with {status!r}"


@rule(
    "interrupt.pause",
    "An interrupt ends a cell that waits",
    'specification, "Kernel interrupt"; contract F7',
    "expectation",
    needs=("print", "sleep"),
    most=3,
    kind=LATENCY,
    alone=True,
)
def interrupt_pause(trial: Trial) -> str:
    return _interrupted(trial, ("sleep", 30_000))


@rule(
    "interrupt.loop",
    "An interrupt ends a cell that computes",
    'specification, "Kernel interrupt"; contract F7',
    "expectation",
    needs=("print", "loop"),
    most=3,
    kind=LATENCY,
    alone=True,
)
def interrupt_loop(trial: Trial) -> str:
    return _interrupted(trial, "loop")


@rule(
    "interrupt.input",
    "An interrupt ends a cell that asks for input",
    "contract F9; the specification is silent",
    "expectation",
    needs=("print", "input"),
    most=3,
    kind=LATENCY,
    alone=True,
)
def interrupt_input(trial: Trial) -> str:
    kernel = trial.kernel
    request = kernel.execute(trial.cell(("input", 1)), allow_stdin=True)
    if kernel.prompt(request) is None:
        raise NotApplicable("the kernel does not ask the frontend for input")
    return _interrupt(trial, request)


@rule(
    "control.beside-shell",
    "Control answers while a cell runs",
    'specification, "Control": a separate thread is recommended',
    "expectation",
    needs=("print", "sleep"),
    most=2,
    kind=LATENCY,
    alone=True,
)
def beside_shell(trial: Trial) -> str:
    kernel = trial.kernel
    if not kernel.has_reply(asked_on_control(trial)):
        raise NotApplicable("the kernel answers no kernel_info_request on Control")
    cell = _started(trial, ("sleep", _BUSY_MILLISECONDS))
    began = time.monotonic()
    request = kernel.send("kernel_info_request", channel="control")
    kernel.wait("no reply", lambda: kernel.has_reply(request) or kernel.has_reply(cell))
    trial.measured = time.monotonic() - began
    beside = not kernel.has_reply(cell)
    kernel.finish(cell)
    return "" if beside else "the cell ended first"


@rule(
    "heartbeat.echo",
    "The heartbeat echoes what it is sent",
    'specification, "Heartbeat for kernels"',
    kind=LATENCY,
    alone=True,
)
def echo(trial: Trial) -> str:
    sent = b"kernelbridge %d" % trial.number
    with _heart(trial) as heart:
        began = time.monotonic()
        heart.send(sent)
        if not heart.poll(2000):
            return "no echo within 2 s"
        trial.measured = time.monotonic() - began
        back = heart.recv()
    return "" if back == sent else f"{sent!r} comes back as {back!r}"


@rule(
    "heartbeat.pause",
    "The heartbeat goes on while a cell waits",
    "contract F6; the specification is silent",
    "expectation",
    needs=("print", "sleep"),
    most=2,
    kind=_LONGEST,
    alone=True,
)
def heartbeat_pause(trial: Trial) -> str:
    return _beats(trial, "sleep")


@rule(
    "heartbeat.held",
    "The heartbeat goes on while C code holds the interpreter's lock",
    "contract F6; the specification is silent",
    "expectation",
    needs=("print", "hold"),
    most=2,
    kind=_LONGEST,
    alone=True,
)
def heartbeat_held(trial: Trial) -> str:
    return _beats(trial, "hold")


def _beats(trial: Trial, statement: Statement) -> str:
    """Return what is wrong with a beat sent while a cell keeps the kernel busy."""
    with _heart(trial) as heart:
        # Connected, and known to be.
        heart.send(b"before")
        if not heart.poll(2000):
            return "no echo within 2 s while nothing runs"
        heart.recv()
        # A short pause first, in which what was printed goes out: then the lock is held.
        cell = _started(trial, ("sleep", 100), (statement, _BUSY_MILLISECONDS))
        time.sleep(0.2)
        began = time.monotonic()
        heart.send(b"within")
        heart.poll(_BUSY_MILLISECONDS * 3)
        trial.measured = lag = time.monotonic() - began
    trial.succeeded(trial.kernel.finish(cell))
    return f"the echo took {lag:.3f} s" if lag > _BUSY_MILLISECONDS / 2000 else ""


@contextmanager
def _heart(trial: Trial) -> Iterator[zmq.Socket[bytes]]:
    with trial.running.context.socket(zmq.REQ) as heart:
        heart.linger = 0
        reach(heart, trial.running.connection)
        heart.connect(trial.running.connection.endpoint("hb"))
        yield heart


# Subshells


def _subshell(trial: Trial) -> str:
    """Create a subshell and return its id. Raises `NotApplicable` when the kernel says that it knows none."""
    features = trial.running.info.get("supported_features")
    if not isinstance(features, list) or SUBSHELL_FEATURE not in features:
        raise NotApplicable("the kernel does not say that it supports subshells")
    kernel = trial.kernel
    return str(kernel.reply(kernel.send("create_subshell_request")).content.get("subshell_id"))


@rule(
    "subshells.beside",
    "A cell in a subshell runs while another runs in the main shell",
    'specification, "Kernel subshells"; JEP 91',
    needs=("print", "sleep"),
    most=3,
)
def beside(trial: Trial) -> str:
    kernel = trial.kernel
    subshell = _subshell(trial)
    main = _started(trial, ("sleep", _BUSY_MILLISECONDS))
    side = kernel.execute(trial.cell(("print", 2)), subshell_id=subshell)
    kernel.wait("no reply", lambda: kernel.has_reply(side) or kernel.has_reply(main))
    beside = not kernel.has_reply(main)
    kernel.finish(main)
    shown = trial.marks(kernel.finish(side).shown)
    kernel.reply(kernel.send("delete_subshell_request", {"subshell_id": subshell}))
    if not beside:
        return "the main shell's cell ended first"
    return "" if [number for _, number in shown] == [2] else f"the subshell's cell shows {shown}"


@rule(
    "subshells.list",
    "A subshell is listed until it is deleted",
    'specification, "Kernel subshells"; JEP 91',
    most=5,
)
def listed(trial: Trial) -> str:
    kernel = trial.kernel
    subshell = _subshell(trial)
    before = kernel.reply(kernel.send("list_subshell_request")).content.get("subshell_id")
    kernel.reply(kernel.send("delete_subshell_request", {"subshell_id": subshell}))
    after = kernel.reply(kernel.send("list_subshell_request")).content.get("subshell_id")
    if not isinstance(before, list) or not isinstance(after, list):
        return "list_subshell_reply has no list"
    if subshell not in before:
        return "one that was created is not listed"
    return "one that was deleted is listed" if subshell in after else ""


# The end


@rule(
    "end.shutdown",
    "A shutdown_request is answered, and the kernel ends",
    'specification, "Kernel shutdown"',
    most=1,
    fresh=True,
)
def shutdown(trial: Trial) -> str:
    kernel = trial.kernel
    request = kernel.send("shutdown_request", {"restart": False})
    trial.abandoned = True
    if not kernel.ends(_END_SECONDS):
        return f"it still runs {_END_SECONDS:g} s later"
    return "" if kernel.has_reply(request) else "it ended without a reply"
