"""How input requests are answered: behind what the kernel published before, each on a thread of its own (F9)."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from kernelbridge.bridges.socket_bridge import Frame
from kernelbridge.frontend.execution import Running
from kernelbridge.frontend.stdin import answer
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Message

if TYPE_CHECKING:
    from kernelbridge.frontend.link import Link

logger = logging.getLogger("kernelbridge")


class Answers:
    """Answers what the kernel of a link asks."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def requested(self, request: Message) -> None:
        """Learn of an input request, on Stdin's thread."""
        # What the kernel published before it asked may still wait to be read: it is shown before the prompt is.
        channels = self._link.outbox.channels
        if channels is not None:
            channels.iopub.drained(partial(self._start, request))

    def _start(self, request: Message) -> None:
        link = self._link
        with link.ordering:
            execution = link.tracker.find(request.parent_id)
            if isinstance(execution, Running):
                execution.question = request
                # It has begun, whatever was seen of that.
                link.tracker.queue.begun(execution)
                link.outbox.release()
        if isinstance(execution, Running):
            target = partial(self._answer, execution, request)
            threading.Thread(target=target, name="kernelbridge-frontend-input", daemon=True).start()
        else:
            link.strays.count("stdin", "unknown parent", request.msg_type)

    def _answer(self, execution: Running, request: Message) -> None:
        link = self._link
        given = answer(execution, request)
        try:
            frames = self._reply(given, request)
        except WireError as error:
            logger.error("the input cannot be sent, the answer is empty: %s", error)
            frames = self._reply("", request)
        with link.ordering:
            # After an interrupt nobody waits for this answer, and what is asked next must not get it.
            asked = link.tracker.find(execution.msg_id) is not None and execution.question is request
            if asked and link.outbox.channels is not None:
                link.outbox.channels.stdin.put(frames)

    def _reply(self, value: str, request: Message) -> list[Frame]:
        reply = Message(self._link.session.header("input_reply"), {"value": value}, parent=request.header)
        return encode(reply, self._link.settings.signer, self._link.settings.limits)
