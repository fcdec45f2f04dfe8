"""Many at once in one process: many subscribers of one Bridge, and many Bridges that are flooded."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from kernelbridge.frontend.bridge import connect
from kernelbridge.wire.messages import Message

from .client import DEADLINE_S, QUIET_S, READY_S, Failed
from .executing import one_at_a_time
from .ingest import Read, Tally
from .process import Running


def subscribers(publisher: Running, count: int, number: int) -> Read:
    """The stream messages that `number` subscribers have got together, each in a thread of its own.

    From the first that one of them got to the last that one of them did.
    """
    tallies = [Tally(count) for _ in range(number)]
    with connect(publisher.connection_file, timeout=READY_S) as held:
        subscriptions = [held.subscribe(backlog=None) for _ in tallies]

        def read(at: int) -> None:
            tally, subscription = tallies[at], subscriptions[at]
            try:
                while subscription.get(QUIET_S).msg_type != "stream" or tally.add():
                    pass
            except TimeoutError:
                # Nothing more comes: the tally says how many are missing.
                return

        with ThreadPoolExecutor(number) as threads:
            reading = [threads.submit(read, at) for at in range(number)]
            held.execute(f"publish {count}")
            for reader in reading:
                reader.result()
    seconds = max(tally.last for tally in tallies) - min(tally.first for tally in tallies)
    return Read(sum(tally.seen for tally in tallies), seconds)


class Flood:
    """What comes out of one publisher, read by many Bridges at once."""

    def __init__(self, messages: int) -> None:
        self._messages = messages
        # One for each Bridge that has begun to read.
        self.begun = threading.Semaphore(0)
        # Appended to by any callback.
        self.over: list[Tally] = []

    def reader(self) -> Callable[[Message], None]:
        """A callback for one Bridge."""
        tally = Tally(self._messages)

        def read(message: Message) -> None:
            if message.msg_type == "stream":
                goes_on = tally.add()
                if tally.seen == 1:
                    self.begun.release()
                if not goes_on:
                    self.over.append(tally)

        return read


def beside_floods(publisher: Running, quiet: Running, number: int, messages: int, count: int) -> list[float]:
    """The seconds that each of `count` executions takes through one Bridge, while `number` others of the same process
    read `messages` each, as fast as they come.

    Raises:
        Failed: they were not flooded, or not for as long as that.
    """
    flood = Flood(messages)
    with ExitStack() as stack:
        flooded = [stack.enter_context(connect(publisher.connection_file, timeout=READY_S)) for _ in range(number)]
        one = stack.enter_context(connect(quiet.connection_file, timeout=READY_S))
        for held in flooded:
            held.subscribe(flood.reader(), backlog=None)
        flooded[0].execute(f"publish {messages}")
        for _ in flooded:
            if not flood.begun.acquire(timeout=QUIET_S):
                raise Failed("a Bridge was not flooded")
        seconds = one_at_a_time(count, lambda: one.execute("pass").result(DEADLINE_S))
        if flood.over:
            raise Failed(f"{len(flood.over)} of {number} floods were over before the last round trip")
    return seconds
