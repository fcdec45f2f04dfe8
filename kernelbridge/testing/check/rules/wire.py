"""Rules of the wire: frames, signatures, headers."""

from __future__ import annotations

from kernelbridge.testing.check.procedure import Trial, rule
from kernelbridge.wire.messages import Message

_HEADER_FIELDS = ("msg_id", "session", "username", "date", "msg_type", "version")


def _conversation(trial: Trial) -> list[Message]:
    """Let the kernel say something of each kind, and return all of it."""
    kernel = trial.kernel
    kernel.finish(kernel.send("kernel_info_request"))
    cell = trial.cell(("print", 1)) if trial.samples.knows("print") else ""
    kernel.run(cell)
    if trial.samples.knows("error"):
        kernel.run(trial.cell(("error", 2)))
    return [event.message for event in kernel.time_line.events if event.direction == "<-"]


@rule(
    "wire.signed",
    "What the kernel sends is a message, and rightly signed",
    'specification, "The Wire Protocol"',
)
def signed(trial: Trial) -> str:
    _conversation(trial)
    return trial.kernel.strays[0] if trial.kernel.strays else ""


@rule(
    "wire.topic",
    "A message on IOPub has one frame before the delimiter: its topic",
    'specification, "The Wire Protocol": in the case of IOPub there should be just one prefix component',
    "expectation",
)
def topic(trial: Trial) -> str:
    _conversation(trial)
    for message in trial.kernel.received("iopub"):
        if len(message.identities) != 1:
            return f"{message.msg_type} has {len(message.identities)} frames before the delimiter"
    return ""


@rule(
    "wire.header",
    "Headers have all of their fields",
    'specification, "Message Header"',
)
def header(trial: Trial) -> str:
    for message in _conversation(trial):
        fields = message.header.to_dict()
        # A username is applicable or not.
        missing = [name for name in _HEADER_FIELDS if not fields[name] and name != "username"]
        if missing:
            return f"the header of {message.msg_type} has no {', '.join(missing)}"
    return ""


@rule(
    "wire.ids",
    "No two messages have the same msg_id",
    'specification, "Message Header": must be unique per message',
)
def ids(trial: Trial) -> str:
    seen: dict[str, str] = {}
    for message in _conversation(trial):
        if message.msg_id in seen:
            return f"{message.msg_type} has the msg_id of a {seen[message.msg_id]}"
        seen[message.msg_id] = message.msg_type
    return ""


@rule(
    "wire.session",
    "All that a kernel sends names one session, which is not the client's",
    'specification, "Message Header": a kernel session ID should identify a particular kernel process',
    "expectation",
)
def session(trial: Trial) -> str:
    said = _conversation(trial)
    own = {message.header.session for message in said}
    if len(own) > 1:
        return f"{len(said)} messages name {len(own)} sessions"
    asked = {event.message.header.session for event in trial.kernel.time_line.events if event.direction == "->"}
    return "its messages name the client's session" if own & asked else ""
