"""Subshells: further threads that run requests beside the main shell's (JEP 91).

A subshell is an execution thread with an event loop of its own. Its requests come through the Shell socket and are
answered through it, in order among themselves; what they put goes into the one IOPub queue, with their own parents.
What the documents leave open is decided here:

* Any message on Shell may carry a `subshell_id`, comm messages too. One that names no subshell is answered at once,
  with an error that says so.
* All shells share one execution count, as they share their names: each execution has a number of its own.
* After a deletion, what runs there goes on to its end, all that waits gets an ``aborted`` reply, and the thread ends.
* An interrupt is for the whole kernel. In a subshell it ends what awaits, and what waits for input; what computes, or
  waits in a system call, goes on, because Python interrupts the main thread only.
* At the kernel's end they are interrupted so, and given `STOP_SECONDS`. The thread of one that still runs then is left
  to itself: it ends with what it runs, or with the process.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from kernelbridge.bridges.service import OnCrash, Service
from kernelbridge.kernel.execution import Execution, run_on_loop
from kernelbridge.kernel.router import Request, fault_reply
from kernelbridge.kernel.shell import Lane
from kernelbridge.wire.contents import (
    Content,
    CreateSubshellReply,
    CreateSubshellRequest,
    DeleteSubshellReply,
    DeleteSubshellRequest,
    ErrorReply,
    ListSubshellReply,
)
from kernelbridge.wire.errors import ContentError, short_repr

logger = logging.getLogger("kernelbridge")

STOP_SECONDS = 0.5
"""How long all subshells together may take to end when the kernel does. In real time: it bounds a wait for threads."""


class Subshell(Service):
    """The thread of one subshell. Takes `make`, which makes its execution, of its lane."""

    debugged = True

    def __init__(self, make: Callable[[Lane], Execution], on_crash: OnCrash) -> None:
        self.subshell_id = os.urandom(16).hex()
        super().__init__(f"subshell-{self.subshell_id}", on_crash)
        self.lane = Lane(lambda requests: self._execution.run(requests), self.wake)
        self._execution = make(self.lane)

    def run(self) -> None:
        run_on_loop(lambda: self._execution.serve(self.ready))

    def wake(self) -> None:
        self._execution.end()

    def interrupt(self) -> None:
        """Interrupt what awaits."""
        self._execution.interrupts.interrupt()


class Subshells:
    """The subshells of a kernel: made, deleted and listed by the Control thread, looked up by the Shell thread.

    Takes `make`, which makes a subshell's execution; `close`, which tells the Shell thread of a deletion; and
    `interrupt_input`, which interrupts what waits for input in subshells.
    """

    def __init__(
        self,
        make: Callable[[Lane], Execution],
        close: Callable[[Lane], object],
        interrupt_input: Callable[[], object],
        on_crash: OnCrash,
    ) -> None:
        self._make = make
        self._close = close
        self._interrupt_input = interrupt_input
        self._on_crash = on_crash
        # Guards the changes of the three below.
        self._lock = threading.Lock()
        self._open: dict[str, Subshell] = {}
        self._deleted: list[Subshell] = []
        # Set by the first stop: who stops again does not wait again.
        self._give_up_at: float | None = None

    # On the Control thread

    def answer(self, request: Request) -> Content:
        """Do what a request on Control says, and return the reply."""
        content = request.content
        if isinstance(content, CreateSubshellRequest):
            return self._create()
        if isinstance(content, DeleteSubshellRequest):
            return self._delete(content)
        return ListSubshellReply(subshell_id=self.ids())

    def _create(self) -> Content:
        new = Subshell(self._make, self._on_crash)
        with self._lock:
            if self._give_up_at is not None:
                return ErrorReply(ename="RuntimeError", evalue="the kernel ends")
            try:
                new.start()
            except RuntimeError as failure:
                # The system gives no more threads.
                return ErrorReply(ename="RuntimeError", evalue=str(failure))
            self._open[new.subshell_id] = new
        return CreateSubshellReply(subshell_id=new.subshell_id)

    def _delete(self, content: DeleteSubshellRequest) -> Content:
        with self._lock:
            self._deleted = [one for one in self._deleted if one.alive]
            found = self._open.pop(content.subshell_id, None)
            if found is not None:
                self._deleted.append(found)
        if found is None:
            problem = f"names no subshell: {short_repr(content.subshell_id)}"
            return fault_reply(ContentError(content.msg_type, "subshell_id", problem))
        self._close(found.lane)
        return DeleteSubshellReply()

    # For any thread

    def ids(self) -> list[str]:
        """Return the ids of those that are not deleted."""
        return list(self._open)

    def find(self, subshell_id: str) -> Lane | None:
        """Return the lane of the subshell with this id, None if there is none."""
        found = self._open.get(subshell_id)
        return None if found is None else found.lane

    def interrupt(self) -> None:
        """Interrupt what awaits, or waits for input, in any of them."""
        for subshell in [*self._open.values(), *self._deleted]:
            subshell.interrupt()
        self._interrupt_input()

    def stop(self) -> None:
        """End them all, for good, and return when their threads have ended, or have had their time."""
        with self._lock:
            first = self._give_up_at is None
            give_up_at = self._give_up_at = self._give_up_at or time.monotonic() + STOP_SECONDS
            ending = [*self._open.values(), *self._deleted]
        for subshell in ending:
            subshell.wake()
        self.interrupt()
        for subshell in ending:
            if subshell.on_this_thread():
                continue
            if not subshell.stop(max(0.0, give_up_at - time.monotonic())) and first:
                logger.warning("subshell %s still runs: its thread is left to itself", subshell.subshell_id)
