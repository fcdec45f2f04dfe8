"""The rows of the table: what is done to each kernel, how often, and what is owed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import usage
from .client import Channel, Client, Failed, Gathered, listed
from .computing import computing, interrupted_by_request, interrupted_by_signal
from .frontend_rows import FRONTEND_ROWS
from .process import Running, Subject
from .row import Limit, Row, Trial

KERNELS_ONLY = ("kernelbridge", "ipykernel", "xeus")

ECHO = """
import comm
echo = comm.create_comm(target_name='benchmark_echo', data={})
echo.on_msg(lambda message: echo.send(message['content']['data'], buffers=message['buffers']))
"""


# Latency: one request at a time.


def round_trips(client: Client, count: int, request: Callable[[Client], float]) -> Trial:
    """Times of `count` requests in ms, after some that warm up."""
    for _ in range(3):
        request(client)
    return Trial([request(client) * 1e3 for _ in range(count)])


def kernel_info(channel: Channel) -> Callable[[Subject, int], Trial]:
    """kernel_info_request until its reply and its idle."""

    def once(client: Client) -> float:
        return client.ask(client.encode("kernel_info_request", {}), "kernel_info_reply", "idle", channel=channel)

    return lambda subject, count: round_trips(subject.client(), count, once)


def silent_pass(subject: Subject, count: int) -> Trial:
    """A silent `pass` until its reply and its idle."""
    return round_trips(
        subject.client(), count, lambda client: client.ask(client.execute("pass", silent=True), "execute_reply", "idle")
    )


def one_plus_one(subject: Subject, count: int) -> Trial:
    """`1+1` until its result, its reply and its idle."""
    return round_trips(
        subject.client(),
        count,
        lambda client: client.ask(client.execute("1+1"), "execute_result", "execute_reply", "idle"),
    )


@contextmanager
def echo_comm(subject: Subject) -> Iterator[str]:
    """The id of a comm that sends back what it is sent.

    The kernel opens it, in a cell: the other way, a registered target, raises a pybind11 error in xeus-python 0.19.
    """
    client = subject.client()
    if subject.name == "floor":
        yield "floor"
        return
    request = client.execute(ECHO)
    client.send(request)
    comm_id = ""
    missing = {"execute_reply", "idle", "comm_open"}
    for message in client.received():
        if message.what == "comm_open":
            comm_id = str(message.content["comm_id"])
        missing.discard(message.what)
        if not missing:
            break
    else:
        raise Failed(f"the echoing comm was not opened: no {' and no '.join(sorted(missing))}")
    yield comm_id
    client.ask(client.execute("echo.close()"), "execute_reply", "idle")


def comm_echo(*buffers: bytes) -> Callable[[Subject, int], Trial]:
    """One comm message with these buffers, until its echo and its idle."""

    def trial(subject: Subject, count: int) -> Trial:
        with echo_comm(subject) as comm_id:
            content: dict[str, object] = {"comm_id": comm_id, "data": {"value": 1}}
            return round_trips(
                subject.client(),
                count,
                lambda client: client.ask(client.encode("comm_msg", content, buffers), "comm_msg", "idle"),
            )

    return trial


def beside_a_cell(subject: Subject, count: int) -> Trial:
    """kernel_info on Control, while a cell computes in pure Python."""
    running = subject.running()
    with computing(running):
        return kernel_info("control")(subject, count)


def interrupted(by: Callable[[Running], float]) -> Callable[[Subject, int], Trial]:
    """How soon a cell that computes in pure Python shows that it was interrupted, in ms."""

    def trial(subject: Subject, count: int) -> Trial:
        running = subject.running()
        by(running)
        return Trial([by(running) * 1e3 for _ in range(count)])

    return trial


# Throughput: much at once.


def rate(count: float, gathered: Gathered) -> Trial:
    """How many a second, and what was lost."""
    return Trial([count / gathered.seconds], f"lost {listed(gathered.lost)}" if gathered.lost else "")


def comm_pipelined(subject: Subject, count: int) -> Trial:
    """Comm messages without waiting, until all echoes and the last idle are there, in k/s."""
    client = subject.client()
    with echo_comm(subject) as comm_id:
        content: dict[str, object] = {"comm_id": comm_id, "data": {"value": 1}}
        requests = [client.encode("comm_msg", content) for _ in range(count)]
        return rate(count / 1e3, client.gather(requests, {"comm_msg": count, "idle": count}))


def burst(subject: Subject, count: int) -> Trial:
    """kernel_info_requests without waiting, until all replies and all idles are there, in k/s."""
    client = subject.client()
    requests = [client.encode("kernel_info_request", {}) for _ in range(count)]
    return rate(count / 1e3, client.gather(requests, {"kernel_info_reply": count, "idle": count}))


def cell(code: str, what: str) -> Callable[[Client, int], Trial]:
    """A cell that publishes `what` `count` times, until its idle and all it published are there, in k/s."""

    def trial(client: Client, count: int) -> Trial:
        request = client.execute(code.format(count=count))
        gathered = client.gather([request], {what: count, "execute_reply": 1, "idle": 1})
        return rate(count / 1e3, gathered)

    return trial


def warm(trial: Callable[[Client, int], Trial]) -> Callable[[Subject, int], Trial]:
    """The trial with the kernel that runs."""
    return lambda subject, count: trial(subject.client(), count)


PRINTS = cell("for i in range({count}): print(i)", "stream")
FLUSHED = cell("for i in range({count}): print(i, flush=True)", "stream")
DISPLAYS = cell("for i in range({count}): display({{'text/plain': 'x'}}, raw=True)", "display_data")


def large_display(subject: Subject, mebibytes: int) -> Trial:
    """A cell that displays one long string, until its idle, in MB/s."""
    client = subject.client()
    client.ask(client.execute(f"large = {{'text/plain': 'x' * ({mebibytes} << 20)}}"), "execute_reply", "idle")
    request = client.execute("display(large, raw=True)")
    gathered = client.gather([request], {"display_data": 1, "execute_reply": 1, "idle": 1}, copy=False)
    return rate((mebibytes << 20) / 1e6, gathered)


# The process.


def start(subject: Subject, count: int) -> Trial:
    """From the start of the process to its first kernel_info_reply, in s."""

    def once() -> float:
        with subject.fresh() as running:
            running.client.ask(running.client.encode("kernel_info_request", {}), "kernel_info_reply")
            return time.perf_counter() - running.spawned

    return Trial([once() for _ in range(count)])


def memory(subject: Subject, _: int) -> Trial:
    """The resident memory of a kernel that has only been started, in MB."""
    with subject.fresh() as running:
        running.client.wait_ready()
        return Trial([usage.resident(running.process.pid) / 1e6])


def idle(used: Callable[[int], float], unit: float = 1) -> Callable[[Subject, int], Trial]:
    """How much more has been `used` after some seconds in which nobody asked the kernel for anything."""

    def trial(subject: Subject, seconds: int) -> Trial:
        with subject.fresh() as running:
            running.client.wait_ready()
            # What a start leaves to be done a moment later is not done by an idle kernel.
            time.sleep(1.5)
            before = used(running.process.pid)
            time.sleep(seconds)
            return Trial([(used(running.process.pid) - before) / unit])

    return trial


def printing_grows(subject: Subject, count: int) -> Trial:
    """How much higher a cell that prints lines brings the peak of a kernel's memory than a tenth of them did, in MB.

    A reader reads along. What the kernel's own buffers take, a tenth fills as well.
    """
    with subject.fresh() as running:
        running.client.wait_ready()
        PRINTS(running.client, count // 10)
        before = usage.peak(running.process.pid)
        trial = PRINTS(running.client, count)
        return Trial([(usage.peak(running.process.pid) - before) / 1e6], trial.note)


def _times(factor: float, of: str) -> tuple[Limit, ...]:
    return (Limit(factor, of),)


def _latency(name: str, title: str, trial: Callable[[Subject, int], Trial], reach: float, aim: Limit) -> Row:
    return Row(name, title, "ms", "less", 100, trial, _times(reach, "ipykernel"), (aim,))


def _beside(name: str, title: str, count: int, trial: Callable[[Subject, int], Trial]) -> Row:
    limits = _times(1, "ipykernel")
    # xeus-python 0.19 cannot be interrupted: an interrupt_request does nothing, and SIGINT ends it.
    return Row(name, title, "ms", "less", count, trial, limits, limits, ("kernelbridge", "ipykernel"))


def _published(
    name: str, title: str, count: int, trial: Callable[[Subject, int], Trial], reach: float, aim: Limit
) -> Row:
    return Row(name, title, "k/s", "more", count, trial, _times(reach, "ipykernel"), (aim,), KERNELS_ONLY)


# The limits are those of the speed table that kernelbridge is held to.
ROWS = (
    _latency("shell-info", "kernel_info round trip, Shell", kernel_info("shell"), 0.4, Limit(1.2, "floor")),
    _latency("control-info", "kernel_info round trip, Control", kernel_info("control"), 0.4, Limit(1.2, "floor")),
    _latency("pass", "silent `pass`", silent_pass, 0.4, Limit(1, "xeus")),
    _latency("one-plus-one", "`1+1`", one_plus_one, 0.45, Limit(1, "xeus")),
    _latency("comm-echo", "comm echo", comm_echo(), 0.45, Limit(1, "xeus")),
    _latency("comm-64k", "comm echo, 64 KiB buffer", comm_echo(bytes(1 << 16)), 0.45, Limit(1, "xeus")),
    _beside("control-beside", "kernel_info, Control, beside a cell", 50, beside_a_cell),
    _beside("interrupt", "interrupt_request to the error", 10, interrupted(interrupted_by_request)),
    _beside("sigint", "SIGINT to the error", 10, interrupted(interrupted_by_signal)),
    _published("comm-pipelined", "comm, 5,000 pipelined", 5_000, comm_pipelined, 6, Limit(1, "xeus")),
    _published("prints", "100,000 prints (lines)", 100_000, warm(PRINTS), 2, Limit(4, "ipykernel")),
    _published("flushed", "5,000 flushed prints", 5_000, warm(FLUSHED), 3, Limit(1, "xeus")),
    _published("displays", "2,000 small displays", 2_000, warm(DISPLAYS), 3, Limit(0.7, "xeus")),
    Row(
        name="large-display",
        title="one 64 MiB display",
        unit="MB/s",
        better="more",
        count=64,
        trial=large_display,
        reach=_times(1, "ipykernel"),
        aim=_times(2, "ipykernel"),
        kernels=KERNELS_ONLY,
    ),
    # ipykernel's cost grows with the square of what waits: it is asked for a tenth.
    Row("burst-2500", "2,500 kernel_info at once", "k/s", "more", 2_500, burst, counts={"ipykernel": 250}),
    Row(
        name="burst-10000",
        title="10,000 kernel_info at once",
        unit="k/s",
        better="more",
        count=10_000,
        trial=burst,
        # Linear: what waits does not slow what is served.
        reach=(Limit(0.5, "floor"), Limit(0.8, "burst-2500")),
        aim=_times(0.9, "floor"),
        counts={"ipykernel": 1_000},
    ),
    Row("start", "start to first reply", "s", "less", 1, start, _times(0.8, "ipykernel"), _times(1, "xeus")),
    Row("idle-memory", "idle: resident memory", "MB", "less", 1, memory, (), (Limit(40),), rounds=3),
    Row("idle-wakes", "idle: wake-ups in 5 s", "", "less", 5, idle(usage.wake_ups), (Limit(0),), (Limit(0),), rounds=1),
    # Less than 0.1 % of a core.
    Row(
        "idle-cpu",
        "idle: CPU time in 5 s",
        "ms",
        "less",
        5,
        idle(usage.processor_seconds, 1e-3),
        (),
        (Limit(5),),
        rounds=1,
    ),
    Row(
        name="print-growth",
        title="1,000,000 prints: growth",
        unit="MB",
        better="less",
        count=1_000_000,
        trial=printing_grows,
        aim=(Limit(1),),
        kernels=KERNELS_ONLY,
        counts={"xeus": 100_000},
        rounds=1,
    ),
    *FRONTEND_ROWS,
)
