"""What the kernel shows, on its way into the one IOPub queue: the put side (contract K1-K4).

Any thread puts. A message's content is packed at the put, so that it says what was true then. Writes to a stream are
joined where they are put: as long as a `StreamText` is the last thing in the queue, the next write to the same stream,
with the same parent, is added to it instead of queueing behind it. So 100,000 prints are a few queue items, and a
write after any other put starts a new text behind that put: nothing can overtake anything.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import attrs

from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import NO_LIMITS, Frame, Limits, seal
from kernelbridge.wire.messages import Buffer, Header
from kernelbridge.wire.packing import pack

STREAM_CHARACTERS = 2**18
"""A text that has grown to this size takes no more, so that a program that never pauses is shown in pieces."""

FULL_TEXTS = 4
"""So many texts of that size may wait to be sent; then their writer waits, so that what is printed faster than it is
read from the queue waits in the program and not in memory."""


@attrs.frozen
class Publication:
    """One message to publish. `content` and `metadata` are JSON text; `topic` is what a subscriber may filter by."""

    msg_type: str
    content: bytes
    parent: Header | None = None
    metadata: bytes = b"{}"
    buffers: Sequence[Frame] = ()
    topic: bytes | None = None


class StreamText:
    """Text of one stream with one parent. Writers add to it until it is closed; the IOPub thread takes from it.

    A writer takes no lock: two locks would cost as much as all else of a print. Instead both sides do two things in
    opposite order:

        writer: add the text, then look whether this is still open
        taker: say that it is closed, then take what is there

    Whichever comes second sees what the other did. A writer that finds it closed by then asks under the lock whether
    its text was taken: what was not is still there, and goes elsewhere.
    """

    def __init__(self, name: str, parent: Header | None, text: str, room: int = STREAM_CHARACTERS) -> None:
        self.name = name
        self.parent = parent
        self._room = room
        # Writers append, under no lock; all else is done to it under the lock, in single steps.
        self._parts = [text]
        # Written under the lock, read by any.
        self._open = True
        # Written by any, and so not exact where threads write at the same time: they bound what comes, roughly.
        self._size = len(text)
        self.full = self._size >= room and not _is_begun(text)
        """Whether it takes no more, because it is as long as a text may get."""
        # Held by who takes, or asks what was taken. Reentrant: the garbage collector may run a __del__ that prints.
        self._lock = threading.RLock()

    def add(self, text: str) -> bool:
        """Add `text`, or return False when this text takes no more."""
        if self.full or not self._open:
            return False
        self._parts.append(text)
        self._size += len(text)
        if self._size >= self._room:
            self.full = not _is_begun(text)
        return self._open or self._has_taken(text)

    def _has_taken(self, text: str) -> bool:
        """Return whether what was added while this closed was taken; else it is here no more."""
        with self._lock:
            if self._open or text not in self._parts:
                return True
            # Of two that are equal it does not matter which one is whose.
            self._parts.remove(text)
            return False

    def close(self) -> str:
        """Take no more, and return what is there."""
        with self._lock:
            self._open = False
            return self._removed(len(self._parts))

    def take(self, held: int) -> tuple[str, int]:
        """Return the text that should be shown now, and how many characters are held back, because more may follow.

        Whole lines are shown; the line that was begun is held back, so that a timer that strikes in the middle of a
        print does not split it. The first `held` characters were held back once and are shown now in any case. Half of
        a surrogate pair at the end stays until its other half comes.
        """
        with self._lock:
            while True:
                count = len(self._parts)
                text = "".join(self._parts[:count])
                cut = text.rfind("\n") + 1
                if cut < held:
                    cut = len(text)
                if cut > held and cut == len(text) and _is_begun(text):
                    cut -= 1
                shown, kept = text[:cut], text[cut:]
                if kept:
                    self._parts[:count] = [kept]
                    self._size = len(kept)
                    return shown, len(kept)
                # Nobody waits for an empty text; the next write starts a new one, whose arrival starts the timer.
                self._open = False
                if len(self._parts) == count:
                    self._removed(count)
                    return shown, 0
                # Something has come meanwhile, and may be the begin of a line.
                self._open = True

    def _removed(self, count: int) -> str:
        text = "".join(self._parts[:count])
        del self._parts[:count]
        return text


def _is_begun(text: str) -> bool:
    """Return whether `text` ends with the first half of a surrogate pair, which must not part from the other."""
    return "\ud800" <= text[-1:] <= "\udbff"


@attrs.frozen
class Flush:
    """A wish to be told, by a call of `done`, when all that was put before is on the socket."""

    done: Callable[[], None]


Item = Publication | StreamText | Flush


class Outputs:
    """The put side of the queue. Takes `enqueue`, which takes an item and whether to ring, and says if it is read."""

    def __init__(
        self,
        enqueue: Callable[[Item, bool], bool],
        ring: Callable[[], None],
        limits: Limits = NO_LIMITS,
        on_reader: Callable[[], bool] = lambda: False,
    ) -> None:
        self._enqueue = enqueue
        self._ring = ring
        # Whether the caller runs on the IOPub thread: what that puts (a log, a __del__) must never wait for it.
        self._on_reader = on_reader
        self._limits = limits
        # A character is at most six bytes of JSON, and a text may grow to twice its room with the last piece.
        self._room = max(1, min(STREAM_CHARACTERS, limits.message_bytes // 16))
        # Written by the Shell thread; putters read it after their put, see _put().
        self._hushed = False
        self.lost = False
        """Whether this is a forked child's copy, which nobody reads: what is put is let go."""
        # Held while an item takes its place in the queue; guards the three below.
        self._order = threading.Lock()
        self._tail: StreamText | None = None
        self._holder: int | None = None
        self._late: deque[Item] = deque()
        # How many texts have become full since a writer waited. Counted by any; it need not be exact.
        self._full = 0
        _all.add(self)

    def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any] | bytes,
        parent: Header | None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        ring: bool | None = None,
    ) -> None:
        """Put a message. `content` may be JSON text already.

        `ring`: True wakes the IOPub thread now; False leaves that to a put which follows at once; by default it is
        woken now, or when the hush is over.

        Raises `WireError` when content, metadata and buffers are over the limit of a message, or a buffer is not
        contiguous, and UnicodeEncodeError for a `msg_type` that is no Unicode.
        """
        text = content if isinstance(content, bytes) else pack(content)
        metadata_text = pack({k: v for k, v in metadata.items() if k != "kernelbridge"}) if metadata else b"{}"
        sealed = seal(buffers) if buffers else ()
        try:
            self._limits.check((text, metadata_text, *sealed))
        except WireError as refusal:
            raise WireError(f"{msg_type} is not sent: {refusal}") from None
        self._put(Publication(msg_type, text, parent, metadata_text, sealed, msg_type.encode()), ring)

    def write(self, name: str, text: str, parent: Header | None) -> None:
        """Put `text` on the stream `name` ("stdout" or "stderr")."""
        tail = self._tail
        if tail is not None and tail.name == name and tail.parent is parent and tail.add(text):
            return
        while text:
            if self._tail is not None and self._tail.full:
                self._pace()
            end = self._room + 1 if _is_begun(text[: self._room]) else self._room
            self._put(StreamText(name, parent, text[:end], self._room))
            text = text[end:]

    def _pace(self) -> None:
        """Count a text that is full, and wait for those that were, when they are too many."""
        self._full += 1
        if self._full >= FULL_TEXTS:
            self._full = 0
            self.flush()

    def may_wait(self) -> bool:
        """Return whether the caller may wait for a thread that puts: not where that would wait for the caller."""
        return not (self.lost or self._on_reader() or self._holder == threading.get_ident())

    def flush(self) -> None:
        """Return when all that was put before is on the socket (contract K3), at once when nobody reads any more."""
        if self._on_reader() or self.lost:
            return
        sent = threading.Lock()
        sent.acquire()
        if self._put(Flush(sent.release), ring=True):
            sent.acquire()

    def hush(self) -> None:
        """Let the IOPub thread sleep while a request runs that is likely to end at once, until `end_hush`.

        Else it wakes with `busy` and takes the interpreter from the very code whose output it waits for.
        """
        self._hushed = True

    def end_hush(self) -> None:
        """Wake the IOPub thread for what was put in the meantime, and with each put from now on."""
        self._hushed = False
        self._ring()

    def _put(self, item: Item, ring: bool | None = None) -> bool:
        if self.lost:
            return False
        accepted = self._take_place(item, bool(ring))
        if ring is None and not self._hushed:
            # Looked at after the put: a hush that ends meanwhile has rung too early for it, or is seen here.
            self._ring()
        return accepted

    def _take_place(self, item: Item, ring: bool) -> bool:
        me = threading.get_ident()
        if self._holder == me:
            # The garbage collector, or a signal handler, has come between the lines below and prints: after them.
            self._late.append(item)
            return not isinstance(item, Flush)
        if self._on_reader():
            # Whoever holds the lock may wait for room in the queue, which only this thread makes. Not as a tail: what
            # others write next must not join a text that stands before what they have put meanwhile.
            return self._enqueue(item, ring)
        with self._order:
            self._holder = me
            try:
                accepted = self._append(item, ring)
                while self._late:
                    self._append(self._late.popleft(), ring)
                return accepted
            finally:
                self._holder = None

    def _append(self, item: Item, ring: bool) -> bool:
        # The tail goes first: once the item is in the queue, a write on another thread must not find it any more.
        self._tail = None
        accepted = self._enqueue(item, ring)
        if isinstance(item, StreamText):
            self._tail = item
        return accepted

    def _forget(self) -> None:
        self.lost = True
        self._tail = None


_all: WeakSet[Outputs] = WeakSet()


def _forget_all() -> None:
    for outputs in _all:
        outputs._forget()


if hasattr(os, "register_at_fork"):
    # A forked child has no IOPub thread, and copies of locks that nobody may ever release.
    os.register_at_fork(after_in_child=_forget_all)
