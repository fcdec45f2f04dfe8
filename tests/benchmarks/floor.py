"""The floor: the least that can be called a Jupyter kernel in Python, to measure others against.

One poll loop over raw pyzmq sockets. It parses nothing but the header's `msg_type` and the content of an
execute_request, echoes the request's header frame unread as the parent, and answers with canned contents, signed
with HMAC-SHA256 so that any client accepts them. It trusts its peer: it does not verify what it is sent.

Two codes mean something to it: `1+1` has a result, and `publish N` sends N stream messages as fast as they go, which
makes the same process the publisher of the ingest rows. Start: `python -m tests.benchmarks.floor -f CONNECTION_FILE`.
"""

import hmac
import sys
import time
from pathlib import Path

import orjson
import zmq

DELIMITER = b"<IDS|MSG>"

KERNEL_INFO = orjson.dumps(
    {
        "status": "ok",
        "protocol_version": "5.3",
        "implementation": "floor",
        "implementation_version": "1",
        "language_info": {
            "name": "python",
            "version": "3",
            "mimetype": "text/x-python",
            "file_extension": ".py",
        },
        "banner": "",
        "help_links": [],
    }
)
EXECUTED = b'{"status":"ok","execution_count":1,"user_expressions":{},"payload":[]}'
TWO = b'{"data":{"text/plain":"2"},"metadata":{},"execution_count":1}'
STREAM = b'{"name":"stdout","text":"x\\n"}'
SHUT_DOWN = b'{"status":"ok","restart":false}'
BUSY = b'{"execution_state":"busy"}'
IDLE = b'{"execution_state":"idle"}'


class Floor:
    """Binds the five channels of a connection file and answers until it is told to shut down."""

    def __init__(self, connection_file: Path) -> None:
        info = orjson.loads(connection_file.read_bytes())
        self._key: bytes = info["key"].encode()
        self._sent = 0
        self._date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._context = zmq.Context()

        def bound(kind: int, name: str) -> zmq.Socket[bytes]:
            socket = self._context.socket(kind)
            socket.linger = 1000
            socket.sndhwm = 0
            socket.bind(f"tcp://{info['ip']}:{info[name + '_port']}")
            return socket

        self._shell = bound(zmq.ROUTER, "shell")
        self._control = bound(zmq.ROUTER, "control")
        self._stdin = bound(zmq.ROUTER, "stdin")
        self._heartbeat = bound(zmq.ROUTER, "hb")
        self._iopub = bound(zmq.PUB, "iopub")

    def serve(self) -> None:
        """Answer until a shutdown_request has been answered."""
        poller = zmq.Poller()
        for socket in (self._shell, self._control, self._heartbeat):
            poller.register(socket, zmq.POLLIN)
        serving = True
        while serving:
            for socket, _ in poller.poll():
                frames = socket.recv_multipart()
                if socket is self._heartbeat:
                    socket.send_multipart(frames)
                else:
                    serving = self._answer(socket, frames)
        self._context.destroy()

    def _answer(self, socket: zmq.Socket[bytes], frames: list[bytes]) -> bool:
        """Handle one request; False once it asked for the end."""
        at = frames.index(DELIMITER)
        identities, parent, content = frames[:at], frames[at + 2], frames[at + 5]
        kind: str = orjson.loads(parent)["msg_type"]

        def publish(msg_type: str, content: bytes, buffers: list[bytes] | None = None) -> None:
            signed = self._signed(msg_type, parent, content)
            self._iopub.send_multipart([msg_type.encode(), *signed, *(buffers or ())])

        def reply(content: bytes) -> None:
            signed = self._signed(kind.replace("_request", "_reply"), parent, content)
            socket.send_multipart([*identities, *signed])

        publish("status", BUSY)
        if kind == "kernel_info_request":
            reply(KERNEL_INFO)
        elif kind == "execute_request":
            request = orjson.loads(content)
            code: str = request["code"]
            if not request["silent"]:
                publish("execute_input", orjson.dumps({"code": code, "execution_count": 1}))
            if code == "1+1":
                publish("execute_result", TWO)
            elif code.startswith("publish "):
                self._publish_streams(int(code.split()[1]), parent)
            reply(EXECUTED)
        elif kind == "comm_msg":
            publish("comm_msg", content, frames[at + 6 :])
        elif kind == "shutdown_request":
            reply(SHUT_DOWN)
        publish("status", IDLE)
        return kind != "shutdown_request"

    def _publish_streams(self, count: int, parent: bytes) -> None:
        # All are encoded before the first is sent: the reader is to be measured, not this loop.
        ready = [[b"stream", *self._signed("stream", parent, STREAM)] for _ in range(count)]
        for frames in ready:
            self._iopub.send_multipart(frames)

    def _signed(self, msg_type: str, parent: bytes, content: bytes) -> list[bytes]:
        self._sent += 1
        header = (
            f'{{"msg_id":"floor_{self._sent}","session":"floor","username":"floor","date":"{self._date}",'
            f'"msg_type":"{msg_type}","version":"5.3"}}'
        ).encode()
        signature = hmac.digest(self._key, b"".join((header, parent, b"{}", content)), "sha256")
        return [DELIMITER, signature.hex().encode(), header, parent, b"{}", content]


if __name__ == "__main__":
    Floor(Path(sys.argv[sys.argv.index("-f") + 1])).serve()
