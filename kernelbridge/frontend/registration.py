"""The launcher's side of the startup handshake (JEP 66): a port at which a kernel reports the ports that it has bound.

So no port is chosen by one process and bound by another, and kernels that start at once cannot collide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

import zmq

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.service import OnCrash
from kernelbridge.bridges.socket_bridge import Context, Frame, Socket, SocketBridge, send
from kernelbridge.wire.connection import Channel
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.handshake import decode_handshake, encode_handshake, handshake_reply, parse_handshake_request
from kernelbridge.wire.signing import Signer
from kernelbridge.wire.strays import Strays


class Registration(SocketBridge[Never]):
    """Waits for one kernel, the one of this `kernel_id`, which must sign with the key of its registration file.

    Both are called on the thread, and one of them once: `on_ports` with the kernel's ports, or `on_late` when `timeout`
    seconds have passed. The thread then ends.
    """

    def __init__(
        self,
        context: Context,
        clock: Clock,
        *,
        ip: str,
        kernel_id: str,
        signer: Signer,
        strays: Strays,
        timeout: float | None,
        on_ports: Callable[[dict[Channel, int]], None],
        on_late: Callable[[], None],
        on_crash: OnCrash | None = None,
    ) -> None:
        super().__init__("frontend-registration", context, clock, on_crash)
        self.port = 0
        """Where the kernel registers; known when the thread has started."""
        self._ip = ip
        self._kernel_id = kernel_id
        self._signer = signer
        self._strays = strays
        self._give_up_at = None if timeout is None else clock.monotonic() + timeout
        self._on_ports = on_ports
        self._on_late = on_late
        # Owned by the thread.
        self._socket: Socket | None = None
        self._over = False

    def open_sockets(self) -> None:
        socket = self.context.socket(zmq.ROUTER)
        socket.set(zmq.LINGER, 500)
        self._socket = socket
        self.adopt(socket, self._read_report)
        socket.bind(f"tcp://{self._ip}:0")
        self.port = int(bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").rpartition(b":")[2])

    def deadline(self) -> float | None:
        return None if self._over else self._give_up_at

    def on_deadline(self) -> None:
        self._end()
        self._on_late()

    def deliver(self, item: Never) -> None:
        """Nothing is ever asked of it."""

    def _read_report(self, frames: list[Frame]) -> None:
        if self._over or self._socket is None:
            return
        try:
            sender, report = decode_handshake(frames, self._signer)
            ports = parse_handshake_request(report, kernel_id=self._kernel_id)
        except WireError as error:
            self._strays.refuse("registration", error)
            return
        send(self._socket, encode_handshake(handshake_reply(), self._signer, sender))
        self._end()
        self._on_ports(ports)

    def _end(self) -> None:
        self._over = True
        self.wake()
