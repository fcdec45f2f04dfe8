"""The life of a launched kernel's process: started by a provisioner, watched, signalled, ended, and cleaned up after.

Provisioners are jupyter_client's, and are written for an event loop, so this thread runs one. The exit of a local
process is waited for in the operating system (`waitid`), so that it is known at once.

A provisioner of another kind may have its kernel on another machine. What it can tell is whether the kernel runs, so it
is asked now and then; its `wait` is for kernels that have been told to end, may give up waiting, and may block. It says
where the kernel is when it has launched it, and has to be told that the kernel is about to end: it may have something
of its own there. And what it shares among its kernels may be bound to the event loop in which the first of them was
launched (gateway_provisioners' response manager is), so all of them have one loop, on a thread that stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import attrs
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from kernelbridge.bridges.clock import Attendance, Clock
from kernelbridge.bridges.service import OnCrash, Service
from kernelbridge.frontend.processes import State, state_of_group

logger = logging.getLogger("kernelbridge")

GRACE = 5.0
"""How many seconds a kernel that was asked to shut down is given before its process group is killed."""

POLL_SECONDS = 1.0
"""How often a provisioner that cannot wait is asked whether its kernel runs. In real time."""

ENDING_POLL_SECONDS = 0.1
"""How often, once the kernel has been told to end."""

_WORDS_KEPT = 8192
_LINES_SHOWN = 10


@attrs.frozen
class Exit:
    """How a process ended: with its exit `status` (minus the number of a signal; None if it is not known).

    `last_words` is the end of what it wrote to stdout and stderr. `failure` says why it could not be started at all.
    """

    status: int | None = None
    last_words: str = ""
    failure: str = ""

    def describe(self, when: str = "") -> str:
        """Continue the sentence "kernel 'python3' ..." on one line, with `when` put behind the verb."""
        if self.failure:
            return f"could not be started: {self.failure}"
        if self.status is None:
            said = f"ended{when}"
        elif self.status < 0:
            said = f"was ended by {_signal_name(-self.status)}{when}"
        else:
            said = f"ended with exit status {self.status}{when}"
        lines = [line.strip() for line in self.last_words.splitlines() if line.strip()]
        return f"{said}: {' | '.join(lines[-_LINES_SHOWN:])}" if lines else said


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class KernelProcess(Service):
    """A thread that starts a kernel's process and stays until it has ended and nothing of it is left.

    Takes the `clock` for the grace of its end; `provision`, which is called on the thread and returns the provisioner;
    `options` for its launch (`cwd`, `env`); `on_start`, called on the thread with the process group of one that was
    started here; `on_exit`, called on the thread once, when the process has ended or could not be started;
    `clean_up`, called on the thread at its end, to remove the files; and where the provisioner is not known to start a
    process here `on_launch`, which is called with what it says of the connection.

    With an `on_launch`, "on the thread" means in the event loop of all such provisioners for all but the last two.
    """

    def __init__(
        self,
        clock: Clock,
        provision: Callable[[], KernelProvisionerBase],
        options: Mapping[str, Any],
        on_start: Callable[[int], None],
        on_exit: Callable[[Exit], None],
        clean_up: Callable[[], None],
        on_crash: OnCrash | None = None,
        on_launch: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        super().__init__("frontend-process", on_crash)
        self._on_launch = on_launch
        self._clock = clock
        self._provision = provision
        self._options = dict(options)
        self._on_start = on_start
        self._on_exit = on_exit
        self._clean_up = clean_up
        # Owned by the thread.
        self._provisioner: KernelProvisionerBase | None = None
        self._words = bytearray()
        self._kill_at: float | None = None
        # Written by the thread once: whose state is looked at.
        self._group: int | None = None
        # Set on the thread before it is ready.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end_asked: asyncio.Event | None = None
        # Set whenever there is reason to look when to kill.
        self._rung = asyncio.Event()
        self._gone = threading.Event()
        # Held here as long as it runs: the loop itself would let go of it.
        self._telling: asyncio.Task[None] | None = None

    # For any thread

    def wait(self) -> None:
        """Wait until the process has ended and nothing of it is left. A signal handler may raise meanwhile.

        Python 3.11's `Thread.join` takes a thread for ended when Ctrl-C interrupts the wait for it (bpo-45274), and so
        is no place to wait for seconds.
        """
        if self.alive:
            self._gone.wait()

    def end(self, grace: float) -> None:
        """See to it that the process ends: if it runs `grace` seconds from now, it and its group are killed."""
        now = self._clock.monotonic()
        self._call(lambda: self._ask_end(now, grace))

    def wake(self) -> None:
        self.end(GRACE)

    def signal(self, number: int, sent: Callable[[], object] | None = None) -> None:
        """Send a signal to the process group, if it still runs. `sent` is called on the thread when that is done."""

        async def send() -> None:
            await self._send_signal(number)
            if sent is not None:
                sent()

        self._call(lambda: asyncio.ensure_future(send()))

    def state(self) -> State | None:
        """Return whether it runs, was stopped by a signal, or is held by a debugger; None where that cannot be seen."""
        return None if self._group is None else state_of_group(self._group)

    def _call(self, function: Callable[[], object]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(function)
            except RuntimeError:
                # The loop is closed: the process has ended, and there is nothing left to ask for.
                return

    # On the thread

    def run(self) -> None:
        try:
            if self._on_launch is None:
                how = asyncio.run(self._live())
            else:
                how = asyncio.run_coroutine_threadsafe(self._live(), provisioners_loop()).result()
            # Waits for the channels, on this thread.
            self._on_exit(how)
        finally:
            try:
                self._clean_up()
            finally:
                self._gone.set()

    async def _live(self) -> Exit:
        self._loop = asyncio.get_running_loop()
        self._end_asked = asyncio.Event()
        with self._clock.attend(self.name, lambda: self._call(self._rung.set)) as attendance:
            killing = asyncio.ensure_future(self._kill_in_time(attendance))
            self.ready()
            how = await self._run_process()
            killing.cancel()
            await asyncio.wait({killing})
        return how

    def _ask_end(self, now: float, grace: float) -> None:
        provisioner = self._provisioner
        first = not self._end_event().is_set()
        self._end_event().set()
        if grace > 0 and provisioner is not None:
            # One whose kernel is far away may need more.
            grace = provisioner.get_shutdown_wait_time(recommended=grace)
            if first and provisioner.has_process:
                self._telling = asyncio.ensure_future(self._tell_end(provisioner))
        kill_at = now + grace
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)
        self._rung.set()

    async def _tell_end(self, provisioner: KernelProvisionerBase) -> None:
        try:
            await provisioner.shutdown_requested(restart=False)
        # As with `kill`.
        except Exception:
            logger.exception("the provisioner cannot be told that its kernel is about to end")

    async def _kill_in_time(self, attendance: Attendance) -> None:
        while True:
            self._rung.clear()
            patience = attendance.patience(self._kill_at)
            if patience == 0:
                self._kill_at = None
                await self._kill()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._rung.wait()

    async def _kill(self) -> None:
        if self._provisioner is not None and self._provisioner.has_process:
            try:
                await self._provisioner.kill(restart=False)
            # A provisioner may raise anything, and may succeed when the end is asked for again.
            except Exception:
                logger.exception("the kernel's process cannot be killed")

    async def _run_process(self) -> Exit:
        read_end, write_end = os.pipe()
        try:
            try:
                provisioner = await self._unless_ended(self._launch(write_end))
            finally:
                os.close(write_end)
            if provisioner is None:
                if self._on_launch is not None:
                    await self._abandon()
                return Exit(failure="it was given up before it had started")
            os.set_blocking(read_end, False)
            loop = asyncio.get_running_loop()
            loop.add_reader(read_end, self._read_words, read_end)
            try:
                status = await (_exit(provisioner) if self._on_launch is None else self._exit_elsewhere(provisioner))
            finally:
                loop.remove_reader(read_end)
            # What it wrote before it ended is all in the pipe.
            self._read_words(read_end)
            await provisioner.cleanup(restart=False)
            return Exit(status, self._words.decode(errors="replace"))
        # A provisioner may raise anything, and the frontend must hear of it.
        except Exception as failure:
            logger.debug("the kernel's process could not be run", exc_info=failure)
            return Exit(failure=_one_line(failure))
        finally:
            os.close(read_end)

    async def _launch(self, write_end: int) -> KernelProvisionerBase:
        provisioner = self._provision()
        self._provisioner = provisioner
        options = await provisioner.pre_launch(**self._options)
        command = options.pop("cmd")
        if isinstance(provisioner, LocalProvisioner):
            options |= {"stdin": subprocess.DEVNULL, "stdout": write_end, "stderr": write_end}
        connection = await provisioner.launch_kernel(command, **options)
        if isinstance(provisioner, LocalProvisioner) and provisioner.pid is not None:
            self._group = provisioner.pid
            self._on_start(provisioner.pid)
        await provisioner.post_launch(**options)
        if self._on_launch is not None:
            self._on_launch(connection)
        return provisioner

    async def _exit_elsewhere(self, provisioner: KernelProvisionerBase) -> int | None:
        """Return the exit status, if it is known, when a kernel that is not known to be a process here has ended."""
        ending = self._end_event()
        while await provisioner.poll() is None:
            if ending.is_set():
                await asyncio.sleep(ENDING_POLL_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await ending.wait()
        status: int | None = await provisioner.wait()
        return status

    async def _abandon(self) -> None:
        """End a kernel whose launch was broken off: it may have begun elsewhere already."""
        await self._kill()
        if self._provisioner is not None:
            await self._provisioner.cleanup(restart=False)

    async def _unless_ended(self, launch: Any) -> KernelProvisionerBase | None:
        """Return what `launch` returns, or None if the end is asked for first."""
        task = asyncio.ensure_future(launch)
        asked = asyncio.ensure_future(self._end_event().wait())
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if task.done():
            provisioner: KernelProvisionerBase = task.result()
            return provisioner
        task.cancel()
        await asyncio.wait({task})
        return None

    def _end_event(self) -> asyncio.Event:
        if self._end_asked is None:
            raise RuntimeError("the process's event loop does not run yet")
        return self._end_asked

    async def _send_signal(self, number: int) -> None:
        if self._provisioner is not None and self._provisioner.has_process:
            await self._provisioner.send_signal(number)

    def _read_words(self, read_end: int) -> None:
        try:
            while chunk := os.read(read_end, 65536):
                logger.debug("kernel: %s", chunk.decode(errors="replace").rstrip())
                self._words += chunk
                del self._words[:-_WORDS_KEPT]
        except BlockingIOError:
            return
        # The end of the pipe would be readable for ever.
        asyncio.get_running_loop().remove_reader(read_end)


_provisioners_lock = threading.Lock()
_provisioners_loop: asyncio.AbstractEventLoop | None = None
"""Written under the lock, once."""


def provisioners_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of all provisioners that are not known to start a process here. It runs, and stays."""
    global _provisioners_loop
    with _provisioners_lock:
        if _provisioners_loop is None:
            _provisioners_loop = asyncio.new_event_loop()
            run = _provisioners_loop.run_forever
            threading.Thread(target=run, name="kernelbridge-provisioners", daemon=True).start()
        return _provisioners_loop


async def _exit(provisioner: KernelProvisionerBase) -> int | None:
    """Return the exit status when the process has ended. What is left of a local one's group is killed then."""
    process = provisioner.process if isinstance(provisioner, LocalProvisioner) else None
    if isinstance(process, subprocess.Popen):
        ended: Future[None] = Future()
        ended.set_running_or_notify_cancel()

        def wait() -> None:
            _reap(process)
            ended.set_result(None)

        waiting = threading.Thread(target=wait, name="kernelbridge-frontend-exit", daemon=True)
        waiting.start()
        await asyncio.wrap_future(ended)
        # It has nothing left to do but to end.
        waiting.join()
    status: int | None = await provisioner.wait()
    return status


def _reap(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "waitid"):
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            logger.debug("the kernel's process %d was reaped by somebody else", process.pid)
        else:
            # As long as the leader is not reaped, its group's number cannot have become another's.
            _kill_group(process.pid)
    process.wait()


def _kill_group(leader: int) -> None:
    """Kill what a kernel has started and left behind. A provisioner makes each kernel the leader of a group."""
    try:
        if os.getpgid(leader) == leader:
            os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError) as refusal:
        logger.debug("nothing left to kill in the group of process %d: %s", leader, refusal)


def _one_line(failure: Exception) -> str:
    if isinstance(failure, OSError) and failure.strerror:
        named = f": {failure.filename}" if failure.filename else ""
        return f"{failure.strerror}{named}"
    return " ".join(str(failure).split()) or type(failure).__name__
