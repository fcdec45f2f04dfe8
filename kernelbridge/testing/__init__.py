"""The test kit: protocol tests that read as the protocol, of any kernel.

The public names, loaded where they are first used: pytest loads the plugin of this room in every suite that runs where
the package is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelbridge.testing.channel import ProtocolChannel
    from kernelbridge.testing.client import DEADLINE, ProtocolClient
    from kernelbridge.testing.clock import VirtualClock
    from kernelbridge.testing.kernelspecs import scripted_kernelspec
    from kernelbridge.testing.manual import ManualKernel
    from kernelbridge.testing.matchers import (
        Matcher,
        busy,
        clear_output,
        comm_close,
        comm_msg,
        comm_open,
        display,
        error,
        execute_input,
        execute_reply,
        execute_request,
        idle,
        input_reply,
        input_request,
        iopub_welcome,
        message,
        reply,
        request,
        result,
        starting,
        status,
        stderr,
        stdout,
        update_display,
    )
    from kernelbridge.testing.patterns import ANY, Capture, capture, regex
    from kernelbridge.testing.report import ProtocolFailure
    from kernelbridge.testing.scripted import ScriptedKernel
    from kernelbridge.testing.steps import (
        Always,
        Scriptable,
        Step,
        always,
        bad_signature,
        call,
        cue,
        die,
        duplicate,
        flood,
        gap,
        garbage,
        handle,
        hang,
        on,
        replay,
        send,
        truncated,
    )
    from kernelbridge.testing.targets import Target
    from kernelbridge.testing.transcripts import (
        Record,
        Recorder,
        StoredTranscripts,
        Transcript,
        TranscriptError,
        play_frontend,
        play_kernel,
    )

__all__ = [
    "ANY",
    "DEADLINE",
    "Always",
    "Capture",
    "ManualKernel",
    "Matcher",
    "ProtocolChannel",
    "ProtocolClient",
    "ProtocolFailure",
    "Record",
    "Recorder",
    "Scriptable",
    "ScriptedKernel",
    "Step",
    "StoredTranscripts",
    "Target",
    "Transcript",
    "TranscriptError",
    "VirtualClock",
    "always",
    "bad_signature",
    "busy",
    "call",
    "capture",
    "clear_output",
    "comm_close",
    "comm_msg",
    "comm_open",
    "cue",
    "die",
    "display",
    "duplicate",
    "error",
    "execute_input",
    "execute_reply",
    "execute_request",
    "flood",
    "gap",
    "garbage",
    "handle",
    "hang",
    "idle",
    "input_reply",
    "input_request",
    "iopub_welcome",
    "message",
    "on",
    "play_frontend",
    "play_kernel",
    "regex",
    "replay",
    "reply",
    "request",
    "result",
    "scripted_kernelspec",
    "send",
    "starting",
    "status",
    "stderr",
    "stdout",
    "truncated",
    "update_display",
]

_MODULES = {
    "channel": ("ProtocolChannel",),
    "client": (
        "DEADLINE",
        "ProtocolClient",
    ),
    "clock": ("VirtualClock",),
    "kernelspecs": ("scripted_kernelspec",),
    "manual": ("ManualKernel",),
    "patterns": (
        "ANY",
        "Capture",
        "capture",
        "regex",
    ),
    "report": ("ProtocolFailure",),
    "scripted": ("ScriptedKernel",),
    "steps": (
        "Always",
        "Scriptable",
        "Step",
        "always",
        "bad_signature",
        "call",
        "cue",
        "die",
        "duplicate",
        "flood",
        "gap",
        "garbage",
        "handle",
        "hang",
        "on",
        "replay",
        "send",
        "truncated",
    ),
    "targets": ("Target",),
    "transcripts": (
        "Record",
        "Recorder",
        "StoredTranscripts",
        "Transcript",
        "TranscriptError",
        "play_frontend",
        "play_kernel",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Most of the names are matchers.
    value = getattr(import_module(f"{__name__}.{_MODULE_OF.get(name, 'matchers')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
