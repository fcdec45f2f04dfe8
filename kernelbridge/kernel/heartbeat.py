"""The Heartbeat thread: sends back what it gets, in C and without the GIL.

So a kernel that computes in a C extension without releasing the GIL still answers, and is not taken for dead.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import zmq

from kernelbridge.bridges.service import OnCrash, Service
from kernelbridge.bridges.socket_bridge import Context, Socket


class Heartbeat(Service):
    """The Heartbeat thread."""

    def __init__(self, context: Context, bind: Callable[[Socket], None], on_crash: OnCrash | None = None) -> None:
        super().__init__("heartbeat", on_crash)
        self._context = context
        self._bind = bind
        # Guards the sending end of the pair that ends the proxy; any thread may stop the service.
        self._ending = threading.Lock()
        self._address = f"inproc://kernelbridge-heartbeat-{uuid.uuid4().hex}"
        self._end = context.socket(zmq.PAIR)
        self._end.bind(self._address)

    def run(self) -> None:
        # A ROUTER, because many frontends may beat at once, each with a request of its own under way.
        echo = self._context.socket(zmq.ROUTER)
        control = self._context.socket(zmq.PAIR)
        try:
            self._bind(echo)
            control.connect(self._address)
            self.ready()
            zmq.proxy_steerable(echo, echo, None, control)
        finally:
            echo.close(0)
            control.close(0)
            # A bind that failed, or a crash: nobody is left to be told to end.
            self.abandon()

    def abandon(self) -> None:
        with self._ending:
            self._end.close(0)

    def wake(self) -> None:
        with self._ending:
            if not self._end.closed:
                # Not closed here: the proxy misses a command whose sender goes at once, and echoes for ever.
                self._end.send(b"TERMINATE", zmq.NOBLOCK)
