"""The test kit: protocol tests that read as the protocol, of any kernel."""

from __future__ import annotations

from kernelbridge.testing.channel import ProtocolChannel
from kernelbridge.testing.client import DEADLINE, ProtocolClient
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
    idle,
    input_request,
    iopub_welcome,
    message,
    reply,
    result,
    starting,
    status,
    stderr,
    stdout,
    update_display,
)
from kernelbridge.testing.patterns import ANY, Capture, capture, regex
from kernelbridge.testing.report import ProtocolFailure
from kernelbridge.testing.targets import Target

__all__ = [
    "ANY",
    "DEADLINE",
    "Capture",
    "Matcher",
    "ProtocolChannel",
    "ProtocolClient",
    "ProtocolFailure",
    "Target",
    "busy",
    "capture",
    "clear_output",
    "comm_close",
    "comm_msg",
    "comm_open",
    "display",
    "error",
    "execute_input",
    "execute_reply",
    "idle",
    "input_request",
    "iopub_welcome",
    "message",
    "regex",
    "reply",
    "result",
    "starting",
    "status",
    "stderr",
    "stdout",
    "update_display",
]
