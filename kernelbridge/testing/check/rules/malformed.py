"""Rules of malformed input: whatever comes, the kernel goes on."""

from __future__ import annotations

from functools import partial
from typing import Any

from kernelbridge.bridges.socket_bridge import Frame
from kernelbridge.testing.check.failures import KernelDied, NotApplicable
from kernelbridge.testing.check.procedure import Trial, rule
from kernelbridge.testing.check.rules.status import asked_on_control
from kernelbridge.wire.messages import Message

_SOURCE = "kernelbridge's contract on bad input; the specification is silent"
_SECONDS = 6.0
_PATIENCE = 1.0
_BUDGET = 15.0


_FRAMES: tuple[tuple[str, list[Frame]], ...] = (
    ("one empty frame", [b""]),
    ("frames without a delimiter", [b"a", b"b", b"c", b"d", b"e", b"f"]),
    ("a delimiter and nothing behind it", [b"<IDS|MSG>"]),
    ("three frames behind the delimiter", [b"<IDS|MSG>", b"", b"{}", b"{}"]),
)


_HEADER = (
    b'{"msg_id":"check-1","msg_type":"kernel_info_request","session":"check","username":"","version":"5.3",'
    b'"date":"2026-01-01T00:00:00Z"}'
)


def _parts(**changed: bytes) -> list[bytes]:
    parts = {"header": _HEADER, "parent": b"{}", "metadata": b"{}", "content": b"{}"}
    return list((parts | changed).values())


_DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000

_PARTS: tuple[tuple[str, list[bytes]], ...] = (
    ("a header that is no JSON", _parts(header=b"header")),
    ("an empty header", _parts(header=b"{}")),
    ("a header that is a list", _parts(header=b"[]")),
    ("a header whose msg_type is a number", _parts(header=b'{"msg_id":"check-2","msg_type":1,"session":"check"}')),
    ("a parent header that is a list", _parts(parent=b"[]")),
    ("metadata that are a list", _parts(metadata=b"[]")),
    ("content that is a list", _parts(content=b"[]")),
    ("content that is no JSON", _parts(content=b"content")),
    ("content that is no UTF-8", _parts(content=b'{"code":"\xff\xfe"}')),
    ("content 5,000 levels deep", _parts(content=_DEEP)),
)

_CONTENTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("an execute_request without code", "execute_request", {}),
    ("an execute_request whose code is a number", "execute_request", {"code": 12, "silent": False}),
    ("a complete_request without code", "complete_request", {}),
    ("a complete_request whose cursor is past the end", "complete_request", {"code": "a", "cursor_pos": 1_000_000}),
    ("a complete_request whose cursor is negative", "complete_request", {"code": "a", "cursor_pos": -5}),
    ("an inspect_request whose cursor is a string", "inspect_request", {"code": "a", "cursor_pos": "1"}),
    ("an is_complete_request without code", "is_complete_request", {}),
    ("a history_request of unknown kind", "history_request", {"hist_access_type": "nonsense"}),
    ("a comm_open without content", "comm_open", {}),
    ("a comm_msg without content", "comm_msg", {}),
    ("a comm_close of a comm that is not open", "comm_close", {"comm_id": "nobody", "data": {}}),
)


def _forged(trial: Trial) -> tuple[Message, list[Frame]]:
    """Return an execute_request with a wrong signature, and its frames."""
    code = trial.cell(("print", 1)) if trial.samples.knows("print") else ""
    forged, given = trial.kernel.encoded("execute_request", {"code": code, "silent": False, "store_history": True})
    given[1] = b"0" * 64
    return forged, given


def _goes_on(trial: Trial) -> str:
    """Wait for the answer to a request. It raises when there is none."""
    trial.kernel.finish(trial.kernel.send("kernel_info_request"))
    return ""


@rule(
    "malformed.frames",
    "The kernel goes on after frames that are no message",
    _SOURCE,
    "expectation",
    variants=len(_FRAMES) + 1,
    seconds=_SECONDS,
    budget=_BUDGET,
)
def frames(trial: Trial) -> str:
    # A message that is right, but for its signature, is the last variant.
    if trial.number < len(_FRAMES):
        trial.doing, given = _FRAMES[trial.number]
    else:
        trial.doing, given = "a wrong signature", _forged(trial)[1]
    trial.kernel.send_frames("shell", given)
    return _goes_on(trial)


@rule(
    "malformed.parts",
    "The kernel goes on after signed messages whose parts are not what they should be",
    _SOURCE,
    "expectation",
    variants=len(_PARTS),
    seconds=_SECONDS,
    budget=_BUDGET,
)
def parts(trial: Trial) -> str:
    trial.doing, given = _PARTS[trial.number]
    trial.kernel.send_frames("shell", trial.kernel.sign(given))
    return _goes_on(trial)


@rule(
    "malformed.contents",
    "The kernel goes on after requests with missing or mistyped fields",
    _SOURCE,
    "expectation",
    variants=len(_CONTENTS),
    seconds=_SECONDS,
    budget=_BUDGET,
)
def contents(trial: Trial) -> str:
    trial.doing, msg_type, content = _CONTENTS[trial.number]
    trial.kernel.send(msg_type, content)
    return _goes_on(trial)


@rule(
    "malformed.control",
    "Control goes on after what is no message",
    _SOURCE,
    "expectation",
    variants=len(_FRAMES),
    seconds=_SECONDS,
    budget=_BUDGET,
)
def control(trial: Trial) -> str:
    kernel = trial.kernel
    if not kernel.has_reply(asked_on_control(trial)):
        raise NotApplicable("the kernel answers no kernel_info_request on Control, by which it could be seen")
    trial.doing, given = _FRAMES[trial.number]
    kernel.send_frames("control", given)
    kernel.reply(kernel.send("kernel_info_request", channel="control"))
    return _goes_on(trial)


@rule(
    "malformed.signature",
    "A message with a wrong signature is not obeyed",
    'specification, "The Wire Protocol": the signature is used for authentication',
    needs=("print",),
    most=5,
)
def signature(trial: Trial) -> str:
    kernel = trial.kernel
    forged, given = _forged(trial)
    kernel.send_frames("shell", given)
    # Whether the kernel goes on is another rule's question.
    try:
        trial.abandoned = not kernel.wait("", partial(kernel.has_reply, kernel.send("kernel_info_request")), _PATIENCE)
    except KernelDied:
        trial.abandoned = True
    if kernel.has_reply(forged) or trial.marks(kernel.received("iopub")):
        return "it was obeyed"
    return ""
