"""The kernel's side of the startup handshake (JEP 66): bind free ports, report them, wait for the acknowledgement.

So a port is never chosen by one process and bound by another, and 64 kernels that start at once cannot collide.
"""

from __future__ import annotations

import zmq

from kernelbridge.bridges.clock import Clock
from kernelbridge.bridges.clock_poller import ClockPoller
from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.wire.connection import ConnectionInfo, RegistrationInfo
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.handshake import decode_handshake, encode_handshake, handshake_request, parse_handshake_reply
from kernelbridge.wire.signing import Signer

ANSWER_SECONDS = 30.0
"""How long the launcher may take to acknowledge. JEP 66: a kernel that hears nothing should end."""


def unbound(registration: RegistrationInfo) -> ConnectionInfo:
    """Return what a kernel that was given `registration` binds: the same address, with ports still to be found."""
    return ConnectionInfo(
        transport=registration.transport,
        ip=registration.registration_ip,
        key=registration.key,
        signature_scheme=registration.signature_scheme,
        curve_publickey=registration.curve_publickey,
        curve_secretkey=registration.curve_secretkey,
    )


def register(context: Context, clock: Clock, registration: RegistrationInfo, bound: ConnectionInfo) -> None:
    """Report the ports of `bound`. Raises `WireError` when the launcher refuses, or does not answer in time."""
    signer = Signer(registration.key, registration.signature_scheme)
    report = encode_handshake(handshake_request(registration.kernel_id, bound.ports), signer)
    give_up_at = clock.monotonic() + ANSWER_SECONDS
    with context.socket(zmq.DEALER) as socket, ClockPoller(context, clock, "registration") as poller:
        socket.linger = 0
        socket.connect(registration.endpoint())
        socket.send_multipart(report)
        poller.register(socket)
        if not poller.poll(give_up_at):
            raise WireError(f"no answer from {registration.endpoint()} to the registration, {ANSWER_SECONDS:g} s long")
        frames = socket.recv_multipart()
    try:
        _, content = decode_handshake(frames, signer)
        parse_handshake_reply(content)
    except WireError as fault:
        raise WireError(f"{registration.endpoint()} did not acknowledge the registration: {fault}") from None
