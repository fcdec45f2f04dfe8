"""Messages to multipart frames and back ("The Wire Protocol" in the messaging specification).

    identity*  <IDS|MSG>  signature  header  parent_header  metadata  content  buffer*

Everything that arrives goes through `decode`, which answers with a `Message` or raises `WireError`, whatever it was
fed. It verifies before it parses: what an unsigned stranger sends never reaches the JSON reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import attrs

from kernelbridge.wire.errors import WireError
from kernelbridge.wire.messages import Buffer, Header, Message, texts_of
from kernelbridge.wire.packing import pack, unpack
from kernelbridge.wire.signing import ReplayGuard, Signer

DELIMITER = b"<IDS|MSG>"

Frame = bytes | memoryview
"""One frame as it arrived: bytes, or a view of the socket's own memory for a large one."""


@attrs.frozen
class Limits:
    """What an end accepts and sends, in bytes, the frames of one message together."""

    message_bytes: int = 2**30

    def check(self, frames: Iterable[Frame]) -> None:
        """Raise `WireError`, with the size and the limit, when `frames` (bytes or views of bytes) are larger."""
        size = sum(map(len, frames))
        if size > self.message_bytes:
            raise WireError(f"message of {size:,} bytes is over the limit of {self.message_bytes:,} bytes")


NO_LIMITS = Limits(message_bytes=2**63)


def encode(message: Message, signer: Signer, limits: Limits = NO_LIMITS) -> list[Frame]:
    """Return the frames of `message`, signed. Raises `WireError` when it is over the limit."""
    frames = assemble(
        message.identities,
        message.header.to_json(),
        parent_json(message.parent),
        pack(message.metadata),
        pack(message.content),
        message.buffers,
        signer,
    )
    limits.check(frames)
    return frames


def assemble(
    identities: Sequence[bytes],
    header: bytes,
    parent: bytes,
    metadata: bytes,
    content: bytes,
    buffers: Sequence[Buffer],
    signer: Signer,
) -> list[Frame]:
    """Return the frames of a message whose parts are JSON text already. `buffers` are sealed (see `seal`)."""
    signed = (header, parent, metadata, content)
    frames: list[Frame] = [*identities, DELIMITER, signer.sign(signed), *signed]
    if buffers:
        frames.extend(seal(buffers))
    return frames


def sign_again(frames: Sequence[Frame], signer: Signer) -> list[Frame]:
    """Return the frames of a message with the signature that they have from `signer`."""
    start = frames.index(DELIMITER)
    signature = signer.sign(map(bytes, frames[start + 2 : start + 6]))
    return [*frames[: start + 1], signature, *frames[start + 2 :]]


def seal(buffers: Iterable[Buffer]) -> list[Frame]:
    """Return `buffers` such that nobody can change them while they wait to be sent: mutable ones are copied.

    Raises `WireError` for a buffer that does not lie in one piece of memory.
    """
    sealed: list[Frame] = []
    for buffer in buffers:
        if isinstance(buffer, bytes):
            sealed.append(buffer)
            continue
        view = memoryview(buffer)
        if not view.contiguous:
            raise WireError("a buffer must be contiguous")
        flat = view.cast("B")
        sealed.append(flat if isinstance(flat.obj, bytes) else bytes(flat))
    return sealed


def parent_json(parent: Header | None) -> bytes:
    """Return the frame for a parent header: an empty object where there is none."""
    return b"{}" if parent is None else parent.to_json()


@lru_cache(maxsize=128)
def _parent(text: bytes) -> Header | None:
    """Read a parent header. All that one request causes carries the same one, so the last few are remembered."""
    fields = {} if text == b"{}" else unpack(text)
    # xeus kernels write null where there is no parent.
    return None if fields is None or fields == {} else Header.from_dict(fields, text)


def decode(
    frames: Sequence[Frame], signer: Signer, guard: ReplayGuard | None = None, limits: Limits = NO_LIMITS
) -> Message:
    """Return the message that `frames` carry.

    Raises `WireError`, and nothing else, when there is no delimiter, too few frames, too many bytes, a wrong signature,
    a signature that `guard` has seen before, or a part that is not what it should be.
    """
    try:
        start = frames.index(DELIMITER)
    except ValueError:
        raise WireError(f"no delimiter among {len(frames)} frames") from None
    if len(frames) < start + 6:
        raise WireError(f"only {len(frames) - start - 1} frames behind the delimiter, at least 5 make a message")
    if limits is not NO_LIMITS:
        limits.check(frames)
    signature, header_text, parent_text, metadata_text, content_text = signed = frames[start + 1 : start + 6]
    if not signer.verify(signature, signed[1:]):
        raise WireError("wrong signature")
    if guard is not None and signer.enabled and guard.is_replay(bytes(signature)):
        raise WireError("replayed message")
    # What is kept must not be a view of the socket's memory.
    header_json = bytes(header_text)
    msg_type = texts_of(unpack(header_json))[1]
    # xeus kernels write null where there is no metadata.
    metadata = {} if metadata_text in (b"{}", b"null") else unpack(metadata_text)
    content = unpack(content_text)
    if not isinstance(metadata, dict):
        raise WireError(f"metadata of {msg_type} is no JSON object")
    if not isinstance(content, dict):
        raise WireError(f"content of {msg_type} is no JSON object")
    return Message(
        header_json,
        content,
        _parent(bytes(parent_text)),
        metadata,
        list(frames[start + 6 :]),
        list(map(bytes, frames[:start])),
        msg_type,
    )
