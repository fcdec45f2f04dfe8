"""A kernel: the five channels wired together around a handler, from `start` to `stop`.

frontend            kernel end                                            language
--------            ----------                                            --------
Shell     <-------> Shell thread ----- rows of requests ----------------> execution thread:
                         ^------------ replies -------------------------- Handler
Control   <-------> Control thread --- interrupt, shutdown -------------->   |
Stdin     <-------> Stdin thread <---- questions, answers --------------->   | print, display,
IOPub     <-------- IOPub thread <==== the one queue <======================='  comms, results
Heartbeat <-------> Heartbeat thread
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs
import zmq

from kernelbridge.bridges.clock import Clock, SystemClock
from kernelbridge.bridges.service import Service
from kernelbridge.bridges.socket_bridge import Context, Socket
from kernelbridge.kernel.binding import bind_channel, remove_files, remove_left_behind
from kernelbridge.kernel.comms import Comms
from kernelbridge.kernel.control import Control
from kernelbridge.kernel.execution import Execution, run_on_loop
from kernelbridge.kernel.group import end_group_at_exit
from kernelbridge.kernel.handler import Handler
from kernelbridge.kernel.heartbeat import Heartbeat
from kernelbridge.kernel.interrupts import Interrupts
from kernelbridge.kernel.iopub import BACKLOG_BYTES, STREAM_SECONDS, IOPub
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.parent import Parent
from kernelbridge.kernel.parents import Parents
from kernelbridge.kernel.registration import register, unbound
from kernelbridge.kernel.router import Request, Wire, fault_reply
from kernelbridge.kernel.shell import Close, Lane, Shell
from kernelbridge.kernel.stdin import Stdin, StdinError
from kernelbridge.kernel.trace import TRACE_FEATURE, TRACE_REQUEST, Tracing
from kernelbridge.wire.connection import Channel, ConnectionInfo, RegistrationInfo, load_startup_file
from kernelbridge.wire.contents import (
    CommInfo,
    CommInfoReply,
    CommInfoRequest,
    Content,
    InterruptReply,
    KernelInfoReply,
    ShutdownReply,
    ShutdownRequest,
    unstructure,
)
from kernelbridge.wire.errors import ContentError
from kernelbridge.wire.frames import Limits
from kernelbridge.wire.log import begin as begin_log
from kernelbridge.wire.log import message_log
from kernelbridge.wire.messages import PROTOCOL_VERSION, SUBSHELL_FEATURE, Buffer, Message, Session
from kernelbridge.wire.packing import pack
from kernelbridge.wire.signing import ReplayGuard, Signer
from kernelbridge.wire.strays import Strays

if TYPE_CHECKING:
    from kernelbridge.kernel.subshells import Subshells

logger = logging.getLogger("kernelbridge")

DEBUGGER_FEATURE = "debugger"
"""What a kernel with a debugger says there (JEP 92)."""

SUBSHELL_REQUESTS = ("create_subshell_request", "delete_subshell_request", "list_subshell_request")

LINGER_SECONDS = 0.5
"""How long what was sent may still leave after a stop, to a peer that reads slowly. In real time: ZMQ sees to it."""


@attrs.frozen
class Options:
    """What a kernel may be told beside its connection. Ages in seconds, sizes in bytes."""

    stream_seconds: float = STREAM_SECONDS
    backlog_bytes: int = BACKLOG_BYTES
    limits: Limits = attrs.field(factory=Limits)


class Kernel:
    """A kernel for one language.

    Takes the `handler`; the `connection` to bind: the path of a connection file or registration file, or what such a
    file says (a port of 0 is replaced by a free one); the ZMQ `context`, which must be the frontend's for the inproc
    transport, and is the kernel's own by default; `options`; the `clock`; and whether it is `embedded` in a program
    with a life of its own: then neither the process nor its signals are the kernel's (see `serve`).

    Raises `ConnectionFileError` for a file that cannot be used.
    """

    def __init__(
        self,
        handler: Handler,
        connection: str | os.PathLike[str] | ConnectionInfo | RegistrationInfo,
        *,
        context: Context | None = None,
        options: Options | None = None,
        clock: Clock | None = None,
        embedded: bool = False,
    ) -> None:
        self._embedded = embedded
        self._file: str | None = None
        if isinstance(connection, str | os.PathLike):
            self._file = os.fspath(connection)
            connection = load_startup_file(Path(connection), allow_port_zero=True)
        self._registration = connection if isinstance(connection, RegistrationInfo) else None
        self.connection = unbound(connection) if isinstance(connection, RegistrationInfo) else connection
        """Where the kernel listens. Complete, with the ports that were bound, once it has started."""
        self.handler = handler
        options = options or Options()
        self._clock = clock = clock or SystemClock()
        self._owns_context = context is None
        self._context: Context = context or zmq.Context()
        self._strays = Strays()
        session = Session(clock.now)
        signer = Signer(self.connection.key, self.connection.signature_scheme)
        self._tracing = Tracing(self._context, clock)
        begin_log()
        log = message_log("kernel", signer)
        if log is not None:
            self._tracing.taps = (log,)
        guard = ReplayGuard()
        wire = Wire(self._context, clock, session, signer, options.limits, guard, self._strays, self._tracing)

        self.parents = Parents()
        """Which request each context handles."""
        self._iopub = IOPub(
            wire.context,
            clock,
            self._binder("iopub"),
            session,
            signer,
            self._tracing,
            self._crashed,
            options.stream_seconds,
            options.backlog_bytes,
        )
        self.outputs = Outputs(self._iopub.put, self._iopub.ring, options.limits, self._iopub.on_this_thread)
        """The one IOPub queue, for those who know the parent that a message should have."""
        self.comms = Comms(self.outputs, self.parents)
        """The open comms and their targets."""
        answers: dict[str, Callable[[Request], Content | bytes]] = {
            "kernel_info_request": lambda request: self._kernel_info,
            "shutdown_request": self._shut_down,
        }
        self._shell = Shell(
            wire,
            self._binder("shell"),
            self.outputs,
            answers | {"comm_info_request": self._comm_info},
            Lane(lambda requests: self._execution.run(requests), self.end),
            self._lane if handler.subshells else None,
            lambda: self._execution.count.value,
            self._crashed,
        )
        # Made by the Control thread for the first request that is about subshells.
        self._subshells: Subshells | None = None
        of_subshells = dict.fromkeys(SUBSHELL_REQUESTS, self._subshell_request) if handler.subshells else {}
        interrupts = Interrupts()
        self._control = Control(
            wire,
            self._binder("control"),
            self.outputs,
            answers | of_subshells | {"interrupt_request": self._interrupted, TRACE_REQUEST: self._traced},
            handler,
            interrupts,
            self._told_to_end,
            self._abandoned,
            self._crashed,
        )
        self._stdin = Stdin(wire, self._binder("stdin"), self.outputs, self._crashed)
        self._heartbeat = Heartbeat(self._context, self._binder("hb"), self._crashed)
        self._execution = Execution(
            handler, self.outputs, self.parents, self.comms, clock, interrupts, self._shell.finished
        )
        # The channels that listen, in the order in which they were started.
        self._bound: list[Channel] = []
        # Guards `_stopped`, and that a kernel is not stopped while it starts.
        self._life = threading.Lock()
        self._stopped = False
        # Each written once, by whoever learns of it first.
        self._restart = False
        self._orphan = False
        self._failure: BaseException | None = None
        self._ended = threading.Event()

    # Life

    def serve(self) -> None:
        """Serve until a shutdown is requested or `stop` is called; requests are run on the calling thread.

        On the main thread SIGINT interrupts what runs, and SIGTERM ends the kernel. If the kernel was given a file,
        the process is taken for its own: the kernel ends with the program that started it (see `kernel.parent`), and
        what it has started ends with the process (see `kernel.group`).

        Raises `ConnectionFileError` when a channel cannot be bound, `WireError` when a registration fails, what the
        handler's `start` raises, and what a channel's thread crashed of.
        """
        if self._embedded or self._file is None or threading.current_thread() is not threading.main_thread():
            run_on_loop(self.aserve)
            return
        # Early, so that it runs late: after the hooks of the code that runs here, which may end its children better.
        end_group_at_exit()
        with Parent.named() as self._control.parent:
            try:
                if self._control.parent.gone:
                    self._abandoned()
                    self.stop()
                else:
                    run_on_loop(self.aserve)
            finally:
                if self._orphan:
                    remove_left_behind(self._file, self.connection)

    async def aserve(self) -> None:
        """Do what `serve` does on the event loop that runs."""
        with self._execution.interrupts.signals(self._embedded):
            try:
                self._start()
                await self._execution.serve(self._ready)
                self._stop_subshells()
                self.handler.stop(self._restart)
            finally:
                self.stop()
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Let `serve` return when the request that runs has ended. Any thread may call it, also the one that serves."""
        self._execution.end()

    def interrupt(self) -> None:
        """Interrupt what runs, as an ``interrupt_request`` does. Any thread may call it."""
        self._execution.interrupts.interrupt()
        self._stdin.interrupt()
        if self._subshells is not None:
            self._subshells.interrupt()

    def stop(self) -> None:
        """End the kernel and return when its threads are gone and its sockets closed. May be called again.

        Called on another thread than the one that serves, it does not wait for a request that runs.
        """
        self._execution.end()
        with self._life:
            if self._stopped:
                return
            self._stopped = True
            # Control first, which makes subshells; then those, whose last replies Shell sends. IOPub after all that put
            # there, so that nothing that was put before the stop is lost.
            self._control.stop()
            self._stop_subshells()
            for service in (self._shell, self._stdin, self._iopub, self._heartbeat):
                service.stop()
            self._tracing.stop()
            if self._owns_context:
                self._context.term()
            remove_files(self.connection, self._bound)
        self._ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the kernel's end at most `timeout` seconds of real time, and return whether it has come.

        Raises what a channel's thread has crashed of.
        """
        ended = self._ended.wait(timeout)
        if self._failure is not None:
            raise self._failure
        return ended

    @property
    def counters(self) -> dict[str, int]:
        """What arrived on Shell, Control and Stdin and was dropped, by kind, as `Bridge.counters` has it."""
        return self._strays.counts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _start(self) -> None:
        with self._life:
            if self._stopped:
                raise RuntimeError("the kernel was stopped: a kernel serves once")
            self.handler.kernel = self
            # IOPub first: the others put there. What takes requests last: nothing stands before `starting` (K5).
            for service in (self._iopub, self._heartbeat, self._stdin):
                service.start()
            self.outputs.publish("status", b'{"execution_state":"starting"}', None)
            self._control.start()
            self._shell.start()
        if self._registration is not None:
            register(self._context, self._clock, self._registration, self.connection)

    def _ready(self) -> None:
        self.handler.start()

    def _stop_subshells(self) -> None:
        if self._subshells is not None:
            self._subshells.stop()

    def _binder(self, channel: Channel) -> Callable[[Socket], None]:
        """Return what binds the socket of `channel`, on the thread that owns it."""

        def bind(socket: Socket) -> None:
            self.connection = bind_channel(socket, self.connection, channel, LINGER_SECONDS, self._file or "connection")
            self._bound.append(channel)

        return bind

    def _crashed(self, service: Service, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._execution.end()

    # What the channels answer

    @cached_property
    def _kernel_info(self) -> bytes:
        """The content of every kernel_info_reply, which Shell and Control are asked for more often than anything."""
        handler = self.handler
        debugger = handler.debugger
        info = KernelInfoReply(
            protocol_version=PROTOCOL_VERSION,
            implementation=handler.implementation,
            implementation_version=handler.implementation_version,
            language_info=handler.language_info,
            banner=handler.banner,
            debugger=debugger,
            help_links=list(handler.help_links),
            supported_features=[
                *handler.supported_features,
                *([DEBUGGER_FEATURE] if debugger else []),
                *([SUBSHELL_FEATURE] if handler.subshells else []),
                TRACE_FEATURE,
            ],
        )
        return pack(unstructure(info))

    def _comm_info(self, request: Request) -> CommInfoReply:
        target = request.content.target_name if isinstance(request.content, CommInfoRequest) else None
        return CommInfoReply(
            comms={comm.comm_id: CommInfo(target_name=comm.target_name) for comm in self.comms.all(target)}
        )

    def _interrupted(self, request: Request) -> InterruptReply:
        self.interrupt()
        return InterruptReply()

    def _subshell_request(self, request: Request) -> Content:
        if self._subshells is None:
            # Most kernels never need it.
            from kernelbridge.kernel.subshells import Subshells

            self._subshells = Subshells(
                self._execution.beside,
                lambda lane: self._shell.put(Close(lane)),
                lambda: self._stdin.interrupt(beside=True),
                self._crashed,
            )
            self._execution.interrupts.on_signal = self._subshells.interrupt
        return self._subshells.answer(request)

    def _lane(self, subshell_id: str) -> Lane | None:
        return None if self._subshells is None else self._subshells.find(subshell_id)

    def _traced(self, request: Request) -> Content | bytes:
        try:
            self._tracing.begin(request.message.content)
        except ContentError as fault:
            return fault_reply(fault)
        return b'{"status":"ok"}'

    def _shut_down(self, request: Request) -> ShutdownReply:
        restart = isinstance(request.content, ShutdownRequest) and request.content.restart
        self._restart = restart
        reply = ShutdownReply(restart=restart)
        self.outputs.publish("shutdown_reply", unstructure(reply), request.header)
        # The channels outlive the execution thread, so the reply and the idle still leave.
        self._told_to_end()
        return reply

    def _told_to_end(self) -> None:
        try:
            self.handler.ending()
        except BaseException as failure:
            # The kernel ends all the same.
            logger.warning("%s.ending failed", type(self.handler).__name__, exc_info=failure)
        self._execution.end()
        self.interrupt()

    def _abandoned(self) -> None:
        logger.warning("the program that started this kernel is gone, and so the kernel ends")
        self._orphan = True
        self._told_to_end()

    # For the handler: what is shown here and now, with the parent of the request that is handled here and now

    def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any] | Content,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> None:
        """Put a message of any type in the IOPub queue.

        Raises `WireError` when it is over the limit, or a buffer is not contiguous.
        """
        if isinstance(content, Content):
            content = unstructure(content)
        self.handler.settle()
        self.outputs.publish(msg_type, content, self.parents.current(), metadata, buffers)

    def write(self, stream: str, text: str) -> None:
        """Put text on "stdout" or "stderr"."""
        self.outputs.write(stream, text, self.parents.current())

    def display(self, data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Display a MIME bundle."""
        self.publish("display_data", {"data": data, "metadata": metadata or {}, "transient": {}})

    def result(self, data: Mapping[str, Any], execution_count: int, metadata: Mapping[str, Any] | None = None) -> None:
        """Show a MIME bundle as the value of the code that runs."""
        content = {"data": data, "metadata": metadata or {}, "execution_count": execution_count}
        self.publish("execute_result", content)

    def input(self, prompt: str = "", password: bool = False) -> str:
        """Ask the frontend whose request is handled here and now for a line. An interrupt ends the wait.

        Raises `StdinError` when that frontend does not allow it or is gone.
        """
        request = self.request
        if request is None:
            raise StdinError("no request is handled: there is nobody to ask")
        self.handler.settle()
        return self._stdin.ask(request, prompt, password)

    def flush(self) -> None:
        """Return when all that was put before is on the socket."""
        self.outputs.flush()

    @property
    def request(self) -> Message | None:
        """The request that is handled here and now."""
        return self.parents.request()

    @property
    def subshell_ids(self) -> list[str]:
        """The ids of the subshells (JEP 91)."""
        return [] if self._subshells is None else self._subshells.ids()

    @property
    def execution_count(self) -> int:
        """The number of the last execution that was counted."""
        return self._execution.count.value

    def count_back(self, number: int, to: int) -> None:
        """Let `to` be the last number instead of that of the execution which runs: it was none, or it starts over.

        Where another shell has counted one since, that number stays: no two executions may have the same.
        """
        self._execution.count.go_back(number, to)

    @contextmanager
    def parent(self, request: Message | None) -> Iterator[None]:
        """Give what is put inside the `with` block the parent `request`, on any thread."""
        with self.parents.given(request):
            yield
