"""What C code, child processes and forks write to the file descriptors 1 and 2, put into the one IOPub queue (K10).

While the capture is on, both descriptors are pipes, and one thread reads them. What it reads is put with the parent of
the request that runs, or of the last one, like the output of any thread. So a child that outlives its cell goes on in
the last cell.

Order. Nothing tells when a byte came into a pipe, so the order of what a thread writes to a descriptor and what it puts
is kept at the put: whoever puts looks first whether something has been written and is not in the queue yet, and waits
for it then (`settle`). That look costs a third of a print. The kernel takes it before each message, before each
prompt and before each `idle`; a print takes it as long as `left` lasts: for the first thousand writes of a cell, and
for a thousand more whenever something came. So only a program that prints a thousand times, and then for the first time
calls C that prints, may see the line behind its neighbours, by at most the few milliseconds that the thread needs.

The limit. The thread needs the interpreter. C code that holds it without a break can write as much as a pipe takes,
`PIPE_BYTES`; then it waits for a reader that waits for it. An interrupt ends its write. And what C says when it ends
the process at once, as ``abort`` does, is lost with the pipe; where Python was then is said in the terminal.
"""

from __future__ import annotations

import codecs
import os
import select
import socket
import sys
import threading
from array import array
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

from kernelbridge.bridges.service import Service
from kernelbridge.kernel.outputs import Outputs
from kernelbridge.kernel.parents import Parents

if sys.platform != "win32":
    import fcntl
    import termios

PIPE_BYTES: Final = 2**18
"""What a pipe takes before its writer has to wait. All pipes of a user share 64 MiB, and may be many kernels'."""

CHECKED_WRITES: Final = 1000
"""How many writes of a program look for what was written to the descriptors, see above."""

_PATIENCE_SECONDS: Final = 10.0
"""How long a put waits for the thread. It takes less; but a __del__ that the garbage collector runs in the middle of a
put waits for a thread that waits for that put, and goes on, out of order, when this is over."""


class _Pipe:
    """The pipe over one descriptor. All but `outstanding` is the thread's."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self._descriptor = descriptor
        self._before = os.dup(descriptor)
        # Our writing end stays open, too: a pipe without any writer would be readable for ever.
        self.reading_end, self._writing_end = os.pipe()
        self._ends: tuple[int, ...] = self.reading_end, self._writing_end, self._before
        # Longer than 1024 bytes, because only then the interpreter is not handed over for so short a call.
        self._count = array("i", bytes(2048))
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        if sys.platform == "linux":
            # Refused where the user's pipes have taken their share: it keeps the size that it has.
            with suppress(PermissionError):
                fcntl.fcntl(self._writing_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.dup2(self._writing_end, descriptor)

    def outstanding(self) -> int:
        """Return how many bytes wait to be read. Any thread may ask."""
        if sys.platform != "win32":
            fcntl.ioctl(self.reading_end, termios.FIONREAD, self._count)
        return self._count[0]

    def read(self, final: bool = False) -> str:
        """Return the text that waits, without waiting for more. A character of which a part is missing is kept."""
        size = self.outstanding()
        return self._decoder.decode(os.read(self.reading_end, size) if size else b"", final)

    def restore(self) -> None:
        """Give the descriptor back what it was."""
        os.dup2(self._before, self._descriptor)

    def close(self) -> None:
        """Let go of it all. Not while another thread may still ask what is outstanding. Again, it does nothing."""
        ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)

    def __del__(self) -> None:
        # Here, because any thread may be asking what is outstanding when the capture comes to its end.
        self.close()


class Descriptors(Service):
    """The thread that reads what is written to the descriptors 1 and 2, from `start` to `stop`.

    Before the start and after the stop, and where it never starts, the methods do nothing and `left` is 0.
    """

    def __init__(self, outputs: Outputs, parents: Parents) -> None:
        super().__init__("descriptors")
        self._outputs = outputs
        self._parents = parents
        self.left = 0
        """How many writes to a stream are still to `settle`. Counted down by any thread: it need not be exact."""
        # Written by the thread, and by whoever forks, in the child.
        self._pipes: list[_Pipe] = []
        self._open = False
        # Whether the thread has read what it has not put yet.
        self._reading = False
        # Those who wait for the end of a round. Put, then rung; taken by the thread.
        self._waiting: deque[Callable[[], None]] = deque()
        # Made and closed by the thread, rung by any.
        self._bell: socket.socket | None = None
        self._stopping = False
        self._flush_c: Callable[[], object] | None = None
        self._modules = 0
        _all.add(self)

    # For any thread

    def settle(self) -> None:
        """Return when all that was written to the descriptors before is in the queue."""
        if not self._open or not self._outstanding() or not self._outputs.may_wait() or self.on_this_thread():
            return
        read = threading.Lock()
        read.acquire()
        self._waiting.append(read.release)
        self._ring()
        # Put, then look: the thread closes, then takes those who wait.
        if self._open:
            read.acquire(timeout=_PATIENCE_SECONDS)

    def flush(self) -> None:
        """Write what Python and C keep in their buffers for the descriptors, and `settle`."""
        if not self._open:
            return
        for stream in (sys.__stdout__, sys.__stderr__):
            if stream is not None and not stream.closed:
                stream.flush()
        if self._flush_c is None and len(sys.modules) != self._modules:
            # Whoever writes by C's stdio has been imported since.
            self.buffer_lines()
        if self._flush_c is not None:
            self._flush_c()
        self.left = CHECKED_WRITES
        self.settle()

    def buffer_lines(self) -> None:
        """Let C write line by line, as on a terminal, and not when some thousand bytes have come together.

        Takes milliseconds the first time, because it imports ctypes.
        """
        if self._open and self._flush_c is None:
            self._flush_c = _buffer_c_lines()

    def wake(self) -> None:
        self._stopping = True
        self._ring()

    def _outstanding(self) -> bool:
        # The flag comes last: what is not in a pipe any more was read after the flag was set.
        return any(map(_Pipe.outstanding, self._pipes)) or self._reading

    def _ring(self) -> None:
        # Rung often already, or closed: there is nobody to wake.
        with suppress(OSError):
            if self._bell is not None:
                self._bell.send(b"\0", socket.MSG_DONTWAIT)

    # On the thread

    def run(self) -> None:
        ear, self._bell = socket.socketpair()
        poll = select.poll()
        try:
            self._capture()
            for descriptor in (ear.fileno(), *(pipe.reading_end for pipe in self._pipes)):
                poll.register(descriptor, select.POLLIN)
            self._open = True
            self.ready()
            while not self._stopping:
                if ear.fileno() in dict(poll.poll()):
                    ear.recv(4096)
                self._round()
        finally:
            self._close()
            ear.close()

    def _capture(self) -> None:
        self._modules = len(sys.modules)
        self.left = CHECKED_WRITES
        for descriptor, name, stream in ((1, "stdout", sys.__stdout__), (2, "stderr", sys.__stderr__)):
            # Where Python found none at its start, the number may be anything's by now.
            if stream is not None and stream.fileno() == descriptor:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
                self._pipes.append(_Pipe(descriptor, name))

    def _round(self) -> None:
        """Read all that is there, put it, and tell those who have waited for that."""
        self._reading = True
        # Before the reading: who comes from now on waits for the next round.
        waiting = len(self._waiting)
        for pipe in self._pipes:
            self._put(pipe.name, pipe.read())
        self._reading = False
        for _ in range(waiting):
            self._waiting.popleft()()

    def _put(self, name: str, text: str) -> None:
        if not text:
            return
        self.left = CHECKED_WRITES
        self._outputs.write(name, text, self._parents.current())
        if len(text) >= PIPE_BYTES // 4:
            # A flood waits in the pipe, where it holds up its writer, and not in memory.
            self._outputs.flush()

    def _close(self) -> None:
        for pipe in self._pipes:
            pipe.restore()
        for pipe in self._pipes:
            self._put(pipe.name, pipe.read(final=True))
        self._open, self.left = False, 0
        while self._waiting:
            self._waiting.popleft()()
        self._let_go()

    def _let_go(self) -> None:
        self._pipes = []
        if self._bell is not None:
            self._bell.close()

    def _forget(self) -> None:
        """Be a forked child's copy, which has no such thread.

        It writes to the pipes, and must not hold the ends that are read: else it would wait for ever, where it outlives
        the kernel and fills a pipe.
        """
        self._open, self.left = False, 0
        for pipe in self._pipes:
            # Now: what the thread was doing when it was left behind may hold the pipe for as long as the child lives.
            pipe.close()
        self._let_go()


def _buffer_c_lines() -> Callable[[], object]:
    """Give C's stdout a buffer of a line, and return what writes out what is in it.

    Of all of C's streams this flushes only that one: for another, somebody may hold the lock who waits for input.
    """
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "__stdoutp" if sys.platform == "darwin" else "stdout")
    except (ImportError, OSError, ValueError):
        # A Python without ctypes, or a C library of another kind: C writes when its buffer is full.
        return lambda: None
    by_line: Final = 1
    libc.setvbuf(stdout, None, by_line, ctypes.c_size_t(0))
    flush: Any = libc.fflush
    return lambda: flush(stdout)


_all: WeakSet[Descriptors] = WeakSet()


def _forget_all() -> None:
    for descriptors in _all:
        descriptors._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
