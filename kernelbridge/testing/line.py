"""A client's line to its kernel: messages in and out, with what holds for all of them whatever a test expects."""

from __future__ import annotations

from collections.abc import Sequence

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.socket_bridge import Frame
from kernelbridge.testing.probes import Probes
from kernelbridge.testing.sockets import Sockets
from kernelbridge.testing.targets import Running
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode, encode
from kernelbridge.wire.messages import Message
from kernelbridge.wire.signing import Signer

__all__ = ["Line"]


class Line:
    """The line to a kernel that runs. Used by one thread.

    `topics` are what is subscribed to on IOPub: only of all may the numbers of contract K9 have no gap.
    """

    def __init__(self, kernel: Running, sockets: Sockets, topics: Sequence[str], clock: Clock) -> None:
        self.kernel = kernel
        self.sockets = sockets
        self.probes = Probes(clock.now)
        self._signer = Signer(kernel.connection.key, kernel.connection.signature_scheme)
        self._gapless = "" in topics
        # The number of the last message on IOPub, as far as they have numbers.
        self._number: int | None = None

    def send(self, channel: Channel, sent: Message | Sequence[Frame]) -> bool:
        """Send a message, or frames as they are, and return whether there is a kernel to send it to."""
        frames = encode(sent, self._signer) if isinstance(sent, Message) else list(sent)
        # Of a kernel in this process the connection may end a little after it.
        has_ended = self.kernel.kernel is not None and self.kernel.kernel.wait(0)
        return not has_ended and self.sockets.send(channel, frames)

    def messages(
        self, came: Sequence[tuple[Channel, list[Frame]]]
    ) -> tuple[list[tuple[Channel, Message]], tuple[str, str] | None]:
        """Return the messages among what has come, but for answers to probes; and what was wrong first, if anything.

        That is the headline of a report, and why.
        """
        found: list[tuple[Channel, Message]] = []
        problem: tuple[str, str] | None = None
        for channel, frames in came:
            try:
                message = decode(frames, self._signer)
            except WireError as error:
                problem = problem or ("what came is no message", f"{channel}: {error}")
                continue
            if channel == "iopub" and (fault := self._number_fault(message)):
                problem = problem or ("iopub: the messages are not numbered one by one", fault)
            if not self.probes.take(channel, message):
                found.append((channel, message))
        return found, problem

    def _number_fault(self, message: Message) -> str:
        """Return how the number of a message on IOPub does not follow the last one (contract K9)."""
        last, self._number = self._number, message.seq
        if last is None or self._number == last + 1 or not self._gapless:
            return ""
        number = "a message without a number" if self._number is None else f"number {self._number}"
        return f"{number} came behind number {last}"

    def why_gone(self) -> str:
        """Return what is known of a kernel that has gone."""
        fate = self.kernel.fate()
        return f"the kernel has gone: {fate}" if fate else "the kernel has gone"
