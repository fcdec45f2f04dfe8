"""What Shell, Control and Stdin share: a ROUTER socket on a thread, malformed messages, replies, and the brackets.

Malformed messages are dropped, counted and logged, and the channel goes on: nothing that a stranger sends ends it.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import attrs
import zmq

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket, SocketBridge, send
from kernelbridge.kernel.handler import error_value, format_error
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.trace import Tracing
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.contents import Content, ErrorReply, structure, unstructure
from kernelbridge.wire.errors import ContentError, WireError
from kernelbridge.wire.frames import Limits, assemble, decode
from kernelbridge.wire.messages import Header, Message, Session
from kernelbridge.wire.packing import pack
from kernelbridge.wire.signing import ReplayGuard, Signer
from kernelbridge.wire.strays import Strays

logger = logging.getLogger("kernelbridge")

T = TypeVar("T")

LONG_ROW = 16
"""From how many requests in a row on the channel and the IOPub thread take turns."""

BUSY = b'{"execution_state":"busy"}'
IDLE = b'{"execution_state":"idle"}'


@attrs.frozen
class Wire:
    """What every channel of a kernel needs to speak: given once, shared by all."""

    context: Context
    clock: Clock
    session: Session
    signer: Signer
    limits: Limits
    guard: ReplayGuard
    """One for all channels: what was recorded on one must not be sent again on another."""
    strays: Strays
    tracing: Tracing


@attrs.define(eq=False)
class Request:
    """A message of the frontend, its content checked. `fault` says what is wrong with the content, if something is."""

    message: Message
    content: Content | Mapping[str, Any]
    fault: ContentError | None = None
    aborted: bool = False
    """Whether it must not run, because an execution before it has failed (contract K11). Set by the Shell thread."""

    @property
    def msg_type(self) -> str:
        return self.message.header.msg_type

    @property
    def header(self) -> Header:
        return self.message.header

    @property
    def reply_type(self) -> str:
        return self.msg_type.removesuffix("_request") + "_reply"


@attrs.frozen
class Reply:
    """The answer to a request, ready to be sent. `content` may be JSON text already."""

    request: Request
    content: Content | bytes
    metadata: Mapping[str, Any] | None = None


Answers = Mapping[str, Callable[[Request], Content | bytes]]


class RouterChannel(SocketBridge[T]):
    """A channel on which the frontend speaks first, or is spoken to by name.

    Takes `answers`: what is answered on the channel's own thread, by message type.
    """

    def __init__(
        self,
        name: Channel,
        wire: Wire,
        bind: Callable[[Socket], None],
        outputs: Outputs,
        answers: Answers = MappingProxyType({}),
        on_crash: OnCrash | None = None,
    ) -> None:
        super().__init__(name, wire.context, wire.clock, on_crash)
        self._channel: Channel = name
        self._answers = answers
        self._wire = wire
        self._bind = bind
        self._outputs = outputs
        # Owned by the thread.
        self._answered = 0
        self._socket: Socket

    def open_sockets(self) -> None:
        self._socket = self.context.socket(zmq.ROUTER)
        # A frontend that reconnects under its name gets what is meant for it, instead of being refused.
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        # Nothing is dropped here: replies are few, and a frontend waits for each.
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        # Adopted first: a socket that cannot be bound is closed, too.
        self.adopt(self._socket, self._arrived, self._row_has_been_read)
        self._bind(self._socket)

    @abstractmethod
    def received(self, message: Message) -> None:
        """Take a message that is well-formed."""

    def _arrived(self, frames: list[Frame]) -> None:
        for tap in self._wire.tracing.taps:
            tap(self._channel, "->", frames)
        try:
            message = decode(frames, self._wire.signer, self._wire.guard, self._wire.limits)
        except WireError as fault:
            self._wire.strays.refuse(self.name, fault)
            return
        self.received(message)

    def take_turns(self, requests: int) -> None:
        """After many requests in a row, wait until what they put is sent.

        The IOPub thread has its work then, and both would fight for the interpreter at every frame that either sends:
        taking turns is several times as fast. Nothing that IOPub does waits for this thread.
        """
        if requests >= LONG_ROW:
            self._outputs.flush()

    def _row_has_been_read(self) -> None:
        self.take_turns(self._answered)
        self._answered = 0

    def check(self, message: Message) -> Request:
        """Return `message` with its content checked."""
        try:
            return Request(message, structure(message.msg_type, message.content))
        except ContentError as fault:
            return Request(message, message.content, fault)

    def answer(self, request: Request) -> None:
        """Answer `request` here and now, between its brackets (contract K5)."""
        # It wakes the IOPub thread with `idle`: that thread would only be in the way until then.
        self._outputs.publish("status", BUSY, request.header, ring=False)
        self._answered += 1
        content = self._answer_to(request)
        if content is not None:
            self.send_reply(Reply(request, content))
        self.idle(request)

    def _answer_to(self, request: Request) -> Content | bytes | None:
        if request.fault is not None:
            logger.warning("%s: %s", self.name, request.fault)
            return fault_reply(request.fault) if request.msg_type.endswith("_request") else None
        answer = self._answers.get(request.msg_type)
        if answer is None:
            logger.warning("%s: no handling of %r", self.name, request.msg_type)
            return None
        try:
            return answer(request)
        except Exception as failure:
            # A handler's own, such as a `language_info` that is missing.
            logger.error("%s: %s failed", self.name, request.msg_type, exc_info=failure)
            return failure_reply(failure)

    def idle(self, request: Request) -> None:
        """Close the brackets. After the reply is sent: who sees `idle` finds the reply on its way."""
        self._outputs.publish("status", IDLE, request.header, ring=True)

    def send_reply(self, reply: Reply) -> None:
        """Send `reply` to whoever asked. One that is over the limit, or is none, becomes an error that says so."""
        try:
            frames = self._encoded(reply)
            self._wire.limits.check(frames)
        except WireError as refusal:
            frames = self._encoded(Reply(reply.request, ErrorReply(ename="MessageTooLarge", evalue=str(refusal))))
        except BaseException as failure:  # noqa: BLE001 - a repr is the user's code, and may raise anything.
            frames = self._encoded(Reply(reply.request, failure_reply(failure)))
        self.send(frames)

    def send(self, frames: list[Frame]) -> None:
        """Send a message, without waiting."""
        for tap in self._wire.tracing.taps:
            tap(self._channel, "<-", frames)
        send(self._socket, frames)

    def _encoded(self, reply: Reply) -> list[Frame]:
        request = reply.request
        content = reply.content
        return assemble(
            request.message.identities,
            self._wire.session.header_json(request.reply_type),
            request.header.to_json(),
            pack(reply.metadata) if reply.metadata else b"{}",
            content if isinstance(content, bytes) else pack(unstructure(content)),
            (),
            self._wire.signer,
        )


def failure_reply(failure: BaseException) -> ErrorReply:
    """Return the reply to a request whose handling has raised `failure`."""
    lines = format_error(failure, failure.__traceback__)
    return ErrorReply(ename=type(failure).__name__, evalue=error_value(failure), traceback=lines)


def fault_reply(fault: ContentError) -> ErrorReply:
    """Return the reply to a request whose content is wrong: it names the field."""
    return ErrorReply(ename=type(fault).__name__, evalue=str(fault), traceback=[str(fault)])
