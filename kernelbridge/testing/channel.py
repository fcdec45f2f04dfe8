"""A channel of a protocol client: what came on it, read in order by what is expected."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

import attrs

from kernelbridge.testing.matchers import Matcher
from kernelbridge.testing.patterns import UNSET, Captured
from kernelbridge.testing.report import Event, hides_kit, is_text, same_stream
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.messages import Message

__all__ = ["Owner", "ProtocolChannel", "RequestChannel", "Unread"]

__tracebackhide__ = hides_kit


_OPEN_END = "what a placeholder stands for ends where a message of another kind follows: "


class Unread(Protocol):
    """What has come and was not read: on a channel, or of it in answer to one request."""

    @property
    def name(self) -> Channel:
        """The channel."""

    @property
    def unread(self) -> Sequence[Event]:
        """In the order in which it came."""

    def take(self) -> Event:
        """Read the first."""


class Owner(Protocol):
    """What a channel needs of its client."""

    def wait(self, channel: Unread, fail: Callable[[str], NoReturn]) -> None:
        """Return when the channel has something unread; call `fail` with the reason when it will not."""

    def fail(
        self, headline: str, why: str, channel: Unread, expected: Sequence[Matcher], seen: Sequence[Message]
    ) -> NoReturn:
        """Raise `ProtocolFailure`. `seen` is what was read; what the channel has unread is seen as well."""


class ProtocolChannel:
    """One channel of a client: what came on it and has not been read."""

    def __init__(self, name: Channel, client: Owner) -> None:
        self.name = name
        self._client = client
        self.unread: deque[Event] = deque()

    def expect(self, *matchers: Matcher, parent: Any = UNSET) -> list[Message]:
        """Read as many messages as there are matchers, each of which must match, and return them.

        Neighbouring stream messages of one name and one parent are one text, which is returned as one message; a
        matcher of a stream may take the beginning of it. `parent` is that of all matchers that name none. Raises
        `ProtocolFailure`.
        """
        expected = _with_parent(matchers, parent)
        return _Reading(self._client, self, expected).run()

    def of(self, request: Message) -> RequestChannel:
        """Return what comes on this channel with this parent, to be read by itself.

        For requests that are handled at the same time (on Shell and on Control, or in subshells), between whose
        messages there is no order. What comes with other parents stays to be read.
        """
        return RequestChannel(self, self._client, request)

    def take(self) -> Event:
        return self.unread.popleft()


class RequestChannel:
    """What comes on one channel with one parent. Made by `ProtocolChannel.of`."""

    def __init__(self, channel: ProtocolChannel, client: Owner, request: Message) -> None:
        self.name = channel.name
        self._channel = channel
        self._client = client
        self._request = request

    @property
    def unread(self) -> list[Event]:
        return [event for event in self._channel.unread if event.message.parent_id == self._request.msg_id]

    def expect(self, *matchers: Matcher) -> list[Message]:
        """Read as `ProtocolChannel.expect` does, with the request as the parent of all."""
        expected = _with_parent(matchers, self._request)
        return _Reading(self._client, self, expected).run()

    def take(self) -> Event:
        first = self.unread[0]
        self._channel.unread.remove(first)
        return first


def _with_parent(matchers: Sequence[Matcher], parent: Any) -> list[Matcher]:
    """Return the matchers; those that name no parent have this one. Raises TypeError for what is no matcher."""
    for matcher in matchers:
        if not isinstance(matcher, Matcher):
            raise TypeError(f"a matcher is expected, such as busy() or stdout('x'), and not {matcher!r:.60}")
    return [matcher.with_parent(parent) for matcher in matchers]


class _Reading:
    """One call of `expect`."""

    def __init__(self, client: Owner, channel: Unread, expected: Sequence[Matcher]) -> None:
        self._client = client
        self._channel = channel
        self._expected = expected
        self._seen: list[Message] = []

    def run(self) -> list[Message]:
        found = []
        for place, matcher in enumerate(self._expected, 1):
            captured: Captured = {}
            message = self._text(place, matcher, captured) if matcher.is_stream else self._next(place, matcher)
            if why := matcher.difference(message, captured):
                self._fail(place, why)
            for capture, value in captured.items():
                capture.keep(value)
            if not matcher.is_stream:
                self._take()
            found.append(message)
        return found

    def _next(self, place: int, matcher: Matcher, why_needed: str = "") -> Message:
        """Return the next message of the channel, without reading it."""
        if not self._channel.unread:
            self._client.wait(self._channel, lambda why: self._fail(place, f"{why_needed}{why}", came=False))
        return self._channel.unread[0].view()

    def _take(self) -> None:
        event = self._channel.take()
        self._seen.append(event.view())
        event.read = True

    def _text(self, place: int, matcher: Matcher, captured: Captured) -> Message:
        """Read the text that a matcher of a stream is for, or the beginning that it names, and return it whole."""
        wanted = matcher.content["text"]
        open_matcher = matcher.with_text(UNSET)
        first = self._next(place, matcher)
        if why := open_matcher.difference(first, {}):
            self._fail(place, why)
        if not is_text(first):
            self._fail(place, "it has no text")
        text = ""
        following = first
        while same_stream(first, following):
            piece = str(following.content["text"])
            if isinstance(wanted, str):
                missing = wanted[len(text) :]
                if not (missing.startswith(piece) or piece.startswith(missing)):
                    self._fail(place, f"the text is {text + piece!r}, not {wanted!r}")
                if len(piece) > len(missing):
                    self._take_beginning(missing)
                    return _with_text(first, wanted)
            self._take()
            text += piece
            if text == wanted:
                return _with_text(first, text)
            following = self._next(place, matcher, "" if isinstance(wanted, str) else _OPEN_END)
        if isinstance(wanted, str):
            self._fail(place, f"the text ends with {text!r}, and should be {wanted!r}")
        return _with_text(first, text)

    def _take_beginning(self, text: str) -> None:
        event = self._channel.unread[0]
        whole = event.view()
        self._seen.append(_with_text(whole, text))
        event.rest = str(whole.content["text"])[len(text) :]

    def _fail(self, place: int, why: str, *, came: bool = True) -> NoReturn:
        what = "is not what was expected" if came else "did not come"
        headline = f"{self._channel.name}: message {place} of {len(self._expected)} {what}"
        self._client.fail(headline, why, self._channel, self._expected, self._seen)


def _with_text(message: Message, text: str) -> Message:
    """Return the stream message with another text."""
    return attrs.evolve(message, content={**message.content, "text": text})
