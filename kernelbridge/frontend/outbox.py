"""What is asked of a kernel, on its way out: kept until the kernel is ready, and sent when it is its turn.

The decisions are the tracker's and its execution queue's. What they have decided is done here, under the lock that
orders the stream: so what one caller asks for after another goes out in that order, and an interrupt stands where it
was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from kernelbridge.bridges.socket_bridge import Frame
from kernelbridge.frontend.channels import Channels, SendingChannel, Settings
from kernelbridge.frontend.comms import COMM_TYPES
from kernelbridge.frontend.execution import Request, Running
from kernelbridge.frontend.tracker import Tracker, settle
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Buffer, Message, Session


class Outbox:
    """Sends what is asked of one kernel. Any thread may call it.

    Takes how the kernel is held, the `session` in which it is asked, the bridge's lock, and who knows the requests.
    """

    def __init__(self, settings: Settings, session: Session, ordering: threading.Lock, tracker: Tracker) -> None:
        self._signer = settings.signer
        self._limits = settings.limits
        self._session = session
        self._ordering = ordering
        self._tracker = tracker
        # The rest is guarded by the lock.
        self.channels: Channels | None = None
        """Where it goes; None while there is nobody to take it."""
        self.is_open = False
        """Whether the kernel is ready."""
        # What Control was asked before; what Shell was waits in the execution queue.
        self._held: list[list[Frame]] = []
        # When the Shell thread was last told to look up.
        self._told_due: float | None = None

    def ask(
        self,
        channel: SendingChannel,
        request: Request,
        content: dict[str, Any],
        buffers: Sequence[Buffer] = (),
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Send a request, or keep it until the kernel is ready. It ends at once when the kernel is gone.

        Raises `WireError` when the message is over the limit. What `content` holds may be changed afterwards.
        """
        msg_type = request.header.msg_type
        frames = self.encoded(request, content, buffers, metadata)
        with self._ordering:
            ended = self._tracker.add(request)
            if not ended:
                if msg_type in COMM_TYPES:
                    self._tracker.comms.passed(msg_type, content)
                elif msg_type == "comm_info_request" and not content:
                    self._tracker.comms.asked(request.msg_id)
                if channel == "shell":
                    self._tracker.ask(request, frames)
                    self.release()
                else:
                    self.send_on_control(frames)
        settle(ended)

    def encoded(
        self,
        request: Request,
        content: dict[str, Any],
        buffers: Sequence[Buffer] = (),
        metadata: dict[str, Any] | None = None,
    ) -> list[Frame]:
        """Return the frames of a request. Raises `WireError` when it is over the limit."""
        message = Message(request.header, content, metadata=metadata or {}, buffers=list(buffers))
        return encode(message, self._signer, self._limits)

    def cancel(self, execution: Running) -> bool:
        """Abort an execution that waits for its turn. Returns whether it did."""
        with self._ordering:
            ended = self._tracker.cancel(execution)
            self.release()
        settle(ended)
        return bool(ended)

    def abort_waiting(self, lane: str) -> None:
        """Abort the executions that wait for their turn in a subshell."""
        with self._ordering:
            ended = self._tracker.abort_waiting(lane)
            self.release()
        settle(ended)

    # Under the lock

    def open(self) -> None:
        """Learn that the kernel is ready: what was kept is sent."""
        self.is_open = True
        held, self._held = self._held, []
        for frames in held:
            self.put("control", frames)
        self._tracker.queue.open()
        self.release()

    def send_on_control(self, frames: list[Frame]) -> None:
        """Send a request, or keep it until the kernel is ready."""
        if self.is_open:
            self.put("control", frames)
        else:
            self._held.append(frames)

    def put(self, channel: SendingChannel, frames: list[Frame]) -> None:
        """Send frames now, if there is anybody to take them."""
        if self.channels is not None:
            self.channels.put(channel, frames)

    def release(self) -> None:
        """Do what the execution queue has decided. Called whenever the tracker was told something."""
        queue = self._tracker.queue
        while queue.outgoing or queue.interrupts or queue.missing:
            outgoing, queue.outgoing = queue.outgoing, []
            for frames in outgoing:
                self.put("shell", frames)
            interrupts, queue.interrupts = queue.interrupts, []
            for deliver in interrupts:
                deliver()
            missing, queue.missing = queue.missing, []
            for execution in missing:
                self._ask_after(execution)
        if queue.due != self._told_due:
            self._told_due = queue.due
            if self.channels is not None:
                self.channels.shell.look_up()

    def _ask_after(self, execution: Running) -> None:
        # Its `idle` too: all that was published before has come then.
        probe = Request(self._session.header("kernel_info_request", execution.lane), needs_idle=True)
        self._tracker.add(probe)
        self.put("shell", self.encoded(probe, {}))
        probe.when_done(partial(self._unanswered, execution))

    def _unanswered(self, execution: Running) -> None:
        with self._ordering:
            ended = self._tracker.unanswered(execution)
            self.release()
        settle(ended)
