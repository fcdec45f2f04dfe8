"""Interrupts: SIGINT becomes a KeyboardInterrupt exactly where the running work is, and nowhere else.

It is raised on the spot while the work's code runs, and thrown into its coroutine while that awaits. When nothing runs
there is nothing to interrupt, and the signal is dropped, so that a late Ctrl-C never ends the kernel.

Work that raises, whatever it raises, has failed; the kernel goes on. One thing is not the work's own: that somebody
cancels the task which serves, from outside, to end the kernel. A cancellation that the work's own code asked for, or
that stands for an interrupt, is told from that by who was running when it came.

SIGTERM is heard here, too. It asks for the kernel's end, as a shutdown_request does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any
from weakref import WeakSet

_HEARD = b"\xff"
_SWALLOWED = b"\xfe"


class Interrupts:
    """Runs the work of one thread, a piece at a time, such that each piece can be interrupted."""

    def __init__(self) -> None:
        # All is owned by the thread that calls attach(); interrupt() reads some of it.
        self._ident: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._running: _Work | None = None
        self._handler = self._on_sigint
        # What SIGINT does to the program around an embedded kernel, while nothing runs in that.
        self._programs: Callable[[int, FrameType | None], object] | None = None
        # The work that the signal under way is for, where that is known. Written by all, each time whole.
        self._meant: _Work | None = None
        # Owned by the thread that calls listen() and insist(): the work that a signal came for and has not reached.
        self._unheard: _Work | None = None
        self.ear: socket.socket | None = None
        """Where SIGINT is the interrupt: readable when one came, for whoever will `listen`."""
        self.on_signal: Callable[[], None] | None = None
        """Called by `listen` when a SIGINT came that was not sent here, for what runs on other threads."""
        # Whether a SIGINT was sent here that `listen` has not read of. It is read before another is sent: each is
        # written to the ear at once.
        self._sent = False
        self._bell: socket.socket | None = None
        # Owned by the thread that listens: whether SIGTERM has come and nobody has been told.
        self._terminated = False
        _all.add(self)

    def interrupt(self) -> None:
        """Interrupt the work that runs, if some does, from any thread."""
        running = self._running
        if running is not None:
            self._send(running)

    # A signal that comes between Python's last look for signals and a system call that waits does not end that call,
    # and Python sees it when the call returns: for a long sleep, too late. So another thread looks after each signal.
    # The C handler writes the signal's number to the ear at once, and Python's handler writes that it has run. What it
    # raises in a __del__ or in a callback of C code ends that, and goes no further: that is written, too.

    def listen(self) -> bool:
        """Read the ear, and return whether a signal came that Python's handler has not heard of."""
        if self.ear is None:
            return False
        came = self.ear.recv(4096)
        if signal.SIGTERM in came and signal.getsignal(signal.SIGTERM) is _heard_by_the_ear:
            self._terminated = True
        if signal.SIGINT in came:
            own, self._sent = self._sent, False
            if not own and self.on_signal is not None:
                self.on_signal()
        signalled, heard = max(came.rfind(signal.SIGINT), came.rfind(_SWALLOWED)), came.rfind(_HEARD)
        if signalled != heard:
            self._unheard = self._running if signalled > heard else None
            if self._unheard is not None and self._loop is not None:
                # A GUI's loop, which may run in asyncio's place (see `host_loop`), waits on after a signal.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(_look_for_signals)
        return self._unheard is not None

    def told_to_end(self) -> bool:
        """Return whether a SIGTERM was among what was read, once for each."""
        told, self._terminated = self._terminated, False
        return told

    def insist(self) -> bool:
        """Send the signal again, where the work that it came for still runs. Returns whether it does."""
        meant, self._unheard = self._unheard, None
        if meant is None or meant is not self._running:
            return False
        self._unheard = meant
        self._send(meant)
        return True

    def _send(self, meant: _Work) -> None:
        self._meant = meant
        if self._ident is not None and self._ident == threading.main_thread().ident:
            self._sent = True
            # A signal, and not a flag, because it also ends a system call that waits.
            signal.pthread_kill(self._ident, signal.SIGINT)
            if self.ear is None and self._loop is not None:
                # In a program where nobody listens. A GUI's loop waits on after a signal.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(_look_for_signals)
        elif self._loop is not None:
            # Its loop may end at this very moment, and then nothing runs there.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._interrupt_waiting, meant)

    def attach(self) -> None:
        """Belong to the calling thread, its running loop, and the task that calls, which runs all the work."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._ident = threading.get_ident()

    @contextmanager
    def signals(self, embedded: bool = False) -> Iterator[None]:
        """Turn SIGINT into interrupts of what runs, and listen for SIGTERM, where this is the main thread.

        SIGTERM only where nobody else has said what it does. To be left when nobody calls `interrupt` any more: a
        signal that comes later would end the program.

        `embedded`: in a program that has its own use for signals. A SIGINT that comes while nothing runs is the
        program's then, and SIGTERM is. So is the descriptor at which asyncio hears of signals, and nobody listens.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if embedded:
            with self._shared_sigint():
                yield
            return
        self.ear, self._bell = ear, bell = socket.socketpair()
        ear.setblocking(False)
        bell.setblocking(False)
        bell_before = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        before = signal.signal(signal.SIGINT, self._handler)
        terminates = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if terminates:
            signal.signal(signal.SIGTERM, _heard_by_the_ear)
        try:
            with self._looking_after_callbacks():
                yield
        finally:
            signal.signal(signal.SIGINT, before)
            if terminates and signal.getsignal(signal.SIGTERM) is _heard_by_the_ear:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.set_wakeup_fd(bell_before)
            self.ear = self._bell = None
            ear.close()
            bell.close()

    @contextmanager
    def _looking_after_callbacks(self) -> Iterator[None]:
        """Have an interrupt sent again that was raised where Python ignores it."""
        before = sys.unraisablehook

        def hook(unraisable: sys.UnraisableHookArgs) -> None:
            if not _is_interrupt(unraisable.exc_traceback):
                before(unraisable)
            elif self._bell is not None:
                # Not sent from here: it would be raised in this very function.
                with suppress(BlockingIOError):
                    self._bell.send(_SWALLOWED)

        sys.unraisablehook = hook
        try:
            yield
        finally:
            if sys.unraisablehook is hook:
                sys.unraisablehook = before

    def _forget(self) -> None:
        """Be a forked child's copy: a signal to the child is none to the kernel, which hears at the same socket."""
        if self._bell is None:
            return
        self._bell = None
        signal.set_wakeup_fd(-1)
        if signal.getsignal(signal.SIGTERM) is _heard_by_the_ear:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @contextmanager
    def _shared_sigint(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGINT)
        self._programs = before if callable(before) else None
        signal.signal(signal.SIGINT, self._handler)
        try:
            yield
        finally:
            # None stands for a handler that Python has not set, and cannot set again.
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await `coroutine`, and return what it returns or what it raises."""
        if self._task is None:
            raise RuntimeError("attach() comes first")
        work = self._running = _Work(coroutine, self._task)
        try:
            result = await work
            # Last inside the try: an interrupt that comes before this line is caught, one that comes after is dropped.
            self._running = None
            return result
        except asyncio.CancelledError as cancelled:
            if work.cancelled_from_outside():
                raise
            return cancelled
        except GeneratorExit:
            # The loop is closed, and this coroutine with it.
            raise
        except BaseException as failure:  # noqa: BLE001 - whatever the work raises is the work's failure.
            return failure
        finally:
            self._running = None
            work.settle()

    def restore(self) -> None:
        """Take SIGINT back where the work has set a handler of its own, which holds for the work alone."""
        if self._ident == threading.main_thread().ident and signal.getsignal(signal.SIGINT) is not self._handler:
            signal.signal(signal.SIGINT, self._handler)

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        if self._bell is not None:
            with suppress(BlockingIOError):
                self._bell.send(_HEARD)
        running, meant = self._running, self._meant
        self._meant = None
        if running is None or self._loop is None or (meant is not None and meant is not running):
            # Nothing runs, or not any more what was to be interrupted.
            if meant is None and self._programs is not None:
                self._programs(signum, frame)
            return
        if running.on_stack:
            raise KeyboardInterrupt
        # The coroutine awaits. Its loop sleeps in a system call that goes on after this handler, so wake it.
        self._loop.call_soon_threadsafe(self._interrupt_waiting, running)

    def _interrupt_waiting(self, meant: _Work) -> None:
        if self._running is meant:
            meant.interrupt()


def _heard_by_the_ear(signum: int, frame: FrameType | None) -> None:
    """Do nothing: whoever listens hears of it also where Python's handlers do not run, in a long call of C code."""


def _is_interrupt(at: TracebackType | None) -> bool:
    """Return whether this is the traceback of what the handler of SIGINT has raised."""
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and at.tb_frame.f_code is Interrupts._on_sigint.__code__


def hide_handler(failure: BaseException) -> None:
    """Let the traceback of an interrupt end in the code that was interrupted, as with Python's own handler."""
    at = failure.__traceback__
    while at is not None and at.tb_next is not None:
        if at.tb_next.tb_frame.f_code is Interrupts._on_sigint.__code__:
            at.tb_next = None
        at = at.tb_next


def _look_for_signals() -> None:
    """Do nothing: Python runs the handlers of the signals that have come before it runs this."""


class _Work:
    """Awaits a coroutine, and throws a KeyboardInterrupt into it where it was interrupted while it waited."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], task: asyncio.Task[Any]) -> None:
        self.on_stack = False
        """Whether the coroutine's own code runs right now."""
        self._coroutine = coroutine
        self._task = task
        self._interrupted = False
        # How many of the task's open cancellations the coroutine's own code has asked for.
        self._own = 0

    def interrupt(self) -> None:
        """Interrupt the coroutine, which waits."""
        if not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    def cancelled_from_outside(self) -> bool:
        """Return whether somebody else has cancelled the task."""
        return self._task.cancelling() > self._own + self._interrupted

    def settle(self) -> None:
        """Take back the cancellations that are the work's own, so that they do not count against what comes next."""
        for _ in range(self._own + self._interrupted):
            self._task.uncancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        thrown: BaseException | None = None
        while True:
            before = self._task.cancelling()
            try:
                self.on_stack = True
                waits_for = self._coroutine.send(None) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration as end:
                return end.value
            except GeneratorExit as failure:
                raise RuntimeError("the code raised GeneratorExit") from failure
            finally:
                self.on_stack = False
                self._own += self._task.cancelling() - before
            try:
                yield waits_for
                thrown = None
            except asyncio.CancelledError as cancelled:
                thrown = cancelled
            if self._interrupted:
                # Also where what the code waited for has swallowed the cancellation, and answered.
                self._interrupted = False
                self._task.uncancel()
                thrown = KeyboardInterrupt()


_all: WeakSet[Interrupts] = WeakSet()


class _Forking(threading.local):
    """Which signals the thread that forks had blocked before, while it forks."""

    blocked: set[int | signal.Signals] | None = None


_forking = _Forking()

# A forked child has the ear, too, and until it has let go of that the parent would take a signal to the child for its
# own. So a signal waits that comes between the fork and that.


def _before_fork() -> None:
    if any(interrupts.ear is not None for interrupts in _all):
        _forking.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def _after_fork() -> None:
    if _forking.blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.blocked)
        _forking.blocked = None


def _after_fork_in_child() -> None:
    for interrupts in _all:
        interrupts._forget()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
