"""The two messages of the kernel startup handshake (JEP 66, messaging specification "Kernel startup handshake").

A kernel that was started with a registration file binds its own ports and reports them to the registration address;
the answer ends the handshake. Both are signed single-frame objects, not full messages: no header, no parent, no
metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kernelbridge.wire.connection import CHANNELS, HIGHEST_PORT, Channel
from kernelbridge.wire.errors import ContentError, WireError, short_repr
from kernelbridge.wire.frames import DELIMITER, Frame
from kernelbridge.wire.packing import pack, unpack
from kernelbridge.wire.signing import Signer

__all__ = [
    "decode_handshake",
    "encode_handshake",
    "handshake_reply",
    "handshake_request",
    "parse_handshake_reply",
    "parse_handshake_request",
]

# JEP 66's names for them; they do not appear on the wire.
_REQUEST: Final = "handshake_request"
_REPLY: Final = "handshake_reply"


def encode_handshake(content: Mapping[str, Any], signer: Signer, identities: Sequence[bytes] = ()) -> list[Frame]:
    """Return the frames of either message: to whom it goes, the delimiter, the signature, the content."""
    text = pack(content)
    return [*identities, DELIMITER, signer.sign([text]), text]


def decode_handshake(frames: Sequence[Frame], signer: Signer) -> tuple[list[bytes], object]:
    """Return who sent `frames`, and the content, of which nothing is known but that it is signed and JSON.

    Raises `WireError` when they are no handshake message or their signature is wrong.
    """
    if len(frames) < 3 or frames[-3] != DELIMITER:
        raise WireError(f"{len(frames)} frames are no handshake message")
    *identities, _, signature, text = map(bytes, frames)
    if not signer.verify(signature, [text]):
        raise WireError("wrong signature")
    return identities, unpack(text)


def handshake_request(kernel_id: str, ports: Mapping[Channel, int]) -> dict[str, str]:
    """Return what the kernel says: its id from the registration file, and the port that it bound for each channel.

    The specification has the ports as decimal text.
    """
    return {"kernel_id": kernel_id} | {f"{channel}_port": str(ports[channel]) for channel in CHANNELS}


def parse_handshake_request(content: object, *, kernel_id: str) -> dict[Channel, int]:
    """Return the port of each channel, from what a kernel said.

    `kernel_id` is the one in the registration file that the kernel was given. Ports are taken as decimal text or as
    integers. Raises ContentError for another kernel's id and for a field that is missing or cannot be used.
    """
    fields = _object(_REQUEST, content)
    if "kernel_id" not in fields:
        raise ContentError(_REQUEST, "kernel_id", "is missing: it must be a string")
    if fields["kernel_id"] != kernel_id:
        raise ContentError(
            _REQUEST, "kernel_id", f"must be {short_repr(kernel_id)}, not {short_repr(fields['kernel_id'])}"
        )
    return {channel: _port(fields, f"{channel}_port") for channel in CHANNELS}


def handshake_reply() -> dict[str, str]:
    """Return the acknowledgement. The specification leaves its content open; this is what other replies look like."""
    return {"status": "ok"}


def parse_handshake_reply(content: object) -> None:
    """Accept an acknowledgement, whatever its content. Raises ContentError if its `status` is 'error'."""
    fields = _object(_REPLY, content)
    if fields.get("status") == "error":
        raise ContentError(_REPLY, "status", f"says that the kernel was refused: {short_repr(fields.get('evalue'))}")


def _object(name: str, content: object) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ContentError(name, "content", f"must be an object, not {short_repr(content)}")
    return content


def _port(fields: Mapping[str, Any], name: str) -> int:
    expected = f"an integer from 1 to {HIGHEST_PORT}, or its decimal text"
    if name not in fields:
        raise ContentError(_REQUEST, name, f"is missing: it must be {expected}")
    given = fields[name]
    # int() would also take ' 1 ', '1_0' and digits of other scripts, and refuse more than 4300 of them with ValueError.
    is_text = isinstance(given, str) and given.isascii() and given.isdigit() and len(given) <= 5
    port = int(given) if is_text else given
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= HIGHEST_PORT:
        raise ContentError(_REQUEST, name, f"must be {expected}, not {short_repr(given)}")
    return port
