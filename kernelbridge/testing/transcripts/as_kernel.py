"""A transcript played again as a kernel, for any frontend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

import attrs

from kernelbridge.testing.manual import KernelOptions, ManualKernel
from kernelbridge.testing.matchers import Matcher
from kernelbridge.testing.patterns import UNSET, Capture, capture
from kernelbridge.testing.report import describe
from kernelbridge.testing.scripted import ScriptedKernel
from kernelbridge.testing.steps import Always, Step, always, garbage, on
from kernelbridge.testing.transcripts.records import Record, with_ids
from kernelbridge.testing.transcripts.transcript import Transcript
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.messages import Message

__all__ = ["play_kernel"]


def play_kernel(transcript: Transcript, **options: Unpack[KernelOptions]) -> ScriptedKernel:
    """Return a kernel that sends what the kernel of a transcript has sent, when it is sent what that was sent.

    It is a `ScriptedKernel` and takes its `options`; what it publishes is numbered (contract K9) if it was there. What
    it is sent must be as in the transcript, in the same order on each channel, but for the ids that frontends make up.
    A kernel_info_request is answered however often it comes, because their number depends on time: as the first one of
    the transcript that came to its idle, if there is one. It and subscriptions are else answered as a `ScriptedKernel`
    does it. What was no message is sent on IOPub, and awaited nowhere.
    """
    messages = [record.message for record in transcript.records if record.message is not None]
    if "numbered" not in options:
        options["numbered"] = any(message.seq is not None for message in messages)
    return ScriptedKernel(*_Script(transcript.records).steps, **options)


class _Script:
    """The script that a transcript makes."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.steps: list[Step | Always] = []
        # What each request of the transcript will be, by its id; the same for ids that a frontend has made up.
        self._requests: dict[str, Capture] = {}
        self._ids: dict[str, Capture] = {}
        # What is asked whenever a frontend likes, and what is said then.
        self._polls: dict[str, list[_Said]] = {}
        for record in records:
            if record.message is None:
                if record.direction == "<-" and record.channel == "iopub":
                    self.steps.append(garbage(*record.frames))
            elif record.direction == "->":
                self._ask(record.channel, record.message)
            else:
                self._say(record.channel, record.message)
        answers = [said for said in self._polls.values() if any(one.message.is_idle for one in said)]
        for said in answers[:1]:
            self.steps.append(always(Matcher("kernel_info_request", {}), *said))

    def _ask(self, channel: Channel, message: Message) -> None:
        if message.msg_type == "kernel_info_request":
            self._polls[message.msg_id] = []
            return
        comm_id = message.content.get("comm_id")
        if message.msg_type == "comm_open" and isinstance(comm_id, str):
            self._ids[comm_id] = capture(f"comm {len(self._ids) + 1}")
        asked = self._requests[message.msg_id] = capture(f"{channel} {len(self._requests) + 1}")
        matcher = Matcher(message.msg_type, with_ids(message.content, self._ids), buffers=message.buffers or UNSET)
        self.steps.append(on(matcher, channel=channel, request=asked))

    def _say(self, channel: Channel, message: Message) -> None:
        if message.msg_type == "iopub_welcome":
            return
        parent = message.parent_id
        if parent in self._polls:
            self._polls[parent].append(_Said(message, UNSET, with_ids(message.content, self._ids), None))
            return
        named = None if parent is None else self._requests.get(parent, parent)
        self.steps.append(_Said(message, named, with_ids(message.content, self._ids), channel))


@attrs.frozen
class _Said(Step):
    """Sends a message of a transcript as it was, but for its ids: nothing is filled in."""

    message: Message
    parent: Any
    content: dict[str, Any]
    channel: Channel | None

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        said = self.message
        # A number is that of this kernel's queue.
        metadata = {name: value for name, value in said.metadata.items() if said.seq is None or name != "kernelbridge"}
        matcher = Matcher(said.msg_type, self.content, self.parent, metadata, said.buffers or UNSET)
        channel, made = kernel.make(matcher, request, self.channel, fill=False)
        kernel.send_frames(channel, kernel.encoded(made))

    def __str__(self) -> str:
        return describe(self.message.msg_type, self.message.content)
