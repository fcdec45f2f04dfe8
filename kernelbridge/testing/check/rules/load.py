"""Rules of load: nothing is lost, with readers who read and readers who stall; big messages come whole."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import zmq

from kernelbridge.bridges.socket_bridge import Socket
from kernelbridge.frontend.channel import reach
from kernelbridge.frontend.readiness import sends_welcome
from kernelbridge.testing.check.failures import NotApplicable, NotMeasured
from kernelbridge.testing.check.procedure import LOST, Trial, rule
from kernelbridge.testing.check.samples import marks
from kernelbridge.testing.sockets import drain
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import decode
from kernelbridge.wire.messages import Message
from kernelbridge.wire.signing import Signer

_LINES = 5_000
_STALLED_LINES = 10_000
"""More than the default limits of ZeroMQ (1,000 messages at each end) and the buffers of TCP hold."""

_STANDSTILL_SECONDS = 4.0
"""After how long without a message to a reader who reads a kernel is taken to wait for the one who stalls."""

_QUIET_SECONDS = 0.5
_WELCOME_SECONDS = 2.0
_GLANCE_SECONDS = 0.005
_BIG = 4_000_000
_BIG_REQUEST = 2_000_000


@rule(
    "load.welcome",
    "A new subscription is welcomed",
    'specification, "Welcome message"; JEP 65',
    most=10,
    seconds=5.0,
)
def welcome(trial: Trial) -> str:
    version = str(trial.running.info.get("protocol_version"))
    if not sends_welcome(version):
        raise NotApplicable(f"came with protocol 5.5, the kernel says {version}")
    with _reader(trial, stalls=False) as reader:
        reading = _Reading(trial, reader)
        end = time.monotonic() + _WELCOME_SECONDS
        while reading.take(max(0, end - time.monotonic())):
            for message in reading.last:
                if message.msg_type == "iopub_welcome":
                    return _welcome_problem(message)
    return f"no iopub_welcome came within {_WELCOME_SECONDS:g} s"


def _welcome_problem(message: Message) -> str:
    if message.parent is not None:
        return "it has a parent"
    said = message.content.get("subscription")
    return "" if said == "" else f"its subscription is {said!r}, and was to everything"


@rule(
    "load.lines",
    f"Of {_LINES:,} lines printed in a row none is lost, with a reader who reads",
    "contract K8; the specification is silent",
    "expectation",
    needs=("many",),
    most=2,
    seconds=30.0,
    kind=LOST,
    alone=True,
)
def lines(trial: Trial) -> str:
    _print_many(trial)
    return _loss(trial, _LINES, trial.kernel.received("iopub"))


@rule(
    "load.idle",
    f"Of {_LINES:,} lines printed in a row none comes behind the idle",
    'specification, "Kernel status": idle, when it has finished publishing associated IOPub messages',
    needs=("many",),
    most=2,
    seconds=30.0,
    alone=True,
)
def idle(trial: Trial) -> str:
    request = _print_many(trial)
    if not trial.kernel.is_idle(request):
        raise NotMeasured("the idle is lost, and what else is, another rule counts")
    place = {id(message): place for place, message in enumerate(trial.kernel.received("iopub"))}
    end = next(place[id(message)] for message in trial.kernel.published(request) if message.is_idle)
    late = sum(message.msg_type == "stream" for message in trial.kernel.received("iopub")[end:])
    return f"{late:,} messages came behind the idle" if late else ""


def _print_many(trial: Trial) -> Message:
    """Print many lines, and return the request when all have come, or nothing comes any more."""
    kernel = trial.kernel
    request = kernel.execute(trial.cell(("many", _LINES)))
    kernel.reply(request)
    trial.succeeded(kernel.handled(request))
    # The idle may be lost as well.
    kernel.settle()
    if not kernel.is_idle(request) or _missing(trial, request):
        kernel.until_quiet(_QUIET_SECONDS)
    return request


def _missing(trial: Trial, request: Message) -> bool:
    return _lost(_LINES, trial.kernel.published(request)) > 0


@rule(
    "load.stalled",
    f"Of {_STALLED_LINES:,} lines none is lost to a reader who stalls while they are printed, and then reads on",
    "contract K8; the specification is silent",
    "expectation",
    needs=("many",),
    most=1,
    seconds=60.0,
    kind=LOST,
)
def stalled(trial: Trial) -> str:
    kernel = trial.kernel
    with _reader(trial, stalls=True) as reader:
        seen = _Reading(trial, reader)
        while not reader.poll(0):
            kernel.settle()
        seen.until_here()
        seen.messages.clear()
        request = kernel.execute(trial.cell(("many", _STALLED_LINES)))
        # The reader sees nothing of this until it reads on: when all has been printed, as the reply says.
        _until_standstill(trial, request)
        seen.until_reply(request)
        trial.succeeded(kernel.handled(request))
        seen.until_here()
        if _lost(_STALLED_LINES, seen.messages):
            # Neither reader is at fault for what comes late.
            kernel.until_quiet(_QUIET_SECONDS)
            seen.until_here()
        return _loss(trial, _STALLED_LINES, seen.messages)


def _until_standstill(trial: Trial, request: Message) -> None:
    """Wait until a request is answered, or its kernel does not go on."""
    kernel, came = trial.kernel, -1
    while came != len(kernel.time_line.events):
        came = len(kernel.time_line.events)
        if kernel.wait("", lambda: kernel.has_reply(request), _STANDSTILL_SECONDS):
            return


def _loss(trial: Trial, printed: int, messages: Iterable[Message]) -> str:
    """Return how many of the marks from 1 to `printed` are not among those of the messages."""
    lost = _lost(printed, messages)
    trial.measured = float(lost)
    return f"{lost:,} of {printed:,} lines are lost" if lost else ""


def _lost(printed: int, messages: Iterable[Message]) -> int:
    return printed - len({number for _, number in marks(messages) if number <= printed})


@rule(
    "load.big-output",
    f"An output of {_BIG // 1_000_000} MB comes whole",
    "what every user expects; the specification knows no limit",
    "expectation",
    needs=("big",),
    most=2,
    seconds=10.0,
)
def big_output(trial: Trial) -> str:
    handled = trial.run(("big", _BIG))
    trial.kernel.settle()
    if _letters(handled.shown) < _BIG:
        trial.kernel.until_quiet(_QUIET_SECONDS)
    came = _letters(trial.kernel.received("iopub"))
    return "" if came == _BIG else f"{came:,} of {_BIG:,} letters came"


def _letters(messages: Iterable[Message]) -> int:
    return sum(str(message.content.get("text")).count("x") for message in messages if message.msg_type == "stream")


@rule(
    "load.big-request",
    f"A cell of {_BIG_REQUEST // 1_000_000} MB runs",
    "what every user expects; the specification knows no limit",
    "expectation",
    needs=("print", "comment"),
    most=2,
    seconds=10.0,
)
def big_request(trial: Trial) -> str:
    line = f"{trial.cell('comment')} {'x' * 77}\n"
    code = line * (_BIG_REQUEST // len(line)) + trial.cell(("print", 1))
    handled = trial.kernel.run(code)
    trial.kernel.settle()
    shown = trial.marks(trial.kernel.received("iopub"))
    return "" if handled.status == "ok" and shown else f"it is answered with {handled.status!r}"


# Readers of their own


@contextmanager
def _reader(trial: Trial, *, stalls: bool) -> Iterator[Socket]:
    """Give a subscriber; one that `stalls` takes next to nothing that is not read, as one over a slow line would."""
    info, context = trial.running.connection, trial.running.context
    with context.socket(zmq.SUB) as reader:
        reader.linger = 0
        reader.rcvhwm = 1 if stalls else 0
        if stalls:
            reader.rcvbuf = 4096
        reach(reader, info)
        reader.subscribe(b"")
        reader.connect(info.endpoint("iopub"))
        yield reader


class _Reading:
    """What a reader of its own reads."""

    def __init__(self, trial: Trial, reader: Socket) -> None:
        connection = trial.running.connection
        self.messages: list[Message] = []
        self.last: list[Message] = []
        """Those that were taken last."""
        self._kernel = trial.kernel
        self._reader = reader
        self._signer = Signer(connection.key, connection.signature_scheme)

    def take(self, seconds: float) -> bool:
        """Read all that there is, waiting at most so long for the first of it, and return whether there was any."""
        self._reader.poll(round(seconds * 1000))
        came = drain(self._reader)
        self.last = []
        for frames in came:
            # What is no message, the rules of the wire are about.
            with suppress(WireError):
                self.last.append(decode(frames, self._signer))
        self.messages += self.last
        return bool(came)

    def until_reply(self, request: Message) -> None:
        """Read until a request is answered: a kernel that loses nothing may wait for its readers."""
        kernel = self._kernel
        while not kernel.wait("", lambda: kernel.has_reply(request), 0) and kernel.seconds_left > 0:
            self.take(_GLANCE_SECONDS)
        kernel.reply(request)

    def until_here(self) -> None:
        """Read until all that the kernel has put on IOPub so far is here, or lost: the idle of a probe comes behind."""
        kernel = self._kernel
        while kernel.seconds_left > 0:
            while self.take(_QUIET_SECONDS):
                continue
            # Not before: what a kernel that waits for its readers does with requests is not asked here.
            probe = kernel.send("kernel_info_request")
            self.until_reply(probe)
            while self.take(_QUIET_SECONDS):
                if any(message.parent_id == probe.msg_id and message.is_idle for message in self.last):
                    return
