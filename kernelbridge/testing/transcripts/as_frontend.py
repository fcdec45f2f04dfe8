"""A transcript played again as a frontend, against any kernel.

What counts is what came after what, not when. Where an id that the kernel had made up stands in what is sent, it is the
one that the kernel has made up this time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final, NoReturn

from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.testing.client import DEADLINE, ProtocolClient
from kernelbridge.testing.report import describe, hides_kit, is_text
from kernelbridge.testing.targets import Target
from kernelbridge.testing.transcripts.records import Record, with_ids
from kernelbridge.testing.transcripts.transcript import Transcript
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.messages import Message

__all__ = ["play_frontend"]

__tracebackhide__ = hides_kit

_UNASKED: Final = frozenset({"iopub_welcome", "status"})
"""What a kernel may say without being asked, and at a time of its own."""


def play_frontend(
    transcript: Transcript, kernel: Target, *, context: Context | None = None, deadline: float = DEADLINE
) -> Transcript:
    """Send `kernel` what the frontends of a transcript have sent, and return what passed this time.

    Each message is sent when the kernel has sent all that it had sent before it in the transcript: as many messages of
    each type in answer to each request, and as much text. Where it does otherwise this time, a request's `idle` is the
    end of what it publishes, and a reply the end of what it replies. Raises `ProtocolFailure` if that does not come
    within `deadline` seconds.

    All is sent by one frontend. Subscriptions and heartbeats are not played: that frontend has its own.
    """
    with ProtocolClient(kernel, context=context, deadline=deadline) as client:
        _Frontend(client, transcript.records).play()
        return Transcript.of(client)


_Cause = tuple[Channel, str | None]
"""A channel, and the request of the transcript that has caused what comes there."""


class _Frontend:
    def __init__(self, client: ProtocolClient, records: Sequence[Record]) -> None:
        self._client = client
        self._records = [record for record in records if record.channel not in ("iopub", "hb") or record.message]
        # What the kernel has sent before in the transcript, and what it has sent now.
        self._due: Counter[tuple[_Cause, str]] = Counter()
        self._come: Counter[tuple[_Cause, str]] = Counter()
        # The messages of the transcript that have one another's ids now, in the order in which they come.
        self._stored: dict[tuple[_Cause, str], list[Message]] = {}
        self._places: Counter[tuple[_Cause, str]] = Counter()
        for record in self._records:
            if record.message is not None and record.direction == "<-":
                key = self._key(record.channel, record.message, record.message.parent_id)
                self._stored.setdefault(key, []).append(record.message)
        self._ids: dict[str, str] = {}
        # Which message now is which of the transcript, by the ids there, and which request was which, by the ids now.
        self._now: dict[str, Message] = {}
        self._requests: dict[str, str] = {}

    def play(self) -> None:
        for record in self._records:
            if record.direction == "->":
                self._await(_said(record))
                self._send(record)
            elif record.message is not None:
                self._fall_due(record.channel, record.message)
        self._await("the end")
        self._client.read_all()

    def _send(self, record: Record) -> None:
        message = record.message
        if message is None:
            # The first is the name of who has sent it.
            self._client.send_frames(record.channel, record.frames[1:])
            return
        parent = None
        if message.parent is not None:
            parent = self._now.get(message.parent.msg_id, Message(message.parent, {}))
        sent = self._client.send(
            message.msg_type,
            with_ids(message.content, self._ids),
            channel=record.channel,
            parent=parent,
            metadata=with_ids(message.metadata, self._ids),
            buffers=message.buffers,
            subshell=with_ids(message.header.subshell_id, self._ids),
        )
        self._now[message.msg_id] = sent
        self._requests[sent.msg_id] = message.msg_id

    # What has to come before

    @staticmethod
    def _key(channel: Channel, message: Message, cause: str | None) -> tuple[_Cause, str]:
        kind = message.msg_type
        if kind == "status":
            kind = str(message.content.get("execution_state"))
        elif kind == "stream":
            kind = f"{kind} {message.content.get('name')}"
        return (channel, cause), kind

    @staticmethod
    def _amount(message: Message) -> int:
        # However a text was cut.
        return len(message.content["text"]) if is_text(message) else 1

    def _fall_due(self, channel: Channel, message: Message) -> None:
        unasked = message.parent_id is None and message.msg_type in _UNASKED
        # What somebody else has asked is not asked this time.
        if not unasked and (message.parent_id is None or message.parent_id in self._now):
            self._due[self._key(channel, message, message.parent_id)] += self._amount(message)

    def _await(self, what: str) -> None:
        """Return when all that is due has come; `what` waits for it."""
        self._read()
        while missing := next((key for key, amount in self._due.items() if self._is_missing(key, amount)), None):
            (channel, cause), kind = missing
            name = "nobody" if cause is None else describe(self._now[cause].msg_type, self._now[cause].content)
            headline = f"{what} is not played: the kernel has not sent all that it had sent before"
            missed = f"{kind} on {channel}, in answer to {name}, is missing"
            self._client.wait(getattr(self._client, channel), partial(self._fail, headline, missed))
            self._read()

    def _fail(self, headline: str, missed: str, why: str) -> NoReturn:
        self._client.fail(headline, f"{missed}: {why}")

    def _is_missing(self, key: tuple[_Cause, str], amount: int) -> bool:
        return self._come[key] < amount and not self._is_over(key[0])

    def _is_over(self, cause: _Cause) -> bool:
        """Return whether all has come that a request causes on a channel, whatever that is."""
        channel, asked = cause
        if asked is None:
            return False
        if channel == "iopub":
            return self._come[cause, "idle"] > 0
        return any(
            kind.endswith("_reply") and caused == asked and (replied == channel or channel == "stdin")
            for ((replied, caused), kind), amount in self._come.items()
            if amount
        )

    def _read(self) -> None:
        """Take what has come, and learn its ids."""
        for channel in (self._client.iopub, self._client.shell, self._client.control, self._client.stdin):
            while channel.unread:
                event = channel.take()
                event.read = True
                message = event.message
                asked = message.parent_id
                key = self._key(channel.name, message, asked if asked is None else self._requests.get(asked, asked))
                self._come[key] += self._amount(message)
                stored = self._stored.get(key, [])
                if self._places[key] < len(stored):
                    self._learn(stored[self._places[key]], message)
                self._places[key] += 1

    def _learn(self, stored: Message, now: Message) -> None:
        self._now[stored.msg_id] = now
        for old, new in zip(_made_up(stored), _made_up(now), strict=True):
            if old and new:
                self._ids[old] = new


def _made_up(message: Message) -> tuple[str, ...]:
    """Return the ids in a message that who has sent it may have made up, each '' where there is none."""
    content = message.content
    found = [message.msg_id, *(content.get(name) for name in ("comm_id", "subshell_id"))]
    return tuple(value if isinstance(value, str) else "" for value in found)


def _said(record: Record) -> str:
    message = record.message
    return record.note if message is None else describe(message.msg_type, message.content)
