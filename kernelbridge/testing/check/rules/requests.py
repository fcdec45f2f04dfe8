"""Rules of requests and their replies, and of what an error does to the requests behind it."""

from __future__ import annotations

from typing import Any

from kernelbridge.testing.check.failures import NotApplicable, NotMeasured
from kernelbridge.testing.check.observer import Handled
from kernelbridge.testing.check.procedure import Trial, rule
from kernelbridge.testing.check.rules.status import bracket_problem
from kernelbridge.wire.contents import ExecuteRequest, unstructure
from kernelbridge.wire.messages import Message

_EXECUTE = 'specification, "Execute"'
_PATIENCE = 2.0
_LAST_SECONDS = 5.0
_QUEUED_MILLISECONDS = 200
"""How long a cell waits before it fails, so that what is sent behind it is there by then."""


@rule(
    "requests.info",
    "kernel_info_reply has all of its fields",
    'specification, "Kernel info"',
    most=1,
)
def info(trial: Trial) -> str:
    kernel = trial.kernel
    content = kernel.finish(kernel.send("kernel_info_request")).reply.content
    missing = [
        name
        for name in ("protocol_version", "implementation", "implementation_version", "banner")
        if name not in content
    ]
    language = content.get("language_info")
    if not isinstance(language, dict):
        missing.append("language_info")
    else:
        missing += [
            f"language_info.{name}"
            for name in ("name", "version", "mimetype", "file_extension")
            if name not in language
        ]
    return f"it has no {', '.join(missing)}" if missing else ""


@rule(
    "requests.reply",
    "execute_reply has a status that there is, a count, and of an error what it was",
    'specification, "Request-Reply" and "Execution results"',
)
def reply(trial: Trial) -> str:
    fails = trial.number % 2 == 1 and trial.samples.knows("error")
    content = trial.kernel.run(trial.cell(("error", 1)) if fails else "").reply.content
    status = content.get("status")
    if status not in ("ok", "error", "aborted"):
        return f"its status is {status!r}"
    if not isinstance(content.get("execution_count"), int):
        return f"its execution_count is {content.get('execution_count')!r}"
    if status == "error":
        missing = [name for name in ("ename", "evalue", "traceback") if name not in content]
        return f"an error reply has no {', '.join(missing)}" if missing else ""
    return ""


@rule(
    "requests.error",
    "A cell that fails shows an error and is answered with one",
    'specification, "Execution errors"',
    needs=("error",),
)
def error(trial: Trial) -> str:
    handled = trial.kernel.run(trial.cell(("error", 1)))
    if handled.status != "error":
        return f"the status of the reply is {handled.status!r}"
    count = sum(message.msg_type == "error" for message in handled.shown)
    return "" if count == 1 else f"{count or 'no'} error messages on IOPub"


@rule(
    "requests.count",
    "The execution counter goes up by one for each cell that is stored, and execute_input has the same",
    'specification, "Execution counter (prompt number)"',
    needs=("print",),
)
def count(trial: Trial) -> str:
    first, second = (trial.run(("print", number)) for number in (1, 2))
    before, after = (handled.reply.content.get("execution_count") for handled in (first, second))
    if not isinstance(before, int) or after != before + 1:
        return f"{before!r} is followed by {after!r}"
    said = [
        message.content.get("execution_count") for message in second.published if message.msg_type == "execute_input"
    ]
    return "" if said == [after] else f"execute_input has {said}, execute_reply {after}"


@rule(
    "requests.input",
    "The code of a cell is shown to all frontends, once and as it was sent",
    'specification, "Code inputs"',
    needs=("print",),
)
def execute_input(trial: Trial) -> str:
    code = trial.cell(("print", 1), ("print", 2))
    handled = trial.kernel.run(code)
    said = [message.content.get("code") for message in handled.published if message.msg_type == "execute_input"]
    return "" if said == [code] else f"execute_input came {len(said)} times, with {said[:1]}"


@rule(
    "requests.silent",
    "A silent execution has no execute_result",
    f"{_EXECUTE}: will not have an execute_result",
    needs=("result",),
)
def silent(trial: Trial) -> str:
    code = trial.cell(("result", 1))
    loud = trial.kernel.run(code)
    trial.kernel.settle()
    if not any(message.msg_type == "execute_result" for message in loud.shown):
        raise NotApplicable("the kernel shows no execute_result for a value")
    handled = trial.kernel.run(code, silent=True, store_history=False)
    trial.kernel.settle()
    return "it has one" if any(message.msg_type == "execute_result" for message in handled.shown) else ""


@rule(
    "requests.no-stdin",
    "Without allow_stdin the kernel asks for no input, and the cell ends",
    'specification, "Execute" and "Messages on the stdin channel"',
    needs=("input",),
    most=5,
)
def no_stdin(trial: Trial) -> str:
    kernel = trial.kernel
    request = kernel.execute(trial.cell(("input", 1)), allow_stdin=False)
    asked = kernel.prompt(request)
    if asked is not None:
        kernel.send("input_reply", {"value": ""}, parent=asked)
    kernel.finish(request)
    return "" if asked is None else "it sends an input_request"


@rule(
    "requests.extra-field",
    "A field that nobody knows is passed over",
    'specification, "Compatibility": both sides should allow extra fields in known message types',
)
def extra_field(trial: Trial) -> str:
    kernel = trial.kernel
    content = {**unstructure(ExecuteRequest(code="")), "kernelbridge_check": {"a": [1]}}
    request = kernel.send(ExecuteRequest.msg_type, content)
    status = kernel.finish(request).status
    return "" if status == "ok" else f"the reply says {status!r}"


@rule(
    "requests.unknown",
    "A request of unknown type does no harm",
    'specification, "Compatibility": both sides should allow unexpected message types',
)
def unknown(trial: Trial) -> str:
    kernel = trial.kernel
    kernel.send("kernelbridge_check_request")
    kernel.finish(kernel.send("kernel_info_request"))
    return ""


@rule(
    "requests.unknown-idle",
    "A request of unknown type has its busy and its idle",
    "kernelbridge's contract on bad input; the specification leaves it open",
    "expectation",
)
def unknown_idle(trial: Trial) -> str:
    kernel = trial.kernel
    request = kernel.send("kernelbridge_check_request")
    kernel.settle()
    return bracket_problem(kernel.published(request))


@rule(
    "requests.all",
    "Of many requests sent at once, each has one reply",
    f"{_EXECUTE}: the kernel always sends a reply",
    most=3,
)
def all_answered(trial: Trial) -> str:
    kernel = trial.kernel
    requests = [kernel.send("kernel_info_request") for _ in range(100)]
    kernel.wait("", lambda: all(map(kernel.has_reply, requests)), 5.0)
    kernel.settle()
    answered = [message.parent_id for message in kernel.received("shell")]
    missing = sum(request.msg_id not in answered for request in requests)
    if missing:
        return f"{missing} of {len(requests)} have no reply"
    twice = sum(answered.count(request.msg_id) > 1 for request in requests)
    return f"{twice} of {len(requests)} have more than one reply" if twice else ""


# What an error does


def _send_failing(trial: Trial, **options: Any) -> tuple[Message, list[Message]]:
    """Send a cell that fails after a while and three more behind it, and return all four."""
    kernel = trial.kernel
    # Known before anything is sent.
    codes = [trial.cell(("print", number)) for number in (1, 2, 3)]
    failing = kernel.execute(trial.cell(("sleep", _QUEUED_MILLISECONDS), ("error", 9)), **options)
    return failing, [kernel.execute(code) for code in codes]


def _behind_failure(trial: Trial, **options: Any) -> list[Message]:
    """Do the same, and return the three once the first has failed."""
    failing, queued = _send_failing(trial, **options)
    if trial.kernel.finish(failing).status != "error":
        _outcomes(trial, queued)
        raise NotMeasured("the cell that fails is not answered with an error")
    return queued


def _outcomes(trial: Trial, queued: list[Message]) -> list[Handled | None]:
    """Return what became of queued requests; None for one that was not answered."""
    kernel = trial.kernel
    # Executions are answered in their order: what was not when a later one is will not be.
    last = kernel.execute("")
    kernel.wait("", lambda: kernel.has_reply(last), _LAST_SECONDS)
    kernel.settle()
    return [kernel.handled(one) if kernel.has_reply(one) else None for one in queued]


@rule(
    "abort.error",
    "With cells queued behind it, a cell that fails is answered with its error, and no other is",
    'specification, "Request-Reply": the request failed due to an error',
    needs=("print", "sleep", "error"),
    most=5,
)
def abort_error(trial: Trial) -> str:
    failing, queued = _send_failing(trial)
    status = trial.kernel.finish(failing).status
    outcomes = _outcomes(trial, queued)
    if status != "error":
        return f"the cell that fails is answered with {status!r}"
    for outcome in outcomes:
        if outcome is not None and trial.marks(outcome.shown) and outcome.status != "ok":
            return f"a cell that ran behind it and did not fail is answered with {outcome.status!r}"
    return ""


@rule(
    "abort.queued",
    "After an error, what was queued behind it does not run",
    f"{_EXECUTE}: stop_on_error aborts the execution queue; contract K11",
    needs=("print", "sleep", "error"),
    most=5,
)
def abort_queued(trial: Trial) -> str:
    queued = _behind_failure(trial)
    _outcomes(trial, queued)
    ran = [number for number, one in enumerate(queued, 1) if trial.marks(trial.kernel.published(one))]
    return f"{len(ran)} of {len(queued)} queued cells ran" if ran else ""


@rule(
    "abort.replies",
    "What is aborted is answered, with one busy and then one idle",
    f"{_EXECUTE}: the kernel always sends a reply; contract K11",
    needs=("print", "sleep", "error"),
    most=5,
)
def abort_replies(trial: Trial) -> str:
    failing, queued = _send_failing(trial)
    # However the first is answered, which is another rule's question.
    trial.kernel.finish(failing)
    for request, outcome in zip(queued, _outcomes(trial, queued), strict=True):
        if outcome is None:
            return "a queued request has no reply"
        problem = bracket_problem(trial.kernel.published(request))
        if problem:
            return f"{problem}, of a request that was answered with {outcome.status!r}"
    return ""


@rule(
    "abort.unasked",
    "Without stop_on_error, what was queued behind an error runs",
    f"{_EXECUTE}: if False, queued execute_requests will execute",
    needs=("print", "sleep", "error"),
    most=5,
)
def abort_unasked(trial: Trial) -> str:
    queued = _behind_failure(trial, stop_on_error=False)
    outcomes = _outcomes(trial, queued)
    # What it shows may come late.
    ran = sum(
        outcome is not None and (outcome.status == "ok" or bool(trial.marks(outcome.shown))) for outcome in outcomes
    )
    return "" if ran == len(queued) else f"{len(queued) - ran} of {len(queued)} queued cells did not run"


@rule(
    "abort.over",
    "What is sent when the error has been answered runs",
    f"{_EXECUTE}: stop_on_error aborts the queue, not what comes later",
    needs=("print", "error"),
)
def abort_over(trial: Trial) -> str:
    kernel = trial.kernel
    if kernel.run(trial.cell(("error", 1))).status != "error":
        raise NotMeasured("the sample of an error does not fail")
    status = kernel.run(trial.cell(("print", 2))).status
    return "" if status == "ok" else f"it is answered with {status!r}"


# Comms


def _own_target(trial: Trial) -> None:
    """Raise `NotApplicable` unless the kernel lists the comm that the samples have opened."""
    kernel = trial.kernel
    request = kernel.send("comm_info_request")
    listed = kernel.wait("", lambda: kernel.has_reply(request), _PATIENCE)
    comms = kernel.handled(request).reply.content.get("comms") if listed else None
    if not isinstance(comms, dict) or not comms:
        raise NotApplicable("the kernel lists no comms, and so has none that a frontend could open")


@rule(
    "comms.unknown-target",
    "A comm_open for a target that is not there is answered with a comm_close",
    'specification, "Opening a Comm"',
    needs=("comm",),
)
def unknown_target(trial: Trial) -> str:
    _own_target(trial)
    kernel = trial.kernel
    name = f"kernelbridge-check-{trial.number}"
    kernel.send("comm_open", {"comm_id": name, "target_name": "kernelbridge.nowhere", "data": {}})
    kernel.settle()
    closed = [
        message
        for message in kernel.received("iopub")
        if message.msg_type == "comm_close" and message.content.get("comm_id") == name
    ]
    return "" if len(closed) == 1 else f"{len(closed) or 'no'} comm_close came"


@rule(
    "comms.brackets",
    "A comm message is handled between a busy and an idle",
    'specification, "Output Side Effects": publish busy and idle, just like an execute request',
    needs=("comm",),
)
def comm_brackets(trial: Trial) -> str:
    _own_target(trial)
    kernel = trial.kernel
    # One that nobody has opened has no handler: which of its own comms a kernel handles is not known here.
    opened = kernel.send(
        "comm_open", {"comm_id": "kernelbridge-check", "target_name": "kernelbridge.nowhere", "data": {}}
    )
    kernel.settle()
    return bracket_problem(kernel.published(opened))
