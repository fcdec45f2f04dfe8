"""The steps of a script: what a scripted kernel awaits, what it sends, and how it misbehaves.

A matcher is a step too: ``stdout("x")`` sends that message, with the request being handled as its parent unless it
names another one, and what it leaves open is filled in. Where it goes is what the specification says: replies to the
channel of their request, questions to Stdin, the rest to IOPub.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from kernelbridge.testing.making import channel_to_kernel
from kernelbridge.testing.matchers import Matcher, busy, idle, reply
from kernelbridge.testing.patterns import ANY, Capture
from kernelbridge.testing.report import describe, hides_kit
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.frames import DELIMITER, Frame
from kernelbridge.wire.messages import Message
from kernelbridge.wire.signing import Signer

if TYPE_CHECKING:
    from kernelbridge.testing.manual import ManualKernel

__all__ = [
    "Always",
    "Scriptable",
    "Step",
    "always",
    "as_steps",
    "bad_signature",
    "call",
    "cue",
    "die",
    "duplicate",
    "flood",
    "gap",
    "garbage",
    "handle",
    "hang",
    "on",
    "outline",
    "replay",
    "send",
    "truncated",
]

__tracebackhide__ = hides_kit


class Step(ABC):
    """One step of a script. Data, so that a script can be taken to another process."""

    @abstractmethod
    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        """Do it. `request` is the one that is being handled."""

    @abstractmethod
    def __str__(self) -> str:
        """Return it on one line, for a report."""

    def parts(self) -> Sequence[Step]:
        """Return the steps that this one plays, in their order."""
        return ()


Scriptable = Step | Matcher
"""What a script is made of."""


def as_steps(given: Sequence[Scriptable]) -> tuple[Step, ...]:
    """Return a script as steps."""
    return tuple(step if isinstance(step, Step) else send(step) for step in given)


def outline(steps: Sequence[Step], depth: int = 0) -> Iterator[str]:
    """Return a script, one line for each step, in the order in which they are played."""
    for step in steps:
        yield f"{'   ' * depth}{step}"
        yield from outline(step.parts(), depth + 1)


# What is awaited


@attrs.frozen
class _On(Step):
    matcher: Matcher
    steps: tuple[Step, ...]
    channel: Channel
    request: Capture | None

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        taken = kernel.take(self.matcher, channel=self.channel)
        if self.request is not None:
            self.request.keep(taken)
        kernel.play(*self.steps, parent=taken)

    def __str__(self) -> str:
        return f"on {describe(self.matcher.msg_type, self.matcher.content)}"

    def parts(self) -> Sequence[Step]:
        return self.steps


def on(matcher: Matcher, /, *steps: Scriptable, channel: Channel | None = None, request: Capture | None = None) -> Step:
    """Await the next message on the channel of this kind of request, which must match, and then play the steps.

    The steps answer that request. An `on` among them awaits another; when its own steps are played the first is being
    handled again, so that a late idle is written as it happens. `request` captures the request (a `Message`), to be
    somebody's parent anywhere. With no steps the request is never answered.
    """
    return _On(matcher, as_steps(steps), channel or channel_to_kernel(matcher.msg_type), request)


@attrs.frozen
class Always:
    """A standing answer. Made by `always`."""

    matcher: Matcher
    steps: tuple[Step, ...]


def always(matcher: Matcher, /, *steps: Scriptable) -> Always:
    """Play the steps for each request that matches, on whatever channel, whenever no `on` awaits it.

    With no steps, such requests are taken and never answered.
    """
    return Always(matcher, as_steps(steps))


# What is sent


@attrs.frozen
class _Send(Step):
    matcher: Matcher
    channel: Channel | None = None
    fault: Literal["", "bad signature", "duplicate", "truncated"] = ""

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        channel, made = kernel.make(self.matcher, request, self.channel)
        frames = kernel.encoded(made)
        place = frames.index(DELIMITER)
        match self.fault:
            case "bad signature":
                frames[place + 1] = Signer(b"another key").sign(map(bytes, frames[place + 2 : place + 6]))
            case "truncated":
                frames = frames[: place + 3]
        kernel.send_frames(channel, frames)
        if self.fault == "duplicate":
            kernel.send_frames(channel, frames)

    def __str__(self) -> str:
        msg_type = "reply" if self.matcher.msg_type is ANY else self.matcher.msg_type
        said = describe(msg_type, self.matcher.content)
        return f"{said} ({self.fault})" if self.fault else said


def send(matcher: Matcher, /, *, channel: Channel | None = None) -> Step:
    """Send the message, on another channel than that of its type if one is given."""
    return _Send(matcher, channel)


def bad_signature(matcher: Matcher, /, *, channel: Channel | None = None) -> Step:
    """Send the message signed with another key."""
    return _Send(matcher, channel, "bad signature")


def duplicate(matcher: Matcher, /, *, channel: Channel | None = None) -> Step:
    """Send the message twice, byte for byte."""
    return _Send(matcher, channel, "duplicate")


def truncated(matcher: Matcher, /, *, channel: Channel | None = None) -> Step:
    """Send the message without what follows its header."""
    return _Send(matcher, channel, "truncated")


@attrs.frozen
class _Handle(Step):
    steps: tuple[Step, ...]

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        kernel.play(*self.steps, parent=request)

    def __str__(self) -> str:
        return "handle"

    def parts(self) -> Sequence[Step]:
        return self.steps


def handle(*steps: Scriptable) -> Step:
    """Do what a kernel does with a request that goes well: `busy`, the steps, the `reply`, `idle`.

    A reply among the steps is sent in place of the one that would be.
    """
    replied = any(isinstance(step, Matcher) and _is_reply(step) for step in steps)
    return _Handle(as_steps([busy(), *steps, *([] if replied else [reply()]), idle()]))


def _is_reply(matcher: Matcher) -> bool:
    return not isinstance(matcher.msg_type, str) or matcher.msg_type.endswith("_reply")


@attrs.frozen
class _Flood(Step):
    number: int
    step: _Send

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        for _ in range(self.number):
            self.step.play(kernel, request)

    def __str__(self) -> str:
        return f"{self.number:,} times: {self.step}"


def flood(number: int, matcher: Matcher, /) -> Step:
    """Send so many messages that differ in their ids alone, as fast as the socket takes them."""
    return _Flood(number, _Send(matcher))


@attrs.frozen
class _Replay(Step):
    back: int

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        kernel.send_again(self.back)

    def __str__(self) -> str:
        return f"replay the message {self.back} before"


def replay(back: int = 1) -> Step:
    """Send again, byte for byte, what was sent last, or so many messages before (at most 100)."""
    return _Replay(back)


@attrs.frozen
class _Garbage(Step):
    frames: tuple[Frame, ...]
    channel: Channel

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        addressed = [] if self.channel == "iopub" or request is None else request.identities
        kernel.send_frames(self.channel, [*addressed, *self.frames])

    def __str__(self) -> str:
        return f"garbage on {self.channel}"


def garbage(*frames: Frame, channel: Channel = "iopub") -> Step:
    """Send frames as they are. On other channels than IOPub they go to the sender of the request."""
    return _Garbage(frames or (b"garbage",), channel)


@attrs.frozen
class _Gap(Step):
    numbers: int

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        kernel.leave_out(self.numbers)

    def __str__(self) -> str:
        return f"gap of {self.numbers}"


def gap(numbers: int = 1) -> Step:
    """Leave out so many of the numbers of IOPub's messages, as if those were lost. For a kernel that is `numbered`."""
    return _Gap(numbers)


# What else happens


@attrs.frozen
class _Die(Step):
    status: int

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        kernel.die(self.status)

    def __str__(self) -> str:
        return f"die with {self.status}"


def die(status: int = 1) -> Step:
    """Close all sockets, when what was sent has left.

    In a process of its own the kernel's process ends with this exit status, or, where it is negative, by the signal of
    that number.
    """
    return _Die(status)


@attrs.frozen
class _Hang(Step):
    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        kernel.hang()

    def __str__(self) -> str:
        return "hang"


def hang() -> Step:
    """Do nothing any more until the test ends: no request is read, no heartbeat is answered, the sockets stay."""
    return _Hang()


@attrs.frozen
class _Cue(Step):
    name: str

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        kernel.await_cue(self.name)

    def __str__(self) -> str:
        return f"cue {self.name!r}"


def cue(name: str) -> Step:
    """Go on when the test has called `ScriptedKernel.cue` with this name, now or before."""
    return _Cue(name)


@attrs.frozen
class _Call(Step):
    function: Callable[[], object]

    def play(self, kernel: ManualKernel, request: Message | None) -> None:
        self.function()

    def __str__(self) -> str:
        return f"call {getattr(self.function, '__qualname__', self.function)}"


def call(function: Callable[[], object]) -> Step:
    """Call the function, on the kernel's thread. What it raises fails the test."""
    return _Call(function)
