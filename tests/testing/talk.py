"""Transcripts that are made by hand, message by message."""

from __future__ import annotations

import uuid
from typing import Any

from kernelbridge.testing import (
    Record,
    Transcript,
)
from kernelbridge.testing.transcripts.records import Direction
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.messages import Header, Message


class Talk:
    """A transcript that is made by hand, message by message."""

    def __init__(self, session: str = "") -> None:
        self.session = session or uuid.uuid4().hex
        self.records: list[Record] = []

    def add(
        self,
        direction: Direction,
        channel: Channel,
        msg_type: str,
        content: dict[str, Any],
        parent: Message | None = None,
        **fields: Any,
    ) -> Message:
        header = Header(f"{self.session}_{len(self.records)}", msg_type, self.session, date="2026-01-01T00:00:00Z")
        message = Message(header, content, None if parent is None else parent.header, **fields)
        self.records.append(Record(direction, channel, float(len(self.records)), message))
        return message

    def execute(self, code: str) -> Message:
        return self.add("->", "shell", "execute_request", {"code": code})

    def publish(self, msg_type: str, parent: Message | None = None, metadata: Any = None, **content: Any) -> Message:
        return self.add("<-", "iopub", msg_type, content, parent, metadata=metadata or {})

    def write(self, text: str, parent: Message | None = None) -> Message:
        return self.publish("stream", parent, name="stdout", text=text)

    @property
    def transcript(self) -> Transcript:
        return Transcript(self.records)


def said(*texts: str) -> Transcript:
    """Return a session in which one request made the kernel write these texts."""
    talk = Talk()
    request = talk.execute("x")
    for text in texts:
        talk.publish("clear_output", request)
        talk.write(text, request)
    return talk.transcript
