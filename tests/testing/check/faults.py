"""For each rule, a kernel that breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from kernelbridge.bridges.socket_bridge import Frame
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Header, Message
from kernelbridge.wire.signing import Signer
from tests.testing.check.kernels import TINY, Faulty


class WrongKey(Faulty):
    def transmit(self, channel: Channel, message: Message) -> None:
        signer = Signer(b"another") if message.msg_type == "execute_input" else self.signer
        self.send(channel, encode(message, signer))


class Noisy(Faulty):
    """Publishes frames that are no message before each message."""

    def send(self, channel: Channel, frames: list[Frame]) -> None:
        if channel == "iopub":
            super().send(channel, [b"topic", b"noise"])
        super().send(channel, frames)


class NoTopic(Faulty):
    def send(self, channel: Channel, frames: list[Frame]) -> None:
        super().send(channel, frames[1:] if channel == "iopub" else frames)


class ChangedHeaders(Faulty):
    changes: ClassVar[dict[str, Any]]

    def transmit(self, channel: Channel, message: Message) -> None:
        message.header = attrs.evolve(message.header, **self.changes, json=None)
        super().transmit(channel, message)


class NoDate(ChangedHeaders):
    changes: ClassVar[dict[str, Any]] = {"date": ""}


class OneId(ChangedHeaders):
    changes: ClassVar[dict[str, Any]] = {"msg_id": "always"}


class ClientsSession(Faulty):
    def transmit(self, channel: Channel, message: Message) -> None:
        if message.parent is not None:
            message.header = attrs.evolve(message.header, session=message.parent.session, json=None)
        super().transmit(channel, message)


class BusyTwice(Faulty):
    def execute_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        self.publish("status", {"execution_state": "busy"})
        return super().execute_request(content)


class OnlyExecutionsHaveStatus(Faulty):
    def status(self, channel: Channel, state: str) -> None:
        if self.request.msg_type in ("execute_request", "kernel_info_request"):
            super().status(channel, state)


class NoStatusOnControl(Faulty):
    def status(self, channel: Channel, state: str) -> None:
        if channel != "control":
            super().status(channel, state)


class Late(Faulty):
    """Shows what is printed behind the idle."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.held: list[tuple[str, str]] = []

    def write(self, name: str, text: str) -> None:
        self.held.append((name, text))

    def status(self, channel: Channel, state: str) -> None:
        super().status(channel, state)
        if state == "idle":
            held, self.held = self.held, []
            for name, text in held:
                super().write(name, text)


class OtherParents(Faulty):
    """Gives replies a header that is not quite the request's."""

    def transmit(self, channel: Channel, message: Message) -> None:
        if channel == "shell" and message.parent is not None:
            message.parent = attrs.evolve(message.parent, session="another", json=None)
        super().transmit(channel, message)


class ParentBefore(Faulty):
    """Gives output the parent that came before."""

    before: Header | None = None

    def write(self, name: str, text: str) -> None:
        self.publish("stream", {"name": name, "text": text}, parent=self.before or self.request.header)

    def handle(self, channel: Channel, request: Message) -> None:
        super().handle(channel, request)
        self.before = request.header


class OrphanComms(Faulty):
    def comm(self, number: int) -> None:
        self.publish("comm_msg", {"comm_id": "check", "data": {"mark": f"<{number}>"}}, parent=None)


class InputLast(Faulty):
    def show_input(self, code: str) -> None:
        """Do nothing yet."""

    def run_cell(self, code: str, content: Mapping[str, Any]) -> None:
        super().run_cell(code, content)
        super().show_input(code)


class Buffered(Faulty):
    """Shows what is printed at the end of the cell, each stream for itself."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.texts: dict[str, str] = {}

    def write(self, name: str, text: str) -> None:
        self.texts[name] = self.texts.get(name, "") + text

    def status(self, channel: Channel, state: str) -> None:
        for name in list(self.texts):
            super().write(name, self.texts.pop(name))
        super().status(channel, state)


class NoBanner(Faulty):
    def kernel_info_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        info = super().kernel_info_request(content)
        del info["banner"]
        return info


class ChangedReplies(Faulty):
    changes: ClassVar[dict[str, Any]]

    def execute_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return super().execute_request(content) | self.changes


class NoCount(ChangedReplies):
    changes: ClassVar[dict[str, Any]] = {"execution_count": None}


class AlwaysWell(ChangedReplies):
    changes: ClassVar[dict[str, Any]] = {"status": "ok"}


class OneCount(ChangedReplies):
    changes: ClassVar[dict[str, Any]] = {"execution_count": 1}


class StrippedCode(Faulty):
    def show_input(self, code: str) -> None:
        super().show_input(code.replace("\n", ";"))


class Loud(Faulty):
    def statement(self, word: str, number: int, content: Mapping[str, Any]) -> None:
        super().statement(word, number, {**content, "silent": False})


class AsksAnyway(Faulty):
    def ask(self, number: int, content: Mapping[str, Any]) -> str:
        return self.prompt(number)


class Pedantic(Faulty):
    def execute_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return (
            self.failed("TypeError", "what?") if "kernelbridge_check" in content else super().execute_request(content)
        )


class DiesOfUnknown(Faulty):
    def unknown(self, content: Mapping[str, Any]) -> None:
        self.alive = False


class IgnoresUnknown(Faulty):
    def handle(self, channel: Channel, request: Message) -> None:
        if hasattr(self, request.msg_type):
            super().handle(channel, request)


class Forgetful(Faulty):
    """Takes no more than ten requests at a time."""

    def read(self, milliseconds: int | None) -> None:
        super().read(milliseconds)
        while self.waiting and self._poller.poll(0):
            super().read(0)
        while len(self.waiting) > 10:
            self.waiting.pop()


class AbortsNothing(Faulty):
    def abort(self) -> None:
        """Go on."""


class AbortsAlways(Faulty):
    def execute_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return super().execute_request({**content, "stop_on_error": True})


class AbortsInSilence(Faulty):
    def aborted(self, channel: Channel) -> None:
        self.reply(channel, self.request, {"status": "aborted", "execution_count": self.count})


class AbortsOneMore(Faulty):
    again = False

    def abort(self) -> None:
        super().abort()
        self.again = True

    def execute_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        if self.again and content["code"]:
            self.again = False
            return {"status": "aborted", "execution_count": self.count}
        return super().execute_request(content)


class ClosesNothing(Faulty):
    def comm_open(self, content: Mapping[str, Any]) -> None:
        """Say nothing."""


class CommsInSilence(Faulty):
    def status(self, channel: Channel, state: str) -> None:
        if self.request.msg_type != "comm_open":
            super().status(channel, state)


class NoWelcome(Faulty):
    def welcome(self) -> None:
        """Do nothing."""


class LosesLines(Faulty):
    def write(self, name: str, text: str) -> None:
        if not text.startswith("<4"):
            super().write(name, text)


class ShortQueue(Faulty):
    send_limit = 1000


class Cuts(Faulty):
    def write(self, name: str, text: str) -> None:
        super().write(name, text[:1000])


class Small(Faulty):
    def execute_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        if len(content["code"]) > 100_000:
            return self.failed("ValueError", "too big")
        return super().execute_request(content)


class Fragile(Faulty):
    def malformed(self) -> None:
        self.alive = False

    def failed(self, name: str, value: str) -> dict[str, Any]:
        if name == "TypeError":
            self.alive = False
        return super().failed(name, value)


class Trusting(Faulty):
    """Takes any signature."""

    def take(self, channel: Channel, frames: list[bytes]) -> None:
        place = frames.index(b"<IDS|MSG>")
        frames[place + 1] = self.signer.sign(frames[place + 2 : place + 6])
        super().take(channel, frames)


class LeapingHeart(Faulty):
    def beat(self, frames: list[bytes]) -> None:
        super().beat([*frames[:-1], b"another"])


class LeakySubshells(Faulty):
    """Runs what is for a subshell in the main one, and deletes none."""

    def create_subshell_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"subshell_id": "one"}

    def delete_subshell_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def list_subshell_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"subshell_id": ["one"]}


class Stays(Faulty):
    """Answers a shutdown_request, and nothing more."""

    def shutdown_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"restart": False}


class LeavesWithoutAWord(Faulty):
    def handle(self, channel: Channel, request: Message) -> None:
        if request.msg_type == "shutdown_request":
            self.alive = False
        else:
            super().handle(channel, request)


OF_RULES: list[tuple[str, type[Faulty]]] = [
    ("wire.signed", WrongKey),
    ("wire.topic", NoTopic),
    ("wire.header", NoDate),
    ("wire.ids", OneId),
    ("wire.session", ClientsSession),
    ("status.brackets", BusyTwice),
    ("status.silent", BusyTwice),
    ("status.requests", OnlyExecutionsHaveStatus),
    ("status.control", NoStatusOnControl),
    ("status.inside", Late),
    ("parents.replies", OtherParents),
    ("parents.outputs", ParentBefore),
    ("parents.comms", OrphanComms),
    ("order.input", InputLast),
    ("order.print-comm", Buffered),
    ("order.print-display", Buffered),
    ("order.stdout-stderr", Buffered),
    ("order.print-result", Buffered),
    ("order.print-error", Buffered),
    ("order.prompt", Buffered),
    ("requests.info", NoBanner),
    ("requests.reply", NoCount),
    ("requests.error", AlwaysWell),
    ("requests.count", OneCount),
    ("requests.input", StrippedCode),
    ("requests.silent", Loud),
    ("requests.no-stdin", AsksAnyway),
    ("requests.extra-field", Pedantic),
    ("requests.unknown", DiesOfUnknown),
    ("requests.unknown-idle", IgnoresUnknown),
    ("requests.all", Forgetful),
    ("abort.error", AlwaysWell),
    ("abort.queued", AbortsNothing),
    ("abort.replies", AbortsInSilence),
    ("abort.unasked", AbortsAlways),
    ("abort.over", AbortsOneMore),
    ("comms.unknown-target", ClosesNothing),
    ("comms.brackets", CommsInSilence),
    ("load.welcome", NoWelcome),
    ("load.lines", LosesLines),
    ("load.idle", Late),
    ("load.stalled", ShortQueue),
    ("load.big-output", Cuts),
    ("load.big-request", Small),
    ("malformed.frames", Fragile),
    ("malformed.parts", Fragile),
    ("malformed.contents", Fragile),
    ("malformed.control", Fragile),
    ("malformed.signature", Trusting),
    ("interrupt.pause", Faulty),
    ("interrupt.loop", Faulty),
    ("interrupt.input", Faulty),
    ("control.beside-shell", Faulty),
    ("heartbeat.echo", LeapingHeart),
    ("heartbeat.pause", Faulty),
    ("heartbeat.held", Faulty),
    ("subshells.beside", LeakySubshells),
    ("subshells.list", LeakySubshells),
    ("end.shutdown", LeavesWithoutAWord),
]
"""Each rule and a kernel that breaks it."""

SAMPLES = attrs.evolve(TINY, statements={**TINY.statements, "hold": "hold {n}"})

INFO = {"supported_features": ["kernel subshells"]}

STATUS = {"requests.unknown": "died"}
"""What is not just violated."""
