"""How the kernel is interrupted: by a signal or a request, when the execution queue says so (contract F7)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from kernelbridge.frontend.execution import Request
from kernelbridge.frontend.tracker import settle

if TYPE_CHECKING:
    from kernelbridge.frontend.link import Link


class Interrupter:
    """Interrupts the kernel that a link holds. Any thread may call it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def interrupt(self) -> Request | None:
        """Interrupt what runs and abort what waits. Returns the request on Control, or None for a signal."""
        link = self._link
        request = None if self._signals else self._request()
        with link.ordering:
            ended = [] if request is None else link.tracker.add(request)
            ended += link.tracker.interrupt(self._delivery(request))
            link.outbox.release()
        settle(ended)
        return request

    def expire(self) -> None:
        """Interrupt what has used up its time. Called on the Shell thread."""
        link = self._link
        with link.ordering:
            link.tracker.expire(self._delivery(None))
            link.outbox.release()

    @property
    def _signals(self) -> bool:
        return self._link.settings.interrupt_mode == "signal" and self._link.process is not None

    def _delivery(self, request: Request | None) -> Callable[[], None]:
        """Return what sends the interrupt, under the lock: `request` at first, and a new one if it is called again."""
        given = [request] if request is not None else []

        def deliver() -> None:
            if self._signals:
                self._send_signal()
            else:
                self._send_request(given.pop() if given else None)

        return deliver

    def _send_signal(self) -> None:
        link = self._link
        if link.process is not None and link.outbox.is_open:
            link.process.signal(signal.SIGINT, self._arrived)
        else:
            link.tracker.queue.interrupted()

    def _send_request(self, request: Request | None) -> None:
        link = self._link
        if request is None:
            request = self._request()
            link.tracker.add(request)
        if link.tracker.find(request.msg_id) is None:
            # There is no kernel any more.
            link.tracker.queue.interrupted()
            return
        link.outbox.send_on_control(link.outbox.encoded(request, {}))
        request.when_done(self._arrived)

    def _request(self) -> Request:
        return Request(self._link.session.header("interrupt_request"))

    def _arrived(self) -> None:
        link = self._link
        with link.ordering:
            link.tracker.queue.interrupted()
            link.outbox.release()
