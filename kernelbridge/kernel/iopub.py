"""The IOPub thread: the only consumer of the one queue, and the owner of the XPUB socket (contract K1-K3, K8, K9).

`IOPubCore` decides what leaves, in which order and with which number; it has no socket, no thread and no clock.
`IOPub` is the thread around it: it takes from the queue, encodes, signs and sends.

Theory of operation. A stream's text may still grow while it is the last thing in the queue, so the core does not emit
it when it comes: it holds it and names a deadline. Whatever comes next closes the text and lets it out first. If
nothing comes, the deadline does. So order never depends on a timer, only the age of a text does.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import zmq

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket, SocketBridge, send
from kernelbridge.kernel.outputs import Flush, Item, Publication, StreamText
from kernelbridge.kernel.trace import Tracing
from kernelbridge.wire.frames import assemble, parent_json
from kernelbridge.wire.messages import Session
from kernelbridge.wire.packing import pack
from kernelbridge.wire.signing import Signer

logger = logging.getLogger("kernelbridge")

STREAM_SECONDS = 0.08
"""How old a buffered text may get before it is shown (contract K3)."""

BACKLOG_BYTES = 2**30
"""How much may wait for one subscriber before messages to it are dropped (contract K8)."""

_FRAME_BYTES = 1024
"""What a message costs in memory beside its content: seven frames, each with a structure of ZMQ's around it."""

_LEAST_MESSAGES = 64
"""How many messages may wait for a subscriber however large they are."""

_QUEUE_ITEMS = 4096
"""How many puts may wait for the IOPub thread before a putter has to wait for it."""


class IOPubCore:
    """What leaves, in which order, with which number.

    Takes the longest age of a buffered text, in seconds. `feed` and `tick` take the time in seconds and return what is
    to be done now, in order: publications to send, each with its number, and flushes to confirm.
    """

    def __init__(self, stream_seconds: float = STREAM_SECONDS) -> None:
        # A begun line is held back for one interval and shown after the second, so an interval is half the age.
        self._interval = stream_seconds / 2
        self._text: StreamText | None = None
        self._held = 0
        self.deadline: float | None = None
        self._number = 0

    def feed(self, item: Item, now: float) -> list[tuple[int, Publication] | Flush]:
        """Take the next item of the queue."""
        out = self.close()
        if isinstance(item, StreamText):
            self._text = item
            self.deadline = now + self._interval
        elif isinstance(item, Flush):
            out.append(item)
        else:
            out.append(self._numbered(item))
        return out

    def tick(self, now: float) -> list[tuple[int, Publication] | Flush]:
        """Show what is old enough of the text that is held."""
        text = self._text
        if text is None or self.deadline is None or now < self.deadline:
            return []
        shown, self._held = text.take(self._held)
        if self._held:
            self.deadline = now + self._interval
        else:
            self._text = self.deadline = None
        return [self._numbered(_stream(text, shown))] if shown else []

    def close(self) -> list[tuple[int, Publication] | Flush]:
        """Let out the text that is held, because something else comes, or the end."""
        text = self._text
        if text is None:
            return []
        self._text = self.deadline = None
        self._held = 0
        shown = text.close()
        return [self._numbered(_stream(text, shown))] if shown else []

    def _numbered(self, publication: Publication) -> tuple[int, Publication]:
        self._number += 1
        return self._number, publication


def _stream(text: StreamText, shown: str) -> Publication:
    return Publication("stream", pack({"name": text.name, "text": shown}), text.parent)


class Backlog:
    """How many messages may wait for one subscriber, such that a budget of bytes is kept.

    ZMQ bounds what waits for a subscriber by a number of messages, its high-water mark. `limit` is that number. It
    starts low, and grows when a subscriber is full and the newest messages are small enough for more of them to wait.

    It never falls. ZMQ hears what a subscriber has read at each half mark and not in between, so up to half a mark of
    what was read still counts as waiting. A mark that falls below that makes a subscriber full that has read all, and
    as it then gets nothing more to read, it stays so for ever. The price: where many small messages have once waited,
    as many large ones may.
    """

    def __init__(self, budget: int = BACKLOG_BYTES) -> None:
        self._budget = budget
        # The newest that was sent, as far as the budget holds it: how many messages, of how many bytes. By pieces of
        # about a thousandth of the budget, so that the oldest can be forgotten; the newest piece comes last.
        self._piece = max(1, budget // 1024)
        self._pieces = deque([(0, 0)])
        self._messages = 0
        self._bytes = 0
        self.limit = _LEAST_MESSAGES

    def add(self, size: int) -> None:
        """Count a message of `size` bytes."""
        messages, total = self._pieces[-1]
        total += size + _FRAME_BYTES
        self._pieces[-1] = messages + 1, total
        self._messages += 1
        self._bytes += size + _FRAME_BYTES
        if total >= self._piece:
            self._pieces.append((0, 0))
        while self._bytes > self._budget and len(self._pieces) > 2:
            messages, total = self._pieces.popleft()
            self._messages -= messages
            self._bytes -= total

    def grow(self) -> bool:
        """Raise `limit`, because a subscriber is full. Returns False when the budget allows no more."""
        # As many of the newest as there are, and for the room that is left as many as would come at their mean size.
        room = self._messages * self._budget // max(1, self._bytes)
        if room <= self.limit:
            return False
        self.limit = min(2 * self.limit, room)
        return True


class IOPub(SocketBridge[Item]):
    """The IOPub thread. Takes the `endpoint` to bind and the `backlog` of bytes that may wait for one subscriber."""

    def __init__(
        self,
        context: Context,
        clock: Clock,
        bind: Callable[[Socket], None],
        session: Session,
        signer: Signer,
        tracing: Tracing,
        on_crash: OnCrash | None = None,
        stream_seconds: float = STREAM_SECONDS,
        backlog_bytes: int = BACKLOG_BYTES,
    ) -> None:
        super().__init__("iopub", context, clock, on_crash, maxsize=_QUEUE_ITEMS)
        self._bind = bind
        # All below is owned by the thread.
        self._session = session
        self._signer = signer
        self._tracing = tracing
        self._core = IOPubCore(stream_seconds)
        self._backlog = Backlog(backlog_bytes)
        self._stalled = False
        self._socket: Socket

    def open_sockets(self) -> None:
        self._socket = self.context.socket(zmq.XPUB)
        # Every subscription is reported, and so welcomed, not only the first of its topic (JEP 65).
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        # A full subscriber is an error to be noticed, not a silent loss.
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._socket.setsockopt(zmq.SNDHWM, self._backlog.limit)
        # Adopted first: a socket that cannot be bound is closed, too.
        self.adopt(self._socket, self._subscribed)
        self._bind(self._socket)

    def deliver(self, item: Item) -> None:
        self._emit(self._core.feed(item, self.clock.monotonic()))

    def discard(self, item: Item) -> None:
        if isinstance(item, Flush):
            item.done()

    def deadline(self) -> float | None:
        return self._core.deadline

    def on_deadline(self) -> None:
        self._emit(self._core.tick(self.clock.monotonic()))

    def close_sockets(self) -> None:
        self._emit(self._core.close())
        super().close_sockets()

    def _subscribed(self, frames: list[Frame]) -> None:
        """Welcome a new subscription (JEP 65). One that is no UTF-8, and the end of one, is ignored."""
        event = bytes(frames[0])
        if event[:1] != b"\x01":
            return
        try:
            topic = event[1:].decode()
        except UnicodeDecodeError:
            return
        content = pack({"subscription": topic})
        welcome = Publication("iopub_welcome", content, topic=event[1:])
        self._emit(self._core.feed(welcome, self.clock.monotonic()))

    def _emit(self, out: list[tuple[int, Publication] | Flush]) -> None:
        for step in out:
            if isinstance(step, Flush):
                step.done()
            else:
                self._send(*step)

    def _send(self, number: int, publication: Publication) -> None:
        metadata = b'{"kernelbridge":{"seq":%d}}' % number
        if publication.metadata != b"{}":
            metadata = b"%b,%b" % (metadata[:-1], publication.metadata[1:])
        frames = assemble(
            [publication.msg_type.encode() if publication.topic is None else publication.topic],
            self._session.header_json(publication.msg_type),
            parent_json(publication.parent),
            metadata,
            publication.content,
            publication.buffers,
            self._signer,
        )
        for tap in self._tracing.taps:
            tap("iopub", "<-", frames)
        self._backlog.add(sum(map(len, frames)))
        try:
            send(self._socket, frames)
            self._stalled = False
        except zmq.Again:
            self._send_past_the_full(frames, number)

    def _send_past_the_full(self, frames: list[Frame], number: int) -> None:
        """Send to the subscribers that have room. The full ones see a gap in the numbers (contract K8)."""
        while self._backlog.grow():
            self._socket.setsockopt(zmq.SNDHWM, self._backlog.limit)
            try:
                send(self._socket, frames)
                return
            except zmq.Again:
                continue
        if not self._stalled:
            self._stalled = True
            logger.warning(
                "a subscriber does not read: over %d messages wait for it, and it loses messages from number %d on",
                self._backlog.limit,
                number,
            )
        self._socket.setsockopt(zmq.XPUB_NODROP, 0)
        try:
            send(self._socket, frames)
        finally:
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)
