"""The Stdin thread: asks the frontend for a line, and brings the answer to whoever waits for it (contract K7).

A prompt never overtakes output: it is sent when all that was put before it is on the IOPub socket.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable

import attrs
import zmq

from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Socket
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.router import RouterChannel, Wire
from kernelbridge.wire.contents import InputReply, InputRequest, unstructure
from kernelbridge.wire.errors import ContentError
from kernelbridge.wire.frames import encode
from kernelbridge.wire.messages import Header, Message

logger = logging.getLogger("kernelbridge")


class StdinError(RuntimeError):
    """Input was asked for, and there is nobody to ask."""


@attrs.define(eq=False)
class Question:
    """A prompt for the frontend that sent `request`. `answer` gets one item: the line, or why there will be none,
    or None for an interrupt."""

    request: Message
    content: InputRequest
    header: Header
    """The prompt's own header, by which an answer may say which prompt it is for."""
    answer: queue.SimpleQueue[str | StdinError | None] = attrs.field(factory=queue.SimpleQueue)
    withdrawn: bool = False
    """Whether nobody waits for the answer any more. Set by who asked."""


@attrs.frozen
class Withdraw:
    """The question needs no answer any more: an interrupt ended the wait for it."""

    question: Question


@attrs.frozen
class Interrupt:
    """Nobody is to wait for an answer any more, or nobody on a subshell."""

    beside: bool


class Stdin(RouterChannel[Question | Withdraw | Interrupt]):
    """The Stdin thread."""

    def __init__(
        self, wire: Wire, bind: Callable[[Socket], None], outputs: Outputs, on_crash: OnCrash | None = None
    ) -> None:
        super().__init__("stdin", wire, bind, outputs, on_crash=on_crash)
        # Owned by the thread: what was asked and not answered, in the order of asking.
        self._open: list[Question] = []

    # For any thread

    def ask(self, request: Message, prompt: str, password: bool) -> str:
        """Ask the frontend that sent `request` for a line, and wait for it: an interrupt ends the wait.

        Raises `StdinError` when that frontend does not allow it, is gone, or the kernel ends.
        """
        if not request.content.get("allow_stdin", False):
            raise StdinError("the frontend that sent this request takes no input requests (allow_stdin is false)")
        self._outputs.flush()
        header = self._wire.session.header("input_request")
        question = Question(request, InputRequest(prompt=prompt, password=password), header)
        try:
            if not self.put(question):
                raise StdinError("the kernel has ended")
            answer = question.answer.get()
        except BaseException:
            # First, because a second interrupt may keep the thread from hearing of it.
            question.withdrawn = True
            self.put(Withdraw(question))
            raise
        if answer is None:
            raise KeyboardInterrupt
        if isinstance(answer, StdinError):
            raise answer
        return answer

    def interrupt(self, beside: bool = False) -> None:
        """End the waits for an answer with a KeyboardInterrupt: all, or those `beside` the main shell's.

        A signal alone does not do it on a thread that is not the main one, nor where it comes just before the wait.
        """
        self.put(Interrupt(beside))

    # On the thread

    def open_sockets(self) -> None:
        super().open_sockets()
        # A prompt that cannot be delivered is an error to whoever asks, not a wait for ever.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)

    def deliver(self, item: Question | Withdraw | Interrupt) -> None:
        if isinstance(item, Interrupt):
            for question in self._open.copy():
                if not item.beside or question.request.header.subshell_id is not None:
                    question.answer.put(None)
                    self._open.remove(question)
            return
        if isinstance(item, Withdraw):
            if item.question in self._open:
                self._open.remove(item.question)
            return
        prompt = Message(item.header, unstructure(item.content), item.request.header, {}, [], item.request.identities)
        try:
            self.send(encode(prompt, self._wire.signer))
        except zmq.ZMQError as failure:
            if failure.errno != zmq.EHOSTUNREACH:
                raise
            item.answer.put(StdinError("the frontend that sent this request is not connected to stdin"))
        else:
            self._open.append(item)

    def received(self, message: Message) -> None:
        # jupyter_client sends input replies without a parent, so the sender's name must do. Who sends one, as
        # JupyterLab does, may be late with the answer to a prompt that was withdrawn.
        for question in self._open:
            meant = message.parent_id in (None, question.header.msg_id, question.request.msg_id)
            if meant and not question.withdrawn and question.request.identities == message.identities:
                break
        else:
            self._wire.strays.count(self.name, "nothing was asked of the sender", message.msg_type)
            return
        content = self._checked(message)
        if content is not None:
            self._open.remove(question)
            question.answer.put(content.value)

    def _checked(self, message: Message) -> InputReply | None:
        request = self.check(message)
        if isinstance(request.content, InputReply):
            return request.content
        problem: ContentError | str = request.fault or f"no handling of {message.msg_type}"
        logger.warning("stdin: %s", problem)
        return None

    def discard(self, item: Question | Withdraw | Interrupt) -> None:
        if isinstance(item, Question):
            item.answer.put(StdinError("the kernel has ended"))

    def close_sockets(self) -> None:
        for question in self._open:
            self.discard(question)
        super().close_sockets()
