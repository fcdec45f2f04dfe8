"""The rows of the frontend end.

The columns are frontends here: `kernelbridge` is its Bridge, `ipykernel` a client of jupyter_client, `floor` a raw ZMQ
client. In a row all have the same kernel: the floor, which takes next to no time, where they are compared with one
another, and kernelbridge's own.
"""

import time
from collections.abc import Callable
from functools import partial

from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.liveness import BEAT_SECONDS
from kernelbridge.frontend.pool import KernelPool

from . import usage
from .client import READY_S
from .crowds import beside_floods, subscribers
from .executing import AT_ONCE, ONE_AT_A_TIME
from .held import holding
from .ingest import READERS, Face, Read
from .process import Running, Subject
from .row import Limit, Row, Trial

OURS = ("kernelbridge",)
WITH_CLIENT = ("kernelbridge", "ipykernel")
FRONTENDS = ("kernelbridge", "ipykernel", "floor")

FLOODED = 63
FLOOD_MESSAGES = 3_000

# Seconds that a frontend which has just become ready is given to come to rest.
SETTLE_S = 0.5


def launched(subject: Subject, count: int) -> Trial:
    """From the launch of a kernel to the moment in which it can be used, in s; raw: to its first reply."""

    def by_bridge() -> float:
        started = time.perf_counter()
        with launch(env=subject.environment, timeout=READY_S):
            return time.perf_counter() - started

    def raw() -> float:
        with subject.fresh("kernelbridge") as kernel:
            kernel.client.ask(kernel.client.encode("kernel_info_request", {}), "kernel_info_reply")
            return time.perf_counter() - kernel.spawned

    return Trial([raw() if subject.name == "floor" else by_bridge() for _ in range(count)])


def claimed(kernel_name: str) -> Callable[[Subject, int], Trial]:
    """A kernel out of a pool that is full, set up with a working folder and an environment, in ms."""

    def trial(subject: Subject, count: int) -> Trial:
        took = []
        with KernelPool(kernel_name, 2, env=subject.environment, timeout=READY_S) as pool:
            for _ in range(count):
                pool.wait_ready(READY_S)
                asked = time.perf_counter()
                with pool.claim(cwd="/", env={"CLAIMED": "yes"}, timeout=READY_S):
                    took.append((time.perf_counter() - asked) * 1e3)
        return Trial(took)

    return trial


def executed(face: Face, kernel: str) -> Callable[[Subject, int], Trial]:
    """`pass`, one at a time, in ms."""

    def trial(subject: Subject, count: int) -> Trial:
        with subject.fresh(kernel) as running:
            running.client.wait_ready()
            return Trial([seconds * 1e3 for seconds in ONE_AT_A_TIME[face, subject.name](running, count)])

    return trial


def executed_at_once(subject: Subject, count: int) -> Trial:
    """`pass`, all asked for at once, in k/s."""
    with subject.fresh("kernelbridge") as kernel:
        kernel.client.wait_ready()
        return Trial([count / 1e3 / AT_ONCE[subject.name](kernel, count)])


def ingested(read: Callable[[Subject], Callable[..., Read]], readers: int = 1) -> Callable[[Subject, int], Trial]:
    """Stream messages from a publisher as fast as it goes, read by the subject's frontend, in k/s."""

    def trial(subject: Subject, count: int) -> Trial:
        with subject.fresh("floor") as publisher:
            publisher.client.wait_ready()
            got = read(subject)(publisher, count)
        expected = count * readers
        lost = f"lost {expected - got.messages} of {expected}" if got.messages != expected else ""
        return Trial([(got.messages - 1) / 1e3 / got.seconds], lost)

    return trial


def by_face(face: Face) -> Callable[[Subject], Callable[[Running, int], Read]]:
    """One reader."""
    return lambda subject: READERS[face, subject.name]


def by_subscribers(number: int) -> Callable[[Subject], Callable[[Running, int], Read]]:
    """Many readers of one Bridge."""
    return lambda subject: partial(subscribers, number=number)


def beside(subject: Subject, count: int) -> Trial:
    """`pass` through one Bridge while the others of its process are flooded, in ms. The kernels take no time."""
    with subject.fresh("floor") as publisher, subject.fresh("floor") as quiet:
        publisher.client.wait_ready()
        quiet.client.wait_ready()
        seconds = beside_floods(publisher, quiet, FLOODED, FLOOD_MESSAGES, count)
        return Trial([one * 1e3 for one in seconds])


def idle_wakes(subject: Subject, beats: int) -> Trial:
    """How often a process wakes for each heartbeat while it holds an idle kernel, and nothing else."""
    with subject.fresh("kernelbridge") as kernel:
        kernel.client.wait_ready()
        with holding(subject.name, kernel.connection_file, 1) as holder:
            time.sleep(SETTLE_S)
            before = usage.wake_ups(holder.pid)
            time.sleep(beats * BEAT_SECONDS)
            return Trial([(usage.wake_ups(holder.pid) - before) / beats])


def further_memory(subject: Subject, count: int) -> Trial:
    """The resident memory that each further frontend takes that holds the same kernel, in MB."""
    with subject.fresh("kernelbridge") as kernel:
        kernel.client.wait_ready()
        with holding(subject.name, kernel.connection_file, 1 + count) as holder:
            return Trial([(holder.with_all - holder.with_first) / count / 1e6])


def _ingest(name: str, title: str, face: Face, rounds: int) -> Row:
    return Row(
        name=name,
        title=title,
        unit="k/s",
        better="more",
        count=50_000,
        trial=ingested(by_face(face)),
        reach=(Limit(4, "ipykernel"),),
        aim=(Limit(0.5, "floor"),),
        kernels=FRONTENDS,
        rounds=rounds,
    )


def _claim(name: str, title: str, kernel_name: str) -> Row:
    # One round: the pool starts another kernel behind each claim.
    return Row(name, title, "ms", "less", 10, claimed(kernel_name), (Limit(20),), kernels=OURS, rounds=1)


def _execute(name: str, title: str, face: Face, kernel: str, *limits: Limit) -> Row:
    return Row(name, title, "ms", "less", 100, executed(face, kernel), limits, kernels=FRONTENDS, rounds=3)


_NEAR_RAW = Limit(1, "floor", plus=0.3)

FRONTEND_ROWS = (
    Row(
        name="launch",
        title="launch to ready",
        unit="s",
        better="less",
        count=1,
        trial=launched,
        reach=(Limit(1.1, "floor"),),
        kernels=("kernelbridge", "floor"),
    ),
    _claim("pool-claim", "claim from a pool", "kernelbridge"),
    _claim("pool-claim-ipykernel", "the same, ipykernel", "python3"),
    # Half of what a client takes is owed where the frontend is all that takes time: a Python kernel alone takes more.
    _execute("frontend-pass", "frontend, `pass`", "sync", "floor", _NEAR_RAW),
    _execute("frontend-pass-async", "frontend, `pass`, asyncio", "async", "floor", Limit(0.5, "ipykernel"), _NEAR_RAW),
    _execute("frontend-pass-python", "frontend, `pass` in Python", "sync", "kernelbridge", _NEAR_RAW),
    Row(
        name="frontend-pipelined",
        title="frontend, 1,000 `pass` at once",
        unit="k/s",
        better="more",
        count=1_000,
        trial=executed_at_once,
        aim=(Limit(1, "ipykernel"),),
        kernels=FRONTENDS,
        rounds=3,
    ),
    _ingest("ingest", "frontend ingest, 50,000 messages", "sync", rounds=3),
    _ingest("ingest-async", "frontend ingest, 50,000, asyncio", "async", rounds=2),
    Row(
        name="deliver-10",
        title="10 subscribers, 10,000 messages",
        unit="k/s",
        better="more",
        count=10_000,
        trial=ingested(by_subscribers(10), 10),
        kernels=OURS,
        rounds=3,
    ),
    Row(
        name="deliver-100",
        title="100 subscribers, 10,000 messages",
        unit="k/s",
        better="more",
        count=10_000,
        trial=ingested(by_subscribers(100), 100),
        # Each delivery costs no more than with few, nor than with one.
        reach=(Limit(0.9, "deliver-10"), Limit(1, "ingest")),
        kernels=OURS,
        rounds=3,
    ),
    Row(
        name="beside-floods",
        title="`pass` beside 63 flooded Bridges",
        unit="ms",
        better="less",
        count=10,
        trial=beside,
        aim=(Limit(100),),
        kernels=OURS,
        rounds=1,
    ),
    Row(
        name="frontend-wakes",
        title="frontend, idle: wake-ups in 1.5 s",
        unit="",
        better="less",
        count=4,
        trial=idle_wakes,
        # One ping: its thread wakes to send it and to read the echo, and ZMQ's thread for each of the two.
        reach=(Limit(4),),
        kernels=WITH_CLIENT,
        rounds=1,
    ),
    Row(
        name="frontend-memory",
        title="frontend: memory of each further",
        unit="MB",
        better="less",
        count=16,
        trial=further_memory,
        reach=(Limit(2),),
        kernels=WITH_CLIENT,
        rounds=1,
    ),
)
