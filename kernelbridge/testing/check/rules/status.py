"""Rules of busy and idle, and of parents."""

from __future__ import annotations

from kernelbridge.testing.check.failures import NotApplicable
from kernelbridge.testing.check.observer import Handled
from kernelbridge.testing.check.procedure import Trial, rule
from kernelbridge.testing.check.samples import Statement
from kernelbridge.wire.messages import Message, speaks

_STATUS = 'specification, "Kernel status"'
_REPLY_SECONDS = 5.0
_IDLE_SECONDS = 1.0
_CONTROL_SECONDS = 3.0
"""How long Control may take to answer until it is taken not to: nothing tells that it never will."""


def states(published: list[Message]) -> list[str]:
    """Return what the status messages say, in order."""
    return [str(message.content.get("execution_state")) for message in published if message.msg_type == "status"]


def bracket_problem(published: list[Message]) -> str:
    """Return what is wrong with the statuses of a request: they are one busy and one idle."""
    said = states(published)
    return "" if said == ["busy", "idle"] else f"the statuses are {', '.join(said) or 'none'}"


@rule("status.brackets", "An execution has one busy and then one idle", f"{_STATUS}; contract K5")
def brackets(trial: Trial) -> str:
    cells: list[Statement] = [name for name in ("print", "error") if trial.samples.knows(name)]
    # The empty cell is one of every language.
    place = trial.number % (len(cells) + 1)
    code = trial.cell((cells[place - 1], 1)) if place else ""
    handled = trial.kernel.run(code)
    trial.kernel.settle()
    problem = bracket_problem(handled.published)
    return f"{problem} of the cell {code!r}" if problem else ""


@rule(
    "status.silent",
    "A silent execution has one busy and then one idle",
    f'{_STATUS}; "Execute"',
)
def silent_brackets(trial: Trial) -> str:
    handled = trial.kernel.run("", silent=True, store_history=False)
    trial.kernel.settle()
    return bracket_problem(handled.published)


_REQUESTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("kernel_info_request", {}),
    ("complete_request", {"code": "a", "cursor_pos": 1}),
    ("inspect_request", {"code": "a", "cursor_pos": 1, "detail_level": 0}),
    ("is_complete_request", {"code": "a"}),
    (
        "history_request",
        {"output": False, "raw": True, "hist_access_type": "tail", "n": 1, "session": 0, "start": 0, "stop": 1},
    ),
    ("comm_info_request", {}),
)


@rule(
    "status.requests",
    "Every request that is answered has one busy and then one idle",
    f"{_STATUS}: before and after handling every request, not just execution",
    variants=len(_REQUESTS),
)
def requests(trial: Trial) -> str:
    msg_type, content = _REQUESTS[trial.number]
    trial.doing = msg_type
    kernel = trial.kernel
    request = kernel.send(msg_type, content)
    # Only kernel_info and execute have to be answered. What was not when a later request is will not be.
    probe = kernel.send("kernel_info_request")
    kernel.wait("", lambda: kernel.has_reply(request) or kernel.has_reply(probe), _REPLY_SECONDS)
    if not kernel.has_reply(request):
        return ""
    kernel.wait("", lambda: kernel.is_idle(request), _IDLE_SECONDS)
    return bracket_problem(kernel.published(request))


@rule(
    "status.control",
    "A kernel_info_request on Control is answered, with one busy and then one idle",
    'specification, "Kernel status", and the changes of 5.5',
    most=3,
)
def control(trial: Trial) -> str:
    kernel = trial.kernel
    request = asked_on_control(trial)
    if not kernel.has_reply(request):
        version = str(trial.running.info.get("protocol_version"))
        if not speaks(version, (5, 5)):
            raise NotApplicable(f"came with protocol 5.5, the kernel says {version}")
        return "no reply"
    kernel.wait("", lambda: kernel.is_idle(request), _IDLE_SECONDS)
    return bracket_problem(kernel.published(request))


def asked_on_control(trial: Trial) -> Message:
    """Send a kernel_info_request on Control and return it when it is answered, or seems not to be."""
    kernel = trial.kernel
    request = kernel.send("kernel_info_request", channel="control")
    kernel.wait("", lambda: kernel.has_reply(request), _CONTROL_SECONDS)
    return request


@rule(
    "status.inside",
    "What a cell shows lies between its busy and its idle",
    f"{_STATUS}: idle, when it has finished publishing associated IOPub messages",
    needs=("print",),
)
def inside(trial: Trial) -> str:
    wanted: list[tuple[Statement, int]] = [("print", 1), ("print", 2)]
    if trial.samples.knows("result"):
        wanted.append(("result", 3))
    handled = trial.run(*wanted)
    late = _behind_idle(trial, handled)
    if late:
        return f"{late} came behind the idle"
    first = handled.published[0]
    if states([first]) != ["busy"]:
        return f"{first.msg_type} came before the busy"
    seen = {number for _, number in trial.marks(handled.shown)}
    missing = [number for _, number in wanted if number not in seen]
    return f"of {len(wanted)} outputs {len(missing)} had not come with the idle" if missing else ""


def _behind_idle(trial: Trial, handled: Handled) -> str:
    """Return the type of what came behind the idle with the same parent, once all has come."""
    trial.kernel.settle()
    published = handled.published
    idle = next(place for place, message in enumerate(published) if message.is_idle)
    return published[idle + 1].msg_type if len(published) > idle + 1 else ""


@rule(
    "parents.replies",
    "A reply carries its request's header as parent",
    'specification, "Parent header": replies must have one, a copy of the header',
)
def replies(trial: Trial) -> str:
    kernel = trial.kernel
    for request in (kernel.send("kernel_info_request"), kernel.execute("")):
        parent = kernel.finish(request).reply.parent
        for name in ("msg_id", "msg_type", "session"):
            given, copied = getattr(request.header, name), getattr(parent, name)
            if given != copied:
                return f"{name} of the parent header is {copied!r}, and was {given!r}"
    return ""


@rule(
    "parents.outputs",
    "Of several queued cells, each has its own outputs",
    'specification, "Parent header"; contract K4',
    needs=("print",),
)
def outputs(trial: Trial) -> str:
    kernel = trial.kernel
    requests = [kernel.execute(trial.cell(("print", number))) for number in range(1, 6)]
    for request in requests:
        trial.succeeded(kernel.finish(request))
    for number, request in enumerate(requests, 1):
        strangers = [seen for _, seen in trial.marks(kernel.handled(request).shown) if seen != number]
        if strangers:
            return f"the output of cell {strangers[0]} has cell {number} as its parent"
    return ""


@rule(
    "parents.comms",
    "A comm message that a cell sends has the cell as its parent",
    'contract K4; specification, "Parent header": side-effects typically have a parent',
    "expectation",
    needs=("comm",),
)
def comms(trial: Trial) -> str:
    handled = trial.run(("comm", 1))
    trial.kernel.settle()
    if ("comm_msg", 1) in trial.marks(handled.published):
        return ""
    sent = [message for message in trial.kernel.received("iopub") if ("comm_msg", 1) in trial.marks([message])]
    return (
        "it has no parent" if any(message.parent is None for message in sent) else "it has another parent, or is lost"
    )
