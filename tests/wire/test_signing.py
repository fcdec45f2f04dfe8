"""Signatures, and the guard against messages that were sent before."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernelbridge.wire.errors import WireError
from kernelbridge.wire.signing import ReplayGuard, Signer

KEY = b"a key"
PARTS = st.lists(st.binary(), min_size=4, max_size=4)


@given(key=st.binary(min_size=1), parts=PARTS)
@example(key=b"longer than a block" * 10, parts=[b"1", b"2", b"3", b"4"])
def test_a_signature_is_the_hexadecimal_hmac_of_the_joined_parts(key: bytes, parts: list[bytes]) -> None:
    signature = Signer(key).sign(parts)
    assert signature == hmac.new(key, b"".join(parts), "sha256").hexdigest().encode()
    assert Signer(key).verify(signature, parts)


@given(parts=PARTS, which=st.integers(0, 3), more=st.binary(min_size=1))
def test_a_changed_part_does_not_verify(parts: list[bytes], which: int, more: bytes) -> None:
    signature = Signer(KEY).sign(parts)
    parts[which] += more
    assert not Signer(KEY).verify(signature, parts)


@pytest.mark.parametrize("signature", [b"", b"0" * 64, b"\xff" * 64, b"x"])
def test_what_is_no_signature_does_not_verify(signature: bytes) -> None:
    assert not Signer(KEY).verify(signature, [b"1"])


def test_another_key_does_not_verify() -> None:
    assert not Signer(b"another").verify(Signer(KEY).sign([b"1"]), [b"1"])


@pytest.mark.parametrize("scheme", ["hmac-sha256", "hmac-sha512", "hmac-md5", "hmac-sha3_256"])
def test_the_scheme_names_the_hash(scheme: str) -> None:
    name = scheme.removeprefix("hmac-")
    assert Signer(KEY, scheme).sign([b"1"]) == hmac.new(KEY, b"1", getattr(hashlib, name)).hexdigest().encode()


@pytest.mark.parametrize("scheme", ["", "sha256", "hmac-", "hmac-nonesuch"])
def test_an_unknown_scheme_is_refused_in_one_line(scheme: str) -> None:
    with pytest.raises(WireError, match="unknown signature scheme") as caught:
        Signer(KEY, scheme)
    assert "\n" not in str(caught.value)


def test_an_empty_key_signs_nothing_and_accepts_everything() -> None:
    signer = Signer(b"")
    assert not signer.enabled
    assert signer.sign([b"1"]) == b""
    assert signer.verify(b"anything", [b"1"])


@given(signatures=st.lists(st.binary(max_size=2)), limit=st.integers(1, 20))
def test_a_replay_is_known_as_long_as_the_guard_remembers(signatures: list[bytes], limit: int) -> None:
    """The guard remembers the newest `limit` signatures, and forgets the oldest first."""
    guard = ReplayGuard(limit)
    remembered: list[bytes] = []
    for signature in signatures:
        assert guard.is_replay(signature) == (signature in remembered)
        if signature not in remembered:
            remembered = [*remembered, signature][-limit:]
