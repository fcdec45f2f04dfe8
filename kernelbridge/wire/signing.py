"""Signatures: HMAC over the four JSON frames of a message, and a guard against messages that were sent before.

See "The Wire Protocol" in the messaging specification: the signature is the hexadecimal HMAC of header, parent
header, metadata and content, in this order. Buffers are not signed.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import deque
from collections.abc import Iterable

from kernelbridge.wire.errors import WireError


class Signer:
    """Signs and verifies with one key.

    Takes the `key` (bytes) and the `scheme` (``"hmac-"`` and the name of a hash of `hashlib`) of a connection file. An
    empty key means that nothing is signed and everything verifies. Raises `WireError` for an unknown scheme.
    """

    def __init__(self, key: bytes, scheme: str = "hmac-sha256") -> None:
        name = scheme.removeprefix("hmac-")
        if name == scheme or name not in hashlib.algorithms_available:
            raise WireError(f"unknown signature scheme {scheme!r}: expected hmac- and the name of a hash")
        self.enabled = bool(key)
        """Whether there is a key."""
        # HMAC (RFC 2104) is two hashes, each begun with a form of the key. They are begun once, and each signature goes
        # on from copies, which takes two thirds of the time that a copy of the standard library's HMAC object takes.
        block = hashlib.new(name).block_size
        padded = (key if len(key) <= block else hashlib.new(name, key).digest()).ljust(block, b"\0")
        self._inner = hashlib.new(name, bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.new(name, bytes(byte ^ 0x5C for byte in padded))

    def is_for(self, key: bytes, scheme: str) -> bool:
        """Return whether it signs as one of this key and scheme does."""
        return self.sign((b"",)) == Signer(key, scheme).sign((b"",))

    def sign(self, parts: Iterable[bytes | memoryview]) -> bytes:
        """Return the signature of `parts` one after the other: hexadecimal, or empty without a key."""
        if not self.enabled:
            return b""
        inner = self._inner.copy()
        for part in parts:
            inner.update(part)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest().encode()

    def verify(self, signature: bytes | memoryview, parts: Iterable[bytes | memoryview]) -> bool:
        """Return whether `signature` is that of the joined `parts`. Takes the same time wherever they differ."""
        return not self.enabled or hmac.compare_digest(self.sign(parts), signature)


class ReplayGuard:
    """Remembers the last `limit` signatures, to refuse a message that somebody recorded and sent again.

    Any thread may ask. Like jupyter_client's digest history it forgets the oldest beyond the limit.
    """

    def __init__(self, limit: int = 65536) -> None:
        # Guards the two below.
        self._lock = threading.Lock()
        self._seen: set[bytes] = set()
        self._order: deque[bytes] = deque()
        self._limit = limit

    def is_replay(self, signature: bytes) -> bool:
        """Return whether `signature` was given before, and remember it."""
        with self._lock:
            if signature in self._seen:
                return True
            self._seen.add(signature)
            self._order.append(signature)
            if len(self._order) > self._limit:
                self._seen.discard(self._order.popleft())
            return False
