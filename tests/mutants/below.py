"""Faults of what both ends stand on: bridges between threads, and the wire."""

from __future__ import annotations

from tests.mutants.fault import Fault

BRIDGES = "kernelbridge/bridges/"
WIRE = "kernelbridge/wire/"
CHANNEL_BRIDGE = "tests/bridges/test_channel_bridge.py"
SOCKET_BRIDGE = "tests/bridges/test_socket_bridge.py"
FRAMES = "tests/wire/test_frames.py"
SIGNING = "tests/wire/test_signing.py"

FAULTS = (
    Fault(
        "a ring is dropped: the reader looks, then sleeps",
        BRIDGES + "channel_bridge.py",
        "        with self._ringing:\n"
        "            self._asleep = True\n"
        "        if not self._items:\n"
        "            return True\n"
        "        self._asleep = False\n"
        "        return False",
        "        if self._items:\n"
        "            return False\n"
        "        with self._ringing:\n"
        "            self._asleep = True\n"
        "        return True",
        "no lost ring",
        ("tests/bridges/test_lost_rings.py",),
    ),
    Fault(
        "a ring is dropped: the putter looks, then puts",
        BRIDGES + "channel_bridge.py",
        "        self._items.append(item)\n"
        "        # And again: an item that is put while the reader closes is found by close(), or "
        "refused here, or both.\n"
        "        if self._closed:\n"
        "            return False\n"
        "        if ring:\n"
        "            self.ring()\n"
        "        return True",
        "        if ring:\n            self.ring()\n        self._items.append(item)\n        return not self._closed",
        "no lost ring",
        ("tests/bridges/test_lost_rings.py",),
    ),
    Fault(
        "who waits for room wakes nobody",
        BRIDGES + "channel_bridge.py",
        "        # The reader may not have been rung for what is there already.\n        self.ring()\n",
        "",
        "no lost ring",
        (CHANNEL_BRIDGE,),
    ),
    Fault(
        "room that is made is not told of",
        BRIDGES + "channel_bridge.py",
        "                self._room.notify_all()\n",
        "                self._waiting = 0\n",
        "no lost ring",
        (CHANNEL_BRIDGE,),
    ),
    Fault(
        "a full queue takes one more",
        BRIDGES + "channel_bridge.py",
        "        if len(self._items) >= self._maxsize:\n",
        "        if len(self._items) > self._maxsize:\n",
        "K8",
        (CHANNEL_BRIDGE,),
    ),
    Fault(
        "a coroutine sleeps over what is there",
        BRIDGES + "loop_bridge.py",
        "            self._asleep = True\n"
        "            if self._items:\n"
        "                self._asleep = False\n"
        "                break\n"
        "            await self._alarm",
        "            self._asleep = True\n            await self._alarm",
        "no lost ring",
        ("tests/bridges/test_lost_rings.py",),
    ),
    Fault(
        "a drain reads one row only",
        BRIDGES + "socket_bridge.py",
        "        for _ in range(_ROWS_IN_A_DRAIN):\n",
        "        for _ in range(1):\n",
        "F6, F9",
        (SOCKET_BRIDGE,),
    ),
    Fault(
        "a flood is read to its end",
        BRIDGES + "socket_bridge.py",
        "                self._read(socket)\n        self._taken",
        "                self.drain(socket)\n        self._taken",
        "K8",
        (SOCKET_BRIDGE,),
    ),
    Fault(
        "what stands behind the stop is forgotten",
        BRIDGES + "socket_bridge.py",
        "            self._discard([*self._taken, *self._inbox.close()])",
        "            self._discard(self._inbox.close())",
        "stop is sure",
        (SOCKET_BRIDGE,),
    ),
    Fault(
        "a time that has come is taken for none",
        BRIDGES + "socket_bridge.py",
        "        return None if seconds is None else math.ceil(seconds * 1000)",
        "        return math.ceil(seconds * 1000) if seconds else None",
        "K3",
        ("tests/bridges/test_deadlines.py",),
    ),
    Fault(
        "a large message loses its last frame",
        BRIDGES + "socket_bridge.py",
        "        frames.append(frame.bytes if len(frame) < ZERO_COPY_BYTES else frame.buffer)\n"
        "        more = frame.more",
        "        frames.append(frame.bytes if len(frame) < ZERO_COPY_BYTES else frame.buffer)\n"
        "        more = frame.more and len(frame) < ZERO_COPY_BYTES",
        "K8",
        (SOCKET_BRIDGE,),
    ),
    Fault(
        "stop does not wait for the thread",
        BRIDGES + "service.py",
        "        self.wake()\n        self._thread.join(timeout)\n",
        "        self.wake()\n",
        "F11",
        ("tests/bridges/test_service.py",),
    ),
    Fault(
        "a crash is only logged",
        BRIDGES + "service.py",
        "        if self._on_crash is not None:\n            self._on_crash(self, failure)\n",
        "",
        "a crash is heard",
        ("tests/bridges/test_service.py",),
    ),
    Fault(
        "no signature is a good one",
        WIRE + "signing.py",
        "        return not self.enabled or hmac.compare_digest(self.sign(parts), signature)",
        "        return not self.enabled or not signature or hmac.compare_digest(self.sign(parts), signature)",
        "F10",
        (SIGNING,),
    ),
    Fault(
        "metadata is not signed",
        WIRE + "frames.py",
        "signer.verify(signature, signed[1:])",
        "signer.verify(signature, [*signed[1:3], signed[4]])",
        "F10",
        (FRAMES,),
    ),
    Fault(
        "the guard forgets the newest",
        WIRE + "signing.py",
        "                self._seen.discard(self._order.popleft())",
        "                self._seen.discard(self._order.pop())",
        "F10",
        (SIGNING,),
    ),
    Fault(
        "the guard is asked before the signature",
        WIRE + "frames.py",
        "    if not signer.verify(signature, signed[1:]):\n"
        '        raise WireError("wrong signature")\n'
        "    if guard is not None and signer.enabled and guard.is_replay(bytes(signature)):\n"
        '        raise WireError("replayed message")\n',
        "    if guard is not None and signer.enabled and guard.is_replay(bytes(signature)):\n"
        '        raise WireError("replayed message")\n'
        "    if not signer.verify(signature, signed[1:]):\n"
        '        raise WireError("wrong signature")\n',
        "F10",
        (FRAMES,),
    ),
    Fault(
        "identities behind the first are lost",
        WIRE + "frames.py",
        "        list(map(bytes, frames[:start])),",
        "        list(map(bytes, frames[: min(start, 1)])),",
        "the specification",
        (FRAMES,),
    ),
    Fault(
        "the first buffer is lost",
        WIRE + "frames.py",
        "        list(frames[start + 6 :]),",
        "        list(frames[start + 7 :]),",
        "K8",
        (FRAMES,),
    ),
    Fault(
        "a message without a buffer has one",
        WIRE + "frames.py",
        "    if len(frames) < start + 6:\n",
        "    if len(frames) < start + 5:\n",
        "F10",
        (FRAMES,),
    ),
    Fault(
        "the limit does not count buffers",
        WIRE + "frames.py",
        "        limits.check(frames)\n    signature",
        "        limits.check(frames[: start + 6])\n    signature",
        "bad input",
        (FRAMES,),
    ),
    Fault(
        "a header does not go back letter for letter",
        WIRE + "messages.py",
        '        return cls(*texts, fields.get("subshell_id"), extra or _NOTHING, json)',
        '        return cls(*texts, fields.get("subshell_id"), extra or _NOTHING)',
        "the specification",
        (FRAMES,),
    ),
    Fault(
        "each stray is logged",
        WIRE + "strays.py",
        "            first = self._counts[name] == 1\n",
        "            first = self._counts[name] >= 1\n",
        "F10",
        ("tests/wire/test_strays.py",),
    ),
    Fault(
        "another kernel's ports are taken",
        WIRE + "handshake.py",
        '    if fields["kernel_id"] != kernel_id:\n',
        '    if not fields["kernel_id"]:\n',
        "JEP 66",
        ("tests/wire/test_handshake.py",),
    ),
)
