"""The bridge: what a frontend holds of a kernel, in a thread or in an event loop.

    with launch("python3") as bridge:                   async with launch("python3") as bridge:
        execution = bridge.execute("1 + 1")                 execution = bridge.execute("1 + 1")
        for message in execution:                           async for message in execution:
            print(message.msg_type)                             print(message.msg_type)
        reply = execution.result()                          reply = await execution

A bridge is there at once, and its kernel some time later. What is asked before the kernel is ready is kept and sent, in
order, when it is; entering the bridge waits for that.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import attrs
from zmq import ZMQError

from kernelbridge.bridges.clock import Clock, SystemClock
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.frontend.channels import SendingChannel, Settings
from kernelbridge.frontend.comms import OpenComm
from kernelbridge.frontend.errors import BridgeClosedError, BridgeError, KernelStartError, SubshellError
from kernelbridge.frontend.execution import OnInput, Request
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.liveness import BEAT_SECONDS, RESTART_LIMIT, Restarts
from kernelbridge.frontend.lives import Lives, OnDeath
from kernelbridge.frontend.requests import ShellRequests, ask_control, forward
from kernelbridge.frontend.subscribers import Backlog, Filter, Subscription
from kernelbridge.frontend.subshell import Subshell
from kernelbridge.wire.connection import ConnectionInfo, load_connection_file
from kernelbridge.wire.frames import NO_LIMITS, Limits
from kernelbridge.wire.messages import SUBSHELL_FEATURE, Message
from kernelbridge.wire.signing import Signer

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpec

    from kernelbridge.frontend.files import LaunchTransport
    from kernelbridge.frontend.launch import Launcher
    from kernelbridge.frontend.output_store import OutputStore

__all__ = ["GRACE", "Bridge", "connect", "launch"]

GRACE = 5.0
"""Seconds in which a launched kernel has to obey a shutdown_request before its process group is killed."""

START_TIMEOUT = 60.0

T = TypeVar("T")

Policy = Literal["stay", "restart"] | Callable[["Bridge"], object]
"""What to do when a kernel has died that was not told to end."""


@attrs.frozen
class Kept:
    """A policy of a bridge that somebody keeps for another: until it is handed over, `keeper` is told of a death."""

    policy: Policy
    keeper: Callable[[Bridge], object]


_BACKLOG = Backlog()


class Bridge(ShellRequests):
    """Holds a kernel. Made by `launch` and `connect`; any thread and any event loop may use it.

    As a context manager, of either kind, it waits on entry until the kernel is ready and closes on leaving: a launched
    kernel is shut down, one that was connected to goes on.
    """

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        self._launcher: Launcher | None = None

    @property
    def _link(self) -> Link:
        return self._lives.link

    def _hand_over(self, cwd: str | None, env: Mapping[str, str | None]) -> bool:
        """End the time in which it is `Kept`. Returns whether the kernel lives: if not, its keeper hears of it.

        It is in another working folder and environment by now than it was launched with, and so are those that are
        started in its place.
        """
        if self._launcher is not None:
            self._launcher.move(cwd, env)
        return self._lives.let_go()

    # The kernel

    @property
    def connection(self) -> ConnectionInfo | None:
        """Where the kernel is; None until a kernel that chooses its ports has reported them."""
        return self._link.connection

    @property
    def connection_file(self) -> Path | None:
        """The file that says so, where there is one: with it others can connect, too."""
        return self._link.connection_file

    @property
    def kernel_info_reply(self) -> dict[str, Any]:
        """Content of the kernel's kernel_info_reply; empty until it is ready."""
        return self._link.info

    @property
    def status(self) -> str:
        """``starting`` until the kernel is ready, ``dead``, ``closed``, or what it last said: ``idle`` or ``busy``.

        ``restarting`` while a kernel that is restarted has yet to end.
        """
        return self._link.status

    @property
    def open_comms(self) -> tuple[OpenComm, ...]:
        """The comms that are open, in the order in which they were opened.

        Those that were open before the bridge was connected are known when `comm_info` has been answered.
        """
        with self._link.ordering:
            return self._link.tracker.comms.all()

    @property
    def counters(self) -> dict[str, int]:
        """What arrived and could not be used, by kind (contract F10)."""
        return self._link.strays.counts()

    @property
    def clock(self) -> Clock:
        """The clock of all of the bridge's timers."""
        return self._link.clock

    @property
    def last_beat(self) -> float | None:
        """When the kernel last echoed a ping, on the clock's monotonic scale."""
        return self._link.last_beat

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait at most `timeout` seconds of real time until the kernel is ready.

        Raises `KernelStartError` if the start failed, `BridgeClosedError` if the bridge is closed, or is meanwhile, and
        `TimeoutError`, which ends nothing: the start goes on until its own time is up.
        """
        link = self._link
        try:
            link.ready.result(timeout)
        except TimeoutError:
            raise TimeoutError(f"kernel {link.name!r} was not ready within {timeout} s") from None
        self._expect_open()

    async def ready(self) -> None:
        """Wait until the kernel is ready. Raises as `wait_ready` does."""
        await asyncio.wrap_future(self._link.ready)
        self._expect_open()

    def _expect_open(self) -> None:
        if self.status == "closed":
            raise BridgeClosedError("the bridge was closed")

    def restart(self, *, grace: float = GRACE) -> None:
        """End the kernel, start it again in the same way, and wait until it is ready (contract F8).

        The old one is asked to shut down, and killed if it runs `grace` seconds from now. What it leaves unanswered
        ends with `KernelDiedError`; what it still says is not shown; subscriptions go on, with a `status` whose
        `execution_state` is ``restarting``. What is asked from then on is for the new kernel. It has a connection file
        and addresses of its own.

        May be called when the kernel has died, and again when that has failed. Raises `BridgeError` if the kernel was
        not launched by this bridge, `BridgeClosedError`, and `KernelStartError` when the new kernel does not start.
        """
        self._restart(grace).ready.result()

    async def arestart(self, *, grace: float = GRACE) -> None:
        """Do what `restart` does, while the event loop goes on. It goes on to its end also when it is cancelled."""
        link = await on_a_thread("kernelbridge-frontend-restart", partial(self._restart, grace))
        await asyncio.wrap_future(link.ready)

    def _restart(self, grace: float) -> Link:
        return _saying_what(self._link.name, partial(self._lives.restart, grace))

    # Requests on Control. Those on Shell are the base's.

    def interrupt(self) -> Request | None:
        """Interrupt what runs, and abort what waits for its turn; what is asked for from now on runs (contract F7).

        By a signal where the kernel was launched here, unless its kernelspec says otherwise. Returns the
        interrupt_request on Control, or None for a signal. A signal is not sent before the kernel is ready: nothing
        runs in it yet, and it would end one that has not come to catch it. An execution that has been sent and has not
        begun is interrupted at its beginning, and again while that shows no effect.
        """
        return self._link.interrupter.interrupt()

    def shutdown(self, restart: bool = False, *, grace: float = GRACE) -> Request:
        """Ask the kernel to end. What it leaves unanswered ends with `KernelDiedError`, and `status` becomes ``dead``.

        A launched kernel is killed if it runs `grace` seconds from now. The bridge itself is to be closed as always.
        """
        link = self._link
        link.expect_end()
        request = ask_control(link, "shutdown_request", restart=restart)
        if link.process is not None:
            link.process.end(grace)
        return request

    def signal(self, number: int) -> None:
        """Send a signal to the kernel's process group. Raises `BridgeError` if the kernel was not launched here.

        `interrupt` is more than SIGINT: it knows what it is to end.
        """
        process = self._link.process
        if process is None:
            raise BridgeError(f"kernel {self._link.name!r} was connected to: who launched it can signal it")
        process.signal(number)

    def forward(
        self, message: Message, channel: SendingChannel = "shell", *, on_input: OnInput | None = None
    ) -> Request:
        """Send a request that was made elsewhere, by a program that speaks the protocol itself.

        It goes with its own header, content, metadata and buffers; replies and outputs name its header as their parent.
        An execute_request takes its turn like any other and gives an `Execution`; a request to shut down is known for
        what it is. `on_input` is as for `execute`. Raises `WireError` when it is over the limit.
        """
        link = self._link
        if message.msg_type == "shutdown_request":
            link.expect_end()
        request = forward(link, message, channel, on_input)
        if message.msg_type == "shutdown_request" and link.process is not None:
            link.process.end(GRACE)
        return request

    def create_subshell(self) -> Subshell:
        """Ask the kernel for a subshell, which runs requests beside the main shell's (JEP 91).

        It is there when it is entered. Raises `SubshellError` where the kernel has none, and where it is not ready, so
        that this is not known.
        """
        self._expect_subshells()
        return Subshell(self._link)

    def list_subshells(self) -> Request:
        """Ask for the ids of all subshells, whoever has created them: ``subshell_id`` of the reply, a list.

        Raises as `create_subshell` does.
        """
        self._expect_subshells()
        return ask_control(self._link, "list_subshell_request")

    def _expect_subshells(self) -> None:
        if not self.kernel_info_reply:
            raise SubshellError("the kernel is not ready: whether it has subshells is not known yet")
        if SUBSHELL_FEATURE not in self.kernel_info_reply.get("supported_features", ()):
            raise SubshellError(f"kernel {self._link.name!r} has no subshells")

    # The stream

    def subscribe(
        self,
        on_message: Callable[[Message], object] | None = None,
        *,
        types: Iterable[str] | None = None,
        request: Request | None = None,
        snapshot: bool = False,
        backlog: Backlog | None = _BACKLOG,
    ) -> Subscription:
        """Return a reader of everything that the kernel publishes from now on, whoever asked for it, in its order.

        Or of some of it: of messages of certain `types`, or of those that a `request` has caused. With `snapshot` it
        begins with a `Resync`, whose snapshot tells what was published before and still holds. `on_message` is called
        with all that there is to read, on a thread of its own, until the subscription is closed.

        `backlog` bounds what may wait for the reader. What is over it is dropped and a `Resync` takes its place, for
        this reader alone (contract F5). None is for who would rather take any memory than lose a message.

        When the kernel dies a `status` with `execution_state` ``dead`` comes last. The stream ends when the bridge
        closes.
        """
        if isinstance(types, str):
            raise TypeError(f"types are several, as [{types!r}], and not one text")
        only = Filter(None if types is None else frozenset(types), None if request is None else request.msg_id)
        with self._link.ordering:
            subscription = self._link.subscribers.add(
                backlog=backlog, only=None if only == Filter() else only, begin_with_snapshot=snapshot
            )
        if on_message is not None:
            self._link.subscribers.call(subscription, on_message)
        return subscription

    # The end

    def close(self, *, grace: float = GRACE) -> None:
        """End the bridge, and a launched kernel with it: it is killed if it has not shut down within `grace` seconds.

        Returns when no process, thread or file of it is left. Requests that are still open end with
        `BridgeClosedError`. Closing again does nothing. A KeyboardInterrupt meanwhile, or what another signal handler
        raises, ends the kernel's grace and is raised again.
        """
        try:
            self._lives.close(grace)
        except BaseException:
            # Who does not want to wait for the kernel does not want to leave it behind either.
            self._lives.close(0)
            raise

    async def aclose(self, *, grace: float = GRACE) -> None:
        """Do what `close` does, while the event loop goes on. It goes on to its end also when it is cancelled."""
        await on_a_thread("kernelbridge-frontend-close", partial(self._lives.close, grace))

    def __enter__(self) -> Self:
        try:
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            await self.ready()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Bridge to {self._link.name!r}, {self.status}>"


def connect(
    connection: str | os.PathLike[str] | ConnectionInfo,
    *,
    context: Context | None = None,
    clock: Clock | None = None,
    timeout: float | None = START_TIMEOUT,
    limits: Limits = NO_LIMITS,
    beat_seconds: float | None = BEAT_SECONDS,
    on_death: Literal["stay"] | Callable[[Bridge], object] = "stay",
    output_store: OutputStore | None = None,
) -> Bridge:
    """Connect to a kernel that runs, or is about to.

    Takes its connection file or what that says; the ZMQ `context`, needed where the kernel is in this process (inproc);
    the `clock` of all of the bridge's timers; the seconds in which the kernel must prove ready, which it can while it
    is busy; the size of the messages that are taken and sent; how often the kernel is pinged (None: it is never taken
    for hung, see `kernelbridge.frontend.liveness`); what to call, on a thread for that, when it has died; and where
    large outputs are to be kept (in memory by default). Raises `ConnectionFileError` for a file that cannot be used.

    A frontend that comes back to its kernel asks it for what it has missed: `Bridge.status`, `comm_info`, `history`.
    """
    if isinstance(connection, ConnectionInfo):
        info, name = connection, connection.kernel_name or connection.endpoint("shell")
    else:
        info, name = load_connection_file(connection), os.fspath(connection)
    settings = Settings(
        name=name,
        signer=Signer(info.key, info.signature_scheme),
        context=context,
        clock=clock or SystemClock(),
        limits=limits,
        timeout=timeout,
        beat_seconds=beat_seconds,
        may_be_busy=True,
        output_store=output_store,
    )
    return _begin(settings, lambda link: link.open(info), None, on_death, Restarts())


def launch(
    kernel_name: str = "kernelbridge",
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str | None] | None = None,
    extra_arguments: Sequence[str] = (),
    transport: LaunchTransport | None = None,
    curve: bool = False,
    context: Context | None = None,
    clock: Clock | None = None,
    timeout: float | None = START_TIMEOUT,
    limits: Limits = NO_LIMITS,
    beat_seconds: float | None = BEAT_SECONDS,
    on_death: Policy | Kept = "stay",
    restart_limit: int = RESTART_LIMIT,
    output_store: OutputStore | None = None,
    kernelspec: KernelSpec | None = None,
) -> Bridge:
    """Launch a kernel by the name of its kernelspec; ``kernelbridge`` is there without being installed.

    Takes the kernel's working folder, what to add to its environment (None takes a name out of it) and to its command
    line, the transport (``ipc`` where the platform has it, else ``tcp``), whether all is encrypted (CURVE: the keys are
    in the connection file; the kernel has to know them), and what `connect` takes. A `kernelspec` that has been found
    elsewhere is used instead of the one of this name.

    A kernel that has died without having been told to stays dead, is restarted, or is left to the function that is
    called with the bridge, which may restart or close it. More than `restart_limit` restarts do not follow one another
    when none leads to a kernel that is ready for 10 s.

    Raises `NoSuchKernelError`; a start that fails later raises `KernelStartError` where it is waited for.
    """
    # jupyter_client takes 0.2 s to import, and only who launches needs it.
    from kernelbridge.frontend.launch import Launcher

    launcher = Launcher(
        kernel_name,
        transport=transport,
        cwd=cwd,
        extra_env=env,
        extra_arguments=extra_arguments,
        curve=curve,
        spec=kernelspec,
    )
    settings = Settings(
        name=kernel_name,
        signer=Signer(launcher.keys.key),
        context=context,
        clock=clock or SystemClock(),
        limits=limits,
        timeout=timeout,
        beat_seconds=beat_seconds,
        may_be_busy=False,
        interrupt_mode=launcher.spec.interrupt_mode,
        output_store=output_store,
    )
    bridge = _begin(settings, launcher.launch, launcher.launch, on_death, Restarts(restart_limit))
    bridge._launcher = launcher
    return bridge


def _begin(
    settings: Settings,
    first: Callable[[Link], None],
    again: Callable[[Link], None] | None,
    on_death: Policy | Kept,
    restarts: Restarts,
) -> Bridge:
    bridge: Bridge
    policy, keeper = (on_death.policy, on_death.keeper) if isinstance(on_death, Kept) else (on_death, None)

    # A word that is mistyped would be found out when the kernel dies.
    known = ("stay",) if again is None else ("stay", "restart")
    if not callable(policy) and policy not in known:
        raise ValueError(f"on_death is {' or '.join(map(repr, known))} or a function, and not {policy!r}")

    def with_bridge(call: Callable[[Bridge], object]) -> Callable[[], object]:
        return lambda: call(bridge)

    then: OnDeath = with_bridge(policy) if callable(policy) else policy
    bridge = Bridge(Lives(settings, again, then, restarts, None if keeper is None else with_bridge(keeper)))
    try:
        _saying_what(settings.name, partial(bridge._lives.begin, first))
    except BaseException:
        bridge.close(grace=0)
        raise
    return bridge


def _saying_what(name: str, start: Callable[[], T]) -> T:
    try:
        return start()
    except (OSError, ZMQError) as error:
        raise KernelStartError(f"kernel {name!r} could not be started: {error}") from error


async def on_a_thread(name: str, call: Callable[[], T]) -> T:
    """Do what takes its time, and goes on to its end also when its caller is cancelled."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised in the event loop that waits for it.
            done.set_exception(error)

    # Not in the loop's executor, whose threads would stay. No daemon: a program that ends with its loop, because it
    # was interrupted for instance, waits for this, and leaves no kernel.
    thread = threading.Thread(target=run, name=name)
    thread.start()
    result = await asyncio.wrap_future(done)
    # It has nothing left to do but to end.
    thread.join()
    return result
