"""A frontend of raw sockets, one per channel, that waits on the messages themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import zmq

from kernelbridge.wire.connection import ConnectionInfo, random_curve_keys
from kernelbridge.wire.frames import Frame, decode, encode
from kernelbridge.wire.messages import Buffer, Message, Session
from kernelbridge.wire.signing import Signer

DEADLINE = 60.0
"""How long anything may take, in seconds. Only what would never come meets it."""

Channel = Literal["shell", "control", "stdin", "iopub", "hb"]
_KINDS: dict[Channel, int] = {
    "shell": zmq.DEALER,
    "control": zmq.DEALER,
    "stdin": zmq.DEALER,
    "iopub": zmq.SUB,
    "hb": zmq.REQ,
}


class Client:
    """One frontend of the kernel at `info`.

    Takes the `identity` that its sockets have, the `context` (the kernel's for inproc), the `channels` to connect, and
    the topics to `subscribe` to. When it is made, its subscriptions are known to the kernel, which says so (JEP 65).
    """

    def __init__(
        self,
        info: ConnectionInfo,
        *,
        identity: bytes = b"frontend",
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        channels: Iterable[Channel] = ("shell", "control", "stdin", "iopub"),
        subscribe: Sequence[bytes] = (b"",),
        receive_limit: int = 0,
    ) -> None:
        self.session = Session(lambda: "2026-01-02T03:04:05Z")
        self.signer = Signer(info.key, info.signature_scheme)
        self._owns_context = context is None
        self._context = context or zmq.Context()
        self.sockets: dict[Channel, zmq.Socket[bytes]] = {}
        for channel in channels:
            socket = self.sockets[channel] = self._context.socket(_KINDS[channel])
            socket.linger = 0
            socket.rcvhwm = receive_limit
            socket.sndhwm = 0
            socket.setsockopt(zmq.IDENTITY, identity)
            if info.curve_publickey is not None:
                socket.curve_serverkey = info.curve_publickey
                socket.curve_publickey, socket.curve_secretkey = random_curve_keys()
            socket.connect(info.endpoint(channel))
        self.welcomed: list[Message] = []
        if "iopub" in self.sockets:
            for topic in subscribe:
                self.sockets["iopub"].subscribe(topic)
            while len(self.welcomed) < len(subscribe):
                message = self.receive("iopub")
                if message.msg_type == "iopub_welcome":
                    self.welcomed.append(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for socket in self.sockets.values():
            socket.close(0)
        if self._owns_context:
            self._context.term()

    # Talking

    def send(
        self,
        msg_type: str,
        content: dict[str, Any] | None = None,
        *,
        channel: Channel = "shell",
        buffers: Sequence[Buffer] = (),
        metadata: dict[str, Any] | None = None,
    ) -> Message:
        """Send a message and return it."""
        message = Message(self.session.header(msg_type), content or {}, metadata=metadata or {}, buffers=list(buffers))
        self.send_frames(encode(message, self.signer), channel)
        return message

    def send_frames(self, frames: Sequence[Frame], channel: Channel = "shell") -> None:
        self.sockets[channel].send_multipart(frames)

    def receive(self, channel: Channel) -> Message:
        """Return the next message of a channel."""
        socket = self.sockets[channel]
        assert socket.poll(int(DEADLINE * 1000)), f"nothing comes on {channel}"
        return decode(socket.recv_multipart(), self.signer)

    def answer(self, prompt: Message, value: str) -> None:
        """Answer a prompt, and say which it is, as JupyterLab does and jupyter_client does not."""
        reply = Message(self.session.header("input_reply"), {"value": value}, prompt.header)
        self.send_frames(encode(reply, self.signer), "stdin")

    def execute(self, code: str, **options: Any) -> Message:
        """Ask for an execution."""
        return self.send("execute_request", {"code": code, "allow_stdin": True, **options})

    def reply(self, request: Message, channel: Channel = "shell") -> Message:
        """Return the next message of a channel, which must be the answer to `request`."""
        message = self.receive(channel)
        assert message.parent_id == request.msg_id, f"another message came: {message}"
        return message

    def until_idle(self, request: Message) -> list[Message]:
        """Return what comes on IOPub up to the idle of `request`, whatever its parent."""
        messages = [self.receive("iopub")]
        while not (is_idle(messages[-1]) and messages[-1].parent_id == request.msg_id):
            messages.append(self.receive("iopub"))
        return messages

    def run(self, code: str, **options: Any) -> tuple[Message, list[Message]]:
        """Execute, and return the reply and what came on IOPub."""
        request = self.execute(code, **options)
        return self.reply(request), self.until_idle(request)

    def ask(
        self, msg_type: str, content: dict[str, Any] | None = None, channel: Channel = "shell"
    ) -> tuple[Message, list[Message]]:
        """Send any request, and return the reply and what came on IOPub."""
        request = self.send(msg_type, content, channel=channel)
        return self.reply(request, channel), self.until_idle(request)

    def nothing_more(self, channel: Channel) -> bool:
        """Return whether nothing lies unread on a channel, once all that was sent before is sure to have come.

        A kernel_info_request on Control is answered behind it on IOPub, and its reply behind it on Control.
        """
        probe = self.send("kernel_info_request", channel="control")
        if channel == "iopub":
            return all(message.parent_id == probe.msg_id for message in self.until_idle(probe))
        self.reply(probe, "control")
        return not self.sockets[channel].poll(0)


def is_idle(message: Message) -> bool:
    return message.msg_type == "status" and message.content["execution_state"] == "idle"


def line(message: Message) -> str:
    """Return a message on one line, as tests compare them: its type and what matters of its content."""
    content = message.content
    match message.msg_type:
        case "status":
            return str(content["execution_state"])
        case "stream":
            return f"{content['name']} {content['text']!r}"
        case "execute_input":
            return f"execute_input {content['code']}"
        case "comm_open" | "comm_msg" | "comm_close":
            return f"{message.msg_type} {content['data']}"
        case "error":
            return f"error {content['ename']}"
        case "display_data" | "update_display_data" | "execute_result":
            return f"{message.msg_type} {content['data'].get('text/plain')}"
        case other:
            return other


def lines(messages: Iterable[Message]) -> list[str]:
    return [line(message) for message in messages]
