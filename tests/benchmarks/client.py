"""A minimal Jupyter client over raw pyzmq, so that what is measured is the kernel and not the client.

It signs what it sends, reads only the header, the parent's id and the execution state of what it receives, and waits
in one poll over Shell, Control and IOPub. Its receive queues have no limit (`RCVHWM` 0): a message that does not
arrive was dropped by the kernel.
"""

import hmac
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Self

import orjson
import zmq

from .floor import DELIMITER

Channel = Literal["shell", "control"]
Json = dict[str, object]

# A reader who waits this long for the next message while some are missing concludes that they are lost.
QUIET_S = 8.0
# No trial may take longer than this.
DEADLINE_S = 90.0
# How long a frontend waits for a kernel that has been started.
READY_S = 30.0


class Failed(Exception):
    """A kernel did not do what a trial asked of it; the message is the reason, on one line."""


class Received(NamedTuple):
    """A message, as far as the benchmarks look at it. `what` is its type, or the execution state of a status."""

    what: str
    parent_id: str | None
    frames: Sequence[bytes | memoryview]

    @property
    def content(self) -> Json:
        """The decoded content."""
        content: Json = orjson.loads(self.frames[3])
        return content


class Request(NamedTuple):
    """An encoded request, ready to be sent."""

    msg_id: str
    frames: list[bytes]


class Gathered(NamedTuple):
    """How long a gathering took (s, until the last message came), and how many of what was wanted never came."""

    seconds: float
    lost: Counter[str]


class Client:
    """The Shell, Control and IOPub channels of one kernel on TCP.

    `info` is the content of the connection file, `iopub` the socket that is subscribed to all topics. `alive` is asked
    once a second while nothing arrives, and raises `Failed` when the kernel is gone.
    """

    def __init__(self, info: Mapping[str, object], alive: Callable[[], None]) -> None:
        self._key = str(info["key"]).encode()
        self._session = uuid.uuid4().hex
        self._sent = 0
        self._alive = alive
        self._context = zmq.Context()
        self._poller = zmq.Poller()

        def connected(kind: int, name: str) -> zmq.Socket[bytes]:
            socket = self._context.socket(kind)
            socket.linger = 0
            socket.rcvhwm = socket.sndhwm = 0
            # The default of 100 ms would be a grain in every measured start.
            socket.reconnect_ivl = 2
            if kind == zmq.SUB:
                socket.subscribe(b"")
            socket.connect(f"tcp://{info['ip']}:{info[name + '_port']}")
            self._poller.register(socket, zmq.POLLIN)
            return socket

        self._channels = {name: connected(zmq.DEALER, name) for name in ("shell", "control")}
        self.iopub = connected(zmq.SUB, "iopub")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets and drop what is in them."""
        self._context.destroy(linger=0)

    def encode(self, msg_type: str, content: Json, buffers: Sequence[bytes] = ()) -> Request:
        """A signed request."""
        self._sent += 1
        msg_id = f"{self._session}_{self._sent}"
        header = orjson.dumps(
            {
                "msg_id": msg_id,
                "session": self._session,
                "username": "benchmark",
                "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "msg_type": msg_type,
                "version": "5.3",
            }
        )
        signed = [header, b"{}", b"{}", orjson.dumps(content)]
        signature = hmac.digest(self._key, b"".join(signed), "sha256").hex().encode()
        return Request(msg_id, [DELIMITER, signature, *signed, *buffers])

    def send(self, request: Request, channel: Channel = "shell") -> None:
        """Send a request; never blocks."""
        self._channels[channel].send_multipart(request.frames)

    def received(self, timeout: float = QUIET_S, *, copy: bool = True, raising: bool = True) -> Iterator[Received]:
        """What arrives on all channels, until nothing has arrived for `timeout` seconds.

        Raises:
            Failed: the kernel died, or sent an error (which is yielded where `raising` is False).
        """
        quiet_since = time.monotonic()
        while True:
            left = quiet_since + timeout - time.monotonic()
            ready = self._poller.poll(int(max(0, min(left, 1.0)) * 1000))
            for socket, _ in ready:
                for message in _drained(socket, copy):
                    if message.what == "error" and raising:
                        raise Failed(f"the cell raised {message.content['ename']}: {message.content['evalue']}")
                    yield message
            if ready:
                quiet_since = time.monotonic()
            elif left <= 0:
                return
            else:
                self._alive()

    def ask(self, request: Request, *until: str, channel: Channel = "shell") -> float:
        """Send a request and wait until a message of each kind in `until` has come; how long that took, in seconds.

        Replies and states count when they are this request's. Other messages count by their type alone, because
        xeus-python gives a comm's message the cell that opened the comm as its parent.

        Raises:
            Failed: the kernel died, or one of them did not come.
        """
        missing = set(until)
        started = time.perf_counter()
        self.send(request, channel)
        for message in self.received():
            if message.parent_id == request.msg_id or not _is_answer(message.what):
                missing.discard(message.what)
            if not missing:
                return time.perf_counter() - started
        raise Failed(f"no {' and no '.join(sorted(missing))} for {QUIET_S:.0f} s")

    def gather(self, requests: Sequence[Request], wanted: Mapping[str, int], *, copy: bool = True) -> Gathered:
        """Send all requests on Shell without waiting for replies, then read until all that is wanted has come.

        `wanted` gives the number of each kind; a stream message counts as the lines in it. Without `copy`,
        frames are read where libzmq has them: worse for small messages, half the time of one of 64 MiB.

        Raises:
            Failed: the kernel died, sent nothing at all, or took longer than `DEADLINE_S`.
        """
        missing = Counter(wanted)
        started = last = time.perf_counter()
        # All at once: the queues have no limit at this end, and libzmq's own thread reads meanwhile.
        for request in requests:
            self.send(request)
        for what, _, frames in self.received(copy=copy):
            last = time.perf_counter()
            if what in missing:
                missing[what] -= str(orjson.loads(frames[3])["text"]).count("\n") if what == "stream" else 1
                if missing[what] <= 0:
                    del missing[what]
            if not missing:
                break
            if last - started > DEADLINE_S:
                raise Failed(f"not done after {DEADLINE_S:.0f} s, still to come: {listed(missing)}")
        if missing == Counter(wanted):
            raise Failed(f"nothing came for {QUIET_S:.0f} s")
        return Gathered(last - started, missing)

    def execute(self, code: str, *, silent: bool = False) -> Request:
        """An execute_request."""
        return self.encode(
            "execute_request",
            {
                "code": code,
                "silent": silent,
                "store_history": not silent,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": True,
            },
        )

    def wait_ready(self, timeout: float = READY_S) -> None:
        """Probe with kernel_info_request until both Shell and IOPub have been heard (the probe loop of JEP 65).

        Raises:
            Failed: the kernel died, or was not heard within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        missing = {"shell", "iopub"}
        while missing:
            if time.monotonic() > deadline:
                raise Failed(f"not ready after {timeout:.0f} s: nothing on {' and '.join(sorted(missing))}")
            self._alive()
            self.send(self.encode("kernel_info_request", {}))
            for message in self.received(0.1):
                missing.discard("shell" if message.what == "kernel_info_reply" else "iopub")
        # Answers to earlier probes would count for the first trial.
        for _ in self.received(0.2):
            pass


def _is_answer(what: str) -> bool:
    return what in ("busy", "idle") or what.endswith("_reply")


def listed(counts: Mapping[str, int]) -> str:
    """The counts as text."""
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def _drained(socket: zmq.Socket[bytes], copy: bool) -> Iterator[Received]:
    while True:
        frames: Sequence[bytes | memoryview]
        try:
            if copy:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            else:
                frames = [frame.buffer for frame in socket.recv_multipart(zmq.NOBLOCK, copy=False)]
        except zmq.Again:
            return
        body = frames[frames.index(DELIMITER) + 2 :]
        what: str = orjson.loads(body[0])["msg_type"]
        if what == "status":
            what = orjson.loads(body[3])["execution_state"]
        # xeus-python says `null` for the parent of what has none.
        parent = orjson.loads(body[1]) or {}
        yield Received(what, parent.get("msg_id"), body)
