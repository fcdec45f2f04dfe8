"""TCP ports for a kernel that cannot choose its own: found here, bound by the kernel some time later.

What comes between the two is why kernels that start at once collide elsewhere (jupyter_client#487, papermill#511): the
ports are free again, and the system gives them to the next who asks for any port, or for a connection of its own.

Linux lets two sockets have an address as long as both allow it (SO_REUSEADDR, as ZMQ's do, and those of Rust, Go and
Java) and neither listens. So the ports are held here until the kernel is ready: the system gives them to nobody who
does not name them. What remains is a program that names one of these numbers itself, as none does that looks for a free
one. Other systems do not let a kernel in where somebody is: there the ports are let go before it starts.
"""

from __future__ import annotations

import contextlib
import socket
import sys

_CAN_BE_HELD = sys.platform == "linux"


class Ports:
    """Free ports of an address, so many, each another. Any thread may `release` them, and twice."""

    def __init__(self, ip: str, count: int) -> None:
        with contextlib.ExitStack() as stack:
            # All are held until all are known, so that none is given twice.
            self._held = [stack.enter_context(socket.socket()) for _ in range(count)]
            for one in self._held:
                if _CAN_BE_HELD:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((ip, 0))
            self.numbers: list[int] = [one.getsockname()[1] for one in self._held]
            if _CAN_BE_HELD:
                stack.pop_all()

    def release(self) -> None:
        """Let go of them."""
        for one in self._held:
            one.close()
