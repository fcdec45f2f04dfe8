"""A kernel that does what a test tells it: real ROUTER, XPUB and REP-like sockets, and no thread.

The test plays the kernel's part on its own thread: it takes the requests off the sockets, one by one, and sends what
it likes in whatever order. All waits are on the socket itself, with a deadline far beyond need.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import zmq

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.frontend.bridge import Bridge, connect
from kernelbridge.wire.connection import CHANNELS, Channel, ConnectionInfo
from kernelbridge.wire.frames import NO_LIMITS, Frame, Limits, decode, encode
from kernelbridge.wire.messages import Header, Message, Session
from kernelbridge.wire.signing import Signer

DEADLINE = 30.0

KINDS = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "iopub": zmq.XPUB, "hb": zmq.ROUTER}


class ScriptedKernel:
    """Binds the five channels under `folder` and speaks the given protocol version."""

    def __init__(self, folder: Path, protocol_version: str = "5.5") -> None:
        self.connection = ConnectionInfo(transport="ipc", ip=str(folder / "k"), key=b"secret").with_ports(
            {channel: number for number, channel in enumerate(CHANNELS, 1)}
        )
        self.protocol_version = protocol_version
        self.signer = Signer(self.connection.key)
        self.session = Session(SystemClock().now)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets: dict[Channel, zmq.Socket[bytes]] = {}
        for channel in CHANNELS:
            socket = self._context.socket(KINDS[channel])
            socket.linger = 0
            socket.sndhwm = socket.rcvhwm = 0
            socket.rcvtimeo = int(DEADLINE * 1000)
            socket.bind(self.connection.endpoint(channel))
            self.sockets[channel] = socket

    # What the kernel hears

    def take(self, channel: Literal["shell", "control", "stdin"] = "shell", msg_type: str | None = None) -> Message:
        """Return the next message, of this type if one is given: others before it are passed over."""
        while True:
            message = decode(self.sockets[channel].recv_multipart(), self.signer)
            if msg_type in (None, message.msg_type):
                return message

    def take_subscription(self) -> bytes:
        return self.sockets["iopub"].recv()

    # What the kernel says

    def message(
        self, msg_type: str, content: dict[str, Any] | None = None, parent: Message | Header | None = None
    ) -> Message:
        header = parent.header if isinstance(parent, Message) else parent
        return Message(self.session.header(msg_type), content or {}, header)

    def publish(
        self, msg_type: str, content: dict[str, Any] | None = None, parent: Message | Header | None = None
    ) -> None:
        self.send("iopub", [msg_type.encode(), *encode(self.message(msg_type, content, parent), self.signer)])

    def status(self, state: str, parent: Message | None = None) -> None:
        self.publish("status", {"execution_state": state}, parent)

    def stream(self, text: str, parent: Message | None = None) -> None:
        self.publish("stream", {"name": "stdout", "text": text}, parent)

    def reply(
        self,
        request: Message,
        content: dict[str, Any] | None = None,
        *,
        channel: Literal["shell", "control", "stdin"] = "shell",
        msg_type: str | None = None,
    ) -> None:
        msg_type = msg_type or request.msg_type.replace("_request", "_reply")
        answer = self.message(msg_type, {"status": "ok"} | (content or {}), request)
        self.send(channel, [*request.identities, *encode(answer, self.signer)])

    def send(self, channel: Channel, frames: list[Frame]) -> None:
        self.sockets[channel].send_multipart(frames)

    def ask_input(self, request: Message, prompt: str, password: bool = False) -> None:
        question = self.message("input_request", {"prompt": prompt, "password": password}, request)
        self.send("stdin", [*request.identities, *encode(question, self.signer)])

    def run(self, request: Message, *texts: str) -> None:
        """Do what a kernel does with an execute_request that prints."""
        self.status("busy", request)
        for text in texts:
            self.stream(text, request)
        self.reply(request, {"execution_count": 1})
        self.status("idle", request)

    def become_ready(self) -> None:
        """Welcome the subscription, and answer one kernel_info_request."""
        self.take_subscription()
        if self.protocol_version == "5.5":
            self.publish("iopub_welcome", {"subscription": ""})
        self.answer_info()

    def answer_info(self) -> None:
        request = self.take(msg_type="kernel_info_request")
        self.status("busy", request)
        self.reply(request, {"protocol_version": self.protocol_version})
        self.status("idle", request)

    def close(self) -> None:
        self._context.destroy(0)


@contextmanager
def scripted(
    folder: Path, protocol_version: str = "5.5", limits: Limits = NO_LIMITS
) -> Iterator[tuple[ScriptedKernel, Bridge]]:
    """A scripted kernel, and a bridge to it that is ready."""
    kernel = ScriptedKernel(folder, protocol_version)
    try:
        bridge = connect(kernel.connection, timeout=DEADLINE, limits=limits)
        try:
            kernel.become_ready()
            bridge.wait_ready(DEADLINE)
            yield kernel, bridge
        finally:
            bridge.close()
    finally:
        kernel.close()
