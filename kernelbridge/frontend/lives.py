"""The kernels that a bridge holds, one after the other: restarts, what a death leads to, and the end (F6, F8, F11).

A restart ends what is open, says ``restarting`` on the stream, ends the old kernel, and begins a new one in the same
way, at addresses of its own. The new link takes over at once: what is asked for from then on is kept for the new
kernel. So nothing of the old one can come behind ``restarting``.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Literal

from kernelbridge.bridges.service import Service
from kernelbridge.frontend.channels import Settings
from kernelbridge.frontend.errors import BridgeClosedError, BridgeError
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.liveness import Restarts

logger = logging.getLogger("kernelbridge")

OnDeath = Literal["stay", "restart"] | Callable[[], object]
"""What to do when a kernel has died that was not told to end."""

Keeper = Callable[[], object]
"""Told of the death of a kernel that is kept for somebody, in place of what `OnDeath` says. Called on any thread."""


class Lives:
    """Holds one kernel at a time. Any thread may call it.

    Takes the bridge's `settings`; `start`, which starts a kernel for a link (None: it was connected to); what to do
    `on_death`; how many `restarts` that may lead to; and who keeps the kernel at first, if anybody does.
    """

    def __init__(
        self,
        settings: Settings,
        start: Callable[[Link], None] | None,
        on_death: OnDeath,
        restarts: Restarts,
        keeper: Keeper | None = None,
    ) -> None:
        self._settings = settings
        self._start = start
        self._guard = None if on_death == "stay" else _Guard(self, on_death, restarts)
        self.link = Link(settings, None, self._died)
        """The present one. Written under `ordering`, the lock of all links."""
        self._closed = False
        """Written under `ordering`."""
        self._owner = os.getpid()
        # Written under `ordering`, and read there.
        self._keeper = keeper
        # Held by whoever ends a kernel and begins another; taken before all other locks.
        self._changing = threading.Lock()

    def begin(self, start: Callable[[Link], None]) -> None:
        """Begin the first kernel. Raises what `start` raises."""
        if self._guard is not None:
            self._guard.start()
        start(self.link)

    def restart(self, grace: float, only: Link | None = None) -> Link:
        """End the kernel, begin another, and return its link, which need not be ready yet.

        Does so if the present link is `only`, if that is given. Raises `BridgeError` for a kernel that was not launched
        here, `BridgeClosedError`, and `KernelStartError` when the new one cannot be started.
        """
        start = self._start
        if start is None:
            raise BridgeError(f"kernel {self._settings.name!r} was connected to: who launched it can restart it")
        with self._changing:
            former = self.link
            if only is not None and former is not only:
                return former
            link = Link(self._settings, former, self._died)

            def take_over() -> None:
                if self._closed:
                    raise BridgeClosedError("the bridge was closed")
                self.link = link
                link.subscribers.snapshot = link.snapshot
                if former.is_starting:
                    # Whoever waits for the kernel waits for this one now.
                    link.ready = former.ready

            try:
                former.give_way(take_over)
            except BridgeClosedError:
                link.close(0)
                raise
            try:
                former.close(grace)
                link.waits_for = None
                # Closed meanwhile: what is started now would only have to be ended.
                if not self._closed:
                    start(link)
            except BaseException as error:
                former.close(0)
                link.could_not_start(error)
                raise
            return link

    def close(self, grace: float) -> None:
        """End everything. Returns when no process, thread or file is left, and again does the same.

        Called by the function that is told of a death, it leaves that function's thread, which ends with it. A forked
        child has none of the threads, and the rest is its parent's: there, nothing is done.
        """
        if os.getpid() != self._owner:
            return
        with self.link.ordering:
            self._closed = True
            link = self.link
        link.refuse()
        if (former := link.waits_for) is not None and former.process is not None:
            former.process.end(grace)
        with self._changing:
            self.link.close(grace)
        if self._guard is not None:
            if self._guard.on_this_thread():
                self._guard.wake()
            else:
                self._guard.stop()
        with self.link.ordering:
            subscribers = self.link.subscribers
            subscribers.end()
        subscribers.join()

    def let_go(self) -> bool:
        """Learn that the kernel is kept no more. Returns whether it lives: if not, its keeper is told."""
        with self.link.ordering:
            lives = self.link.fate == "alive"
            if lives:
                self._keeper = None
            return lives

    def _died(self, link: Link) -> None:
        with link.ordering:
            keeper = self._keeper
        if keeper is not None:
            keeper()
        elif self._guard is not None and not link.told_to_end:
            self._guard.put(link)


class _Guard(Service):
    """A thread that does what a death is to lead to: what that is may take its time, and may end the bridge."""

    def __init__(self, lives: Lives, on_death: OnDeath, restarts: Restarts) -> None:
        super().__init__("frontend-guard")
        self._lives = lives
        self._on_death = on_death
        self._restarts = restarts
        self._dead: queue.SimpleQueue[Link | None] = queue.SimpleQueue()

    def put(self, link: Link) -> None:
        """Tell of a death, on any thread."""
        self._dead.put(link)

    def wake(self) -> None:
        self._dead.put(None)

    def run(self) -> None:
        self.ready()
        while (link := self._dead.get()) is not None:
            if callable(self._on_death):
                try:
                    self._on_death()
                except Exception:
                    logger.exception("what was to be called when the kernel %r died has failed", link.name)
            else:
                self._restart(link)

    def _restart(self, link: Link) -> None:
        if not self._restarts.allows(link.ready_seconds):
            logger.error("kernel %r has died again soon after its start, and is not restarted any more", link.name)
            return
        logger.warning("kernel %r has died, and is restarted", link.name)
        try:
            self._lives.restart(0, only=link)
        except BridgeClosedError:
            logger.debug("kernel %r is not restarted: its bridge was closed", link.name)
        except Exception:
            # Its link has died of it, which is the next death in the row.
            logger.exception("kernel %r cannot be restarted", link.name)
