"""KERNELBRIDGE_LOG: a log of what the kernels and bridges of a process do, for whoever looks for a fault.

    KERNELBRIDGE_LOG=debug                 on stderr
    KERNELBRIDGE_LOG=debug:/tmp/bridge.log at the end of a file, which only the user can read
    KERNELBRIDGE_LOG=info                  any of Python's levels; without the variable it is warning

At ``debug`` each message that passes is a line, at both ends: when, in which process, at which end and on which
channel; ``->`` to the kernel or ``<-`` from it; its type and id, of which request it comes, and how its content begins.
What was answered to a prompt is not shown, because it may be a password.

    2026-01-31 12:00:00,123 4711 DEBUG kernel iopub <- stream b2_7 of execute_request a1_3 {"name":"stdout","text":"1"}

A bridge and a kernel that it launches may write to one file.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any, Literal, TextIO

import attrs

from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import Frame, decode
from kernelbridge.wire.messages import Message
from kernelbridge.wire.packing import pack
from kernelbridge.wire.signing import Signer

logger = logging.getLogger("kernelbridge")

VARIABLE = "KERNELBRIDGE_LOG"

_CONTENT_BYTES = 1000
"""How much of a content is shown."""

_begun = threading.Lock()
"""Held from when the log has been set up, once in a process."""


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes the log, as long as there is somewhere to write it.

    Python's own says on `sys.stderr` that the terminal is gone: in a kernel, that is a cell's output.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def begin(terminal: TextIO | None = None) -> None:
    """Set up the log as the environment says, if it does.

    A process that is a kernel's own gives its `terminal`, where the log goes unless the environment names a file.
    """
    asked = os.environ.get(VARIABLE, "")
    if (not asked and terminal is None) or not _begun.acquire(blocking=False):
        return
    level, _, path = asked.partition(":")
    handler: logging.Handler = LogHandler(terminal)
    problem = ""
    number = logging.getLevelNamesMapping().get((level or "warning").upper())
    if number is None:
        problem = f"{level!r} is no level: debug, info, warning, error and critical are"
    elif path:
        try:
            # Not logging's own handler of files, which cannot be told who may read.
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            handler = LogHandler(os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace"))
        except OSError as refusal:
            problem = f"{path}: {refusal.strerror}"
    if asked:
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if number is None else number)
    logger.propagate = terminal is None and not asked
    if problem:
        logger.error("%s: %s", VARIABLE, problem)


def message_log(end: str, signer: Signer) -> MessageLog | None:
    """Return what logs the messages of one end, or None when that is not asked for, which it seldom is."""
    asked = os.environ.get(VARIABLE, "").partition(":")[0]
    return MessageLog(end, signer) if asked.lower() == "debug" else None


@attrs.frozen
class MessageLog:
    """Logs messages, each before it is read or sent. `end` says whose."""

    end: str
    signer: Signer

    def __call__(self, channel: str, direction: Literal["->", "<-"], frames: Sequence[Frame]) -> None:
        try:
            said = describe(decode(frames, self.signer))
        except WireError as fault:
            said = f"{len(frames)} frames that are no message: {fault}"
        logger.debug("%s %s %s %s", self.end, channel, direction, said)


def describe(message: Message) -> str:
    """Return a message on one line."""
    header, parent = message.header, message.parent
    words = [header.msg_type, header.msg_id]
    if parent is not None:
        words += ["of", parent.msg_type, parent.msg_id]
    words.append("..." if header.msg_type == "input_reply" else _beginning(message.content))
    if message.buffers:
        words.append(f"and {len(message.buffers)} buffers")
    # An id may be anything, and this is a line.
    return " ".join(words).replace("\n", "\\n")


def _beginning(content: dict[str, Any]) -> str:
    text = pack(content)
    shown = text[:_CONTENT_BYTES].decode(errors="replace")
    return shown if len(text) <= _CONTENT_BYTES else f"{shown}... ({len(text)} bytes)"
