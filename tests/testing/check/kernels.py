"""Kernels of a very small language, for the rules to be tried on: one that is right, and one that can be made wrong.

A program is a row of statements, each a word and a number, such as ``print 7``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import zmq

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket
from kernelbridge.testing import DEADLINE
from kernelbridge.testing.check.observer import Observer
from kernelbridge.testing.check.samples import Samples, Statement
from kernelbridge.wire.connection import CHANNELS, Channel, ConnectionInfo, random_key
from kernelbridge.wire.contents import ExecuteReply, ExecuteRequest
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode, encode
from kernelbridge.wire.messages import Message, Session
from kernelbridge.wire.signing import Signer
from tests.support.kernels import Cells, serving

_WORDS: tuple[Statement, ...] = (
    "print",
    "stderr",
    "display",
    "result",
    "error",
    "comm",
    "input",
    "sleep",
    "loop",
    "many",
    "big",
)
_STATEMENTS: dict[Statement, str] = {word: f"{word} {{n}}" for word in _WORDS}
TINY = Samples("tiny", {**_STATEMENTS, "comment": "#", "setup": "open 0"})


class TinyHandler(Cells):
    """The language on this library's own kernel end."""

    subshells = True

    async def execute(self, request: ExecuteRequest, execution_count: int) -> ExecuteReply:
        for line in request.code.splitlines():
            await self._run(line, request.silent, execution_count)
        return ExecuteReply(execution_count=execution_count)

    async def _run(self, line: str, silent: bool, execution_count: int) -> None:
        if line.startswith("#"):
            return
        word, _, rest = line.partition(" ")
        number, kernel = int(rest), self.kernel
        match word:
            case "open":
                self.comm = kernel.comms.open("check", {})
            case "print":
                kernel.write("stdout", f"<{number}>\n")
            case "stderr":
                kernel.write("stderr", f"<{number}>\n")
            case "display":
                kernel.display({"text/plain": f"<{number}>"})
            case "result" if not silent:
                kernel.result({"text/plain": f"<{number}>"}, execution_count)
            case "error":
                raise ValueError(f"<{number}>")
            case "comm":
                self.comm.send({"mark": f"<{number}>"})
            case "input":
                kernel.write("stdout", kernel.input(f"<{number}>"))
            case "sleep":
                await asyncio.sleep(number / 1000)
            case "loop":
                while True:
                    await asyncio.sleep(0)
            case "many":
                for one in range(1, number + 1):
                    kernel.write("stdout", f"<{one}>\n")
            case "big":
                kernel.write("stdout", "x" * number)


class Right:
    """That kernel, served on a thread of its own."""

    def __init__(self, context: Context) -> None:
        self._stack = ExitStack()
        self._context = context

    def start(self) -> None:
        self._kernel = self._stack.enter_context(serving(TinyHandler(), context=self._context))

    @property
    def connection(self) -> ConnectionInfo:
        return self._kernel.connection

    def stop(self) -> None:
        self._stack.close()


class Faulty(threading.Thread):
    """A kernel on one thread that does everything right, but for what a subclass changes.

    One thread is its one weakness: while a cell runs, it hears nothing.
    """

    send_limit = 0

    def __init__(self, context: Context) -> None:
        super().__init__(name="faulty", daemon=True)
        self.context = context
        self.session = Session(SystemClock().now)
        self._address = f"inproc://{self.session.session_id}"
        self.count = 0
        self.comms: dict[str, Any] = {}
        self.waiting: deque[tuple[Channel, Message]] = deque()
        self.alive = True
        # What is being handled; what comes from nothing has this as a placeholder.
        self.request = Message(self.session.header("nothing"), {})
        self._sockets: dict[Channel, Socket] = {}
        self._poller = zmq.Poller()
        info = ConnectionInfo(ip="127.0.0.1", key=random_key())
        for channel in CHANNELS:
            socket = self._sockets[channel] = context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER)
            socket.linger = 0
            socket.sndhwm = self.send_limit
            if channel == "iopub":
                # Each subscription is told of, also a second one of the same.
                socket.setsockopt(zmq.XPUB_VERBOSE, 1)
            if channel == "iopub" and self.send_limit:
                socket.sndbuf = 4096
            info = info.with_ports({channel: socket.bind_to_random_port("tcp://127.0.0.1")})
            self._poller.register(socket, zmq.POLLIN)
        self.connection = info
        self.signer = Signer(info.key)
        self._bell = context.socket(zmq.PAIR)
        self._bell.bind(self._address)
        self._poller.register(self._bell, zmq.POLLIN)

    def stop(self) -> None:
        with self.context.socket(zmq.PAIR) as stop:
            stop.linger = 0
            stop.connect(self._address)
            stop.send(b"")
            self.join(DEADLINE)
        self._bell.close()

    def run(self) -> None:
        while self.alive:
            while self.waiting and self.alive:
                self.handle(*self.waiting.popleft())
            if self.alive:
                self.read(None)
        for socket in self._sockets.values():
            socket.close()

    def read(self, milliseconds: int | None) -> None:
        """Take what has come."""
        for socket, _ in self._poller.poll(milliseconds):
            if socket is self._bell:
                self.alive = False
                continue
            channel = next(name for name, one in self._sockets.items() if one is socket)
            frames = socket.recv_multipart()
            if channel == "hb":
                self.beat(frames)
            elif channel == "iopub":
                if frames[0][:1] == b"\x01":
                    self.welcome()
            else:
                self.take(channel, frames)

    def take(self, channel: Channel, frames: list[bytes]) -> None:
        try:
            self.waiting.append((channel, decode(frames, self.signer)))
        except WireError:
            self.malformed()

    def malformed(self) -> None:
        """Do nothing about what is no message."""

    def beat(self, frames: list[bytes]) -> None:
        self._sockets["hb"].send_multipart(frames)

    def welcome(self) -> None:
        self.publish("iopub_welcome", {"subscription": ""}, parent=None)

    # What it says

    def publish(self, msg_type: str, content: Mapping[str, Any], **changes: Any) -> None:
        parent = changes.get("parent", self.request.header)
        self.transmit("iopub", Message(self.session.header(msg_type), dict(content), parent, identities=[b"topic"]))

    def reply(self, channel: Channel, request: Message, content: Mapping[str, Any]) -> None:
        header = self.session.header(request.msg_type.replace("_request", "_reply"))
        self.transmit(channel, Message(header, dict(content), request.header, identities=request.identities))

    def transmit(self, channel: Channel, message: Message) -> None:
        self.send(channel, encode(message, self.signer))

    def send(self, channel: Channel, frames: list[Frame]) -> None:
        self._sockets[channel].send_multipart(frames)

    def status(self, channel: Channel, state: str) -> None:
        self.publish("status", {"execution_state": state})

    # What it is asked

    def handle(self, channel: Channel, request: Message) -> None:
        self.request = request
        self.status(channel, "busy")
        answer = getattr(self, request.msg_type, self.unknown)
        content = answer(request.content)
        if content is not None:
            self.reply(channel, request, {"status": "ok", **content})
        self.status(channel, "idle")
        if request.msg_type == "shutdown_request":
            self.alive = False

    def unknown(self, content: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return None

    def kernel_info_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        language = {"name": "tiny", "version": "1.0", "mimetype": "text/plain", "file_extension": ".txt"}
        return {
            "protocol_version": "5.5",
            "implementation": "faulty",
            "implementation_version": "1.0",
            "language_info": language,
            "banner": "",
        }

    def complete_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"matches": [], "cursor_start": 0, "cursor_end": 0, "metadata": {}}

    def comm_info_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"comms": self.comms}

    def comm_open(self, content: Mapping[str, Any]) -> None:
        self.publish("comm_close", {"comm_id": content.get("comm_id"), "data": {}})

    def shutdown_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"restart": False}

    def execute_request(self, content: Mapping[str, Any]) -> dict[str, Any]:
        code = content.get("code")
        if not isinstance(code, str):
            return self.failed("TypeError", "no code")
        if content.get("store_history", True) and not content.get("silent"):
            self.count += 1
            self.show_input(code)
        try:
            self.run_cell(code, content)
        except ValueError as error:
            self.publish("error", {"ename": "ValueError", "evalue": str(error), "traceback": []})
            if content.get("stop_on_error", True):
                self.abort()
            return self.failed("ValueError", str(error))
        return {"execution_count": self.count, "user_expressions": {}, "payload": []}

    def failed(self, name: str, value: str) -> dict[str, Any]:
        return {
            "status": "error",
            "ename": name,
            "evalue": value,
            "traceback": [],
            "execution_count": self.count,
        }

    def show_input(self, code: str) -> None:
        self.publish("execute_input", {"code": code, "execution_count": self.count})

    def run_cell(self, code: str, content: Mapping[str, Any]) -> None:
        for line in code.splitlines():
            if not line.startswith("#"):
                word, _, rest = line.partition(" ")
                self.statement(word, int(rest), content)

    def statement(self, word: str, number: int, content: Mapping[str, Any]) -> None:
        match word:
            case "open":
                self.comms["check"] = {"target_name": "check"}
                self.publish("comm_open", {"comm_id": "check", "target_name": "check", "data": {}})
            case "print" | "stderr":
                self.write("stdout" if word == "print" else "stderr", f"<{number}>\n")
            case "display":
                self.publish("display_data", {"data": {"text/plain": f"<{number}>"}, "metadata": {}})
            case "result" if not content.get("silent"):
                self.result(number)
            case "error":
                raise ValueError(f"<{number}>")
            case "comm":
                self.comm(number)
            case "input":
                self.write("stdout", self.ask(number, content))
            case "sleep" | "hold":
                # Hears nothing, but that it is to stop.
                self._bell.poll(number)
            case "loop":
                self._bell.poll()
            case "many":
                for one in range(1, number + 1):
                    self.write("stdout", f"<{one}>\n")
            case "big":
                self.write("stdout", "x" * number)

    def write(self, name: str, text: str) -> None:
        self.publish("stream", {"name": name, "text": text})

    def result(self, number: int) -> None:
        data = {"data": {"text/plain": f"<{number}>"}, "metadata": {}, "execution_count": self.count}
        self.publish("execute_result", data)

    def comm(self, number: int) -> None:
        self.publish("comm_msg", {"comm_id": "check", "data": {"mark": f"<{number}>"}})

    def ask(self, number: int, content: Mapping[str, Any]) -> str:
        if not content.get("allow_stdin"):
            raise ValueError("nobody to ask")
        return self.prompt(number)

    def prompt(self, number: int) -> str:
        header = self.session.header("input_request")
        prompt = {"prompt": f"<{number}>", "password": False}
        self.transmit("stdin", Message(header, prompt, self.request.header, identities=self.request.identities))
        while self.alive:
            for place, (channel, message) in enumerate(self.waiting):
                if channel == "stdin":
                    del self.waiting[place]
                    return str(message.content["value"])
            self.read(None)
        return ""

    def abort(self) -> None:
        """Answer what waits behind an error."""
        running = self.request
        self.read(0)
        while self._poller.poll(0):
            self.read(0)
        while self.waiting:
            channel, self.request = self.waiting.popleft()
            self.aborted(channel)
        self.request = running

    def aborted(self, channel: Channel) -> None:
        self.status(channel, "busy")
        self.reply(channel, self.request, {"status": "aborted", "execution_count": self.count})
        self.status(channel, "idle")


class Subject:
    """A kernel as the rules see it: one that has gone is followed by another."""

    def __init__(self, kind: type[Faulty] | type[Right], samples: Samples = TINY, **info: Any) -> None:
        self.name = kind.__name__
        self.samples = samples
        self.setup_problem = ""
        self.info: Mapping[str, Any] = {"protocol_version": "5.5", **info}
        self.context: Context = zmq.Context()
        self.started = 0
        self._kind = kind
        self._stack = ExitStack()
        self._kernel: Faulty | Right | None = None
        self._observer: Observer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.context.destroy(0)

    @property
    def connection(self) -> ConnectionInfo:
        assert self._kernel is not None
        return self._kernel.connection

    def interrupt(self) -> None:
        assert self._observer is not None
        self._observer.send("interrupt_request")

    def ready(self) -> Observer:
        if self._observer is None:
            self.started += 1
            self._kernel = self._kind(self.context)
            self._kernel.start()
            self._stack.callback(self._kernel.stop)
            observer = Observer(self._kernel.connection, self.context, lambda: "it has died")
            self._observer = self._stack.enter_context(observer)
            if self.samples.knows("setup"):
                observer.begin(DEADLINE)
                observer.settle()
                observer.run(self.samples.cell("setup"))
        self._observer.begin(DEADLINE)
        self._observer.settle()
        return self._observer

    def end(self) -> None:
        self._observer = self._kernel = None
        self._stack.close()
