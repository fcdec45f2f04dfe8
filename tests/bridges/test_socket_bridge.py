"""The socket bridge: every request is read, deadlines are kept, stop is sure, nobody waits for what is discarded."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import zmq

from kernelbridge.bridges.clock import Clock, SystemClock
from kernelbridge.bridges.socket_bridge import ZERO_COPY_BYTES, Context, Frame, Socket, SocketBridge, receive, send
from kernelbridge.testing import VirtualClock

DEADLINE = 60.0
MILLISECONDS = int(DEADLINE * 1000)


class Echo(SocketBridge[Callable[[], None]]):
    """Echoes what comes on a ROUTER, and runs what is put. `later`: replies go the way of the channel bridge."""

    def __init__(self, context: Context, address: str, later: bool = False, clock: Clock | None = None) -> None:
        super().__init__("echo", context, clock or VirtualClock(), self._note_crash)
        self.address = address
        self.later = later
        self.discarded: list[Callable[[], None]] = []
        self.due: float | None = None
        self.rang = threading.Semaphore(0)
        self.rows: list[int] = []
        self.crash: BaseException | None = None
        self._row = 0
        self.socket: Socket

    def _note_crash(self, service: object, failure: BaseException) -> None:
        self.crash = failure

    def open_sockets(self) -> None:
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.adopt(self.socket, self._arrived, self._row_ends)
        self.socket.bind(self.address)

    def _arrived(self, frames: list[Frame]) -> None:
        self._row += 1
        if self.later:
            self.put(lambda: send(self.socket, frames))
        else:
            send(self.socket, frames)

    def _row_ends(self) -> None:
        self.rows.append(self._row)
        self._row = 0

    def deliver(self, item: Callable[[], None]) -> None:
        item()

    def discard(self, item: Callable[[], None]) -> None:
        self.discarded.append(item)

    def deadline(self) -> float | None:
        return self.due

    def on_deadline(self) -> None:
        self.due = None
        self.rang.release()


def nothing() -> None:
    """Be an item that asks for nothing."""


@pytest.mark.parametrize("later", [False, True], ids=["replies while it reads", "replies while it takes items"])
@pytest.mark.parametrize("transport", ["inproc", "ipc", "tcp"])
def test_a_request_that_arrives_while_a_reply_is_sent_is_read(
    context: Context, tmp_path_factory: pytest.TempPathFactory, transport: str, later: bool
) -> None:
    """ipykernel#1529 cannot happen: no send swallows the news of a request, so nobody's request strands.

    Several frontends, each with one request under way and the next sent as soon as the reply is there: a reply to one
    goes out just when the request of another comes in, thousands of times. Where one stranded, its frontend would wait
    for a reply until somebody else's request, and at the end there is nobody else.
    """
    address = {
        "inproc": "inproc://echo",
        "ipc": f"ipc://{tmp_path_factory.mktemp('e')}/s",
        "tcp": "tcp://127.0.0.1:*",
    }[transport]
    frontends, requests = 4, 400
    echo = Echo(context, address, later)
    echo.start()
    endpoint = echo.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def frontend(number: int) -> Counter[bytes]:
        answers: Counter[bytes] = Counter()
        with context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(endpoint)
            for request in range(requests):
                dealer.send(b"%d-%d" % (number, request))
                assert dealer.poll(MILLISECONDS), f"request {request} of frontend {number} is stranded"
                answers[dealer.recv()] += 1
        return answers

    with ThreadPoolExecutor(frontends) as pool:
        found = sum(pool.map(frontend, range(frontends)), Counter[bytes]())
    assert found == Counter(b"%d-%d" % (n, request) for n in range(frontends) for request in range(requests))
    assert echo.stop(DEADLINE)


def test_requests_that_come_while_items_are_delivered_are_read(context: Context) -> None:
    """The reader's other work, whatever it sends, hides no request either."""
    echo = Echo(context, "inproc://echo")
    echo.start()
    with context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect("inproc://echo")
        for number in range(500):
            entered, leave = threading.Event(), threading.Event()

            def hold(entered: threading.Event = entered, leave: threading.Event = leave) -> None:
                entered.set()
                assert leave.wait(DEADLINE)

            echo.put(hold)
            assert entered.wait(DEADLINE)
            dealer.send(b"%d" % number)
            leave.set()
            assert dealer.poll(MILLISECONDS)
            assert dealer.recv() == b"%d" % number
    assert echo.stop(DEADLINE)


def test_items_are_delivered_in_the_order_of_the_puts(context: Context) -> None:
    echo = Echo(context, "inproc://echo")
    delivered: list[int] = []
    for number in range(1000):
        echo.put(lambda number=number: delivered.append(number))  # type: ignore[misc]
    echo.start()
    # The stop stands in the queue's order: what was put before it is still delivered.
    assert echo.stop(DEADLINE)
    assert delivered == list(range(1000))


def test_what_is_put_behind_the_stop_is_discarded_and_not_forgotten(context: Context) -> None:
    """Whoever put it may wait for it (a flush does), also where it was taken together with the stop."""
    echo = Echo(context, "inproc://echo")
    echo.start()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert leave.wait(DEADLINE)

    echo.put(hold)
    assert entered.wait(DEADLINE)
    echo.wake()
    assert echo.put(nothing) is True
    leave.set()
    assert echo.stop(DEADLINE)
    assert echo.discarded == [nothing]
    assert echo.put(nothing) is False


def test_a_crash_discards_what_waits(context: Context) -> None:
    echo = Echo(context, "inproc://echo")

    def crash() -> None:
        raise ValueError("crash")

    for item in (crash, nothing, nothing):
        echo.put(item)
    echo.start()
    assert echo.stop(DEADLINE)
    assert isinstance(echo.crash, ValueError)
    assert echo.discarded == [nothing, nothing]


def test_one_that_was_never_started_holds_nothing_after_its_stop(context: Context) -> None:
    """Else the context could not be terminated: the fixture does so."""
    echo = Echo(context, "inproc://echo")
    assert echo.put(nothing) is True
    assert echo.stop() is True
    assert echo.discarded == [nothing]
    assert echo.put(nothing) is False


def test_start_raises_what_keeps_the_sockets_from_opening(context: Context) -> None:
    echo = Echo(context, "tcp://nowhere-at-all:1")
    with pytest.raises(zmq.ZMQError):
        echo.start()
    assert echo.stop(DEADLINE)


def test_a_deadline_is_kept_on_the_clock_that_was_given(context: Context) -> None:
    """Nobody wakes the thread but the clock."""
    clock = VirtualClock()
    echo = Echo(context, "inproc://echo", clock=clock)
    echo.start()

    def set_deadline() -> None:
        echo.due = 10.0

    echo.put(set_deadline)
    clock.advance(9.9)
    assert not echo.rang.acquire(blocking=False)
    clock.advance(0.1)
    assert echo.rang.acquire(blocking=False)
    assert echo.stop(DEADLINE)
    assert echo.due is None


def test_on_the_machines_clock_a_deadline_comes_by_itself(context: Context) -> None:
    clock = SystemClock()
    echo = Echo(context, "inproc://echo", clock=clock)
    echo.start()

    def set_deadline() -> None:
        echo.due = clock.monotonic() + 0.01

    echo.put(set_deadline)
    assert echo.rang.acquire(timeout=DEADLINE)
    assert echo.stop(DEADLINE)


def test_a_flood_on_a_socket_does_not_keep_items_waiting(context: Context) -> None:
    """Reads come in rows of at most 100; `after_reads` is called at the end of each."""
    echo = Echo(context, "inproc://echo")
    echo.start()
    with context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.sndhwm = dealer.rcvhwm = 0
        dealer.connect("inproc://echo")
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            entered.set()
            assert leave.wait(DEADLINE)

        echo.put(hold)
        assert entered.wait(DEADLINE)
        for number in range(1000):
            dealer.send(b"%d" % number)
        seen: list[int] = []
        echo.put(lambda: seen.append(sum(echo.rows)))
        leave.set()
        for number in range(1000):
            assert dealer.poll(MILLISECONDS)
            assert dealer.recv() == b"%d" % number
    assert echo.stop(DEADLINE)
    assert sum(echo.rows) == 1000
    assert max(echo.rows) == 100
    assert seen[0] <= 100


def test_a_socket_can_be_drained_on_the_thread(context: Context) -> None:
    echo = Echo(context, "inproc://echo")
    echo.start()
    with context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect("inproc://echo")
        entered, leave, drained = threading.Event(), threading.Event(), threading.Event()
        counts: list[int] = []

        def hold() -> None:
            entered.set()
            assert leave.wait(DEADLINE)
            echo.drain(echo.socket)
            counts.append(sum(echo.rows))
            drained.set()

        echo.put(hold)
        assert entered.wait(DEADLINE)
        for number in range(500):
            dealer.send(b"%d" % number)
        leave.set()
        assert drained.wait(DEADLINE)
        assert counts == [500]
    assert echo.stop(DEADLINE)


def test_frames_travel_whole_below_and_above_the_size_of_a_copy(context: Context) -> None:
    with context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://pair")
        other.connect("inproc://pair")
        frames = [b"", b"small", bytes(ZERO_COPY_BYTES - 1), bytes(ZERO_COPY_BYTES), bytes(3 * ZERO_COPY_BYTES)]
        send(one, frames)
        assert other.poll(MILLISECONDS)
        found = receive(other)
        assert [bytes(frame) for frame in found] == frames
        assert [isinstance(frame, memoryview) for frame in found] == [False, False, False, True, True]
        with pytest.raises(zmq.Again):
            receive(other)
