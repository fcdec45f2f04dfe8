"""Faults of what the kernel shows: the put side, the IOPub thread, and what may wait for a subscriber."""

from __future__ import annotations

from tests.mutants.fault import Fault

IOPUB = "kernelbridge/kernel/iopub.py"
OUTPUTS = "kernelbridge/kernel/outputs.py"
CORE = "tests/kernel/test_iopub_core.py"

FAULTS = (
    Fault(
        "a stream is not flushed by what follows",
        IOPUB,
        "        out = self.close()\n        if isinstance(item, StreamText):",
        "        out = self.close() if isinstance(item, StreamText) else []\n        if isinstance(item, StreamText):",
        "K3",
        (CORE,),
    ),
    Fault(
        "a flush is confirmed before the text",
        IOPUB,
        "            out.append(item)\n",
        "            out.insert(0, item)\n",
        "K3",
        ("tests/kernel/test_flushes.py",),
    ),
    Fault(
        "numbers begin with 0",
        IOPUB,
        "        self._number += 1\n        return self._number, publication",
        "        number, self._number = self._number, self._number + 1\n        return number, publication",
        "K9",
        (CORE,),
    ),
    Fault(
        "a timed text has no number of its own",
        IOPUB,
        "            self._text = self.deadline = None\n"
        "        return [self._numbered(_stream(text, shown))] if shown else []\n"
        "\n"
        "    def close",
        "            self._text = self.deadline = None\n"
        "        return [(self._number, _stream(text, shown))] if shown else []\n"
        "\n"
        "    def close",
        "K9",
        (CORE,),
    ),
    Fault(
        "a begun line waits twice as long",
        IOPUB,
        "        self._interval = stream_seconds / 2\n",
        "        self._interval = stream_seconds\n",
        "K3",
        (CORE,),
    ),
    Fault(
        "what is held at the stop is dropped",
        IOPUB,
        "        self._emit(self._core.close())\n        super().close_sockets()",
        "        super().close_sockets()",
        "K8",
        ("tests/kernel/test_flushes.py",),
    ),
    Fault(
        "metadata of a message replaces its number",
        IOPUB,
        '            metadata = b"%b,%b" % (metadata[:-1], publication.metadata[1:])',
        "            metadata = publication.metadata",
        "K9",
        ("tests/kernel/test_order.py",),
    ),
    Fault(
        "only the first subscription is welcomed",
        IOPUB,
        "        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)\n",
        "",
        "JEP 65",
        ("tests/kernel/test_order.py",),
    ),
    Fault(
        "small messages cost nothing while they wait",
        IOPUB,
        "        self._bytes += size + _FRAME_BYTES\n",
        "        self._bytes += size\n",
        "K8",
        ("tests/kernel/test_backlog.py",),
    ),
    Fault(
        "the mark grows past the budget",
        IOPUB,
        "        self.limit = min(2 * self.limit, room)\n",
        "        self.limit = 2 * self.limit\n",
        "K8",
        ("tests/kernel/test_backlog.py",),
    ),
    Fault(
        "what was read long ago takes room",
        IOPUB,
        "            self._bytes -= total\n",
        "",
        "K8",
        ("tests/kernel/test_backlog.py",),
    ),
    Fault(
        "a full subscriber loses without a word",
        IOPUB,
        "        if not self._stalled:\n            self._stalled = True\n",
        "        if self._stalled:\n",
        "K8",
        ("tests/kernel/test_slow_readers.py",),
    ),
    Fault(
        "a full subscriber holds the kernel up",
        IOPUB,
        "        self._socket.setsockopt(zmq.XPUB_NODROP, 0)\n        try:\n            send(self._socket, frames)",
        "        try:\n            send(self._socket, frames)",
        "K8",
        ("tests/kernel/test_slow_readers.py",),
    ),
    Fault(
        "texts of two parents are joined",
        OUTPUTS,
        "        if tail is not None and tail.name == name and tail.parent is parent and tail.add(text):",
        "        if tail is not None and tail.name == name and tail.add(text):",
        "K3, K4",
        (CORE,),
    ),
    Fault(
        "a text is joined across a message",
        OUTPUTS,
        "        self._tail = None\n"
        "        accepted = self._enqueue(item, ring)\n"
        "        if isinstance(item, StreamText):\n"
        "            self._tail = item",
        "        accepted = self._enqueue(item, ring)\n"
        "        if isinstance(item, StreamText):\n"
        "            self._tail = item",
        "K2, K3",
        (CORE,),
    ),
    Fault(
        "comm messages take a short cut",
        OUTPUTS,
        "        self._put(Publication(msg_type, text, parent, metadata_text, sealed, msg_type.encode()), ring)",
        "        item = Publication(msg_type, text, parent, metadata_text, sealed, msg_type.encode())\n"
        '        if msg_type.startswith("comm_"):\n'
        "            self._enqueue(item, True)\n"
        "        else:\n"
        "            self._put(item, ring)",
        "K1, K6",
        (CORE,),
    ),
    Fault(
        "a long text is cut in a pair",
        OUTPUTS,
        "            end = self._room + 1 if _is_begun(text[: self._room]) else self._room\n",
        "            end = self._room\n",
        "K3",
        ("tests/kernel/test_flushes.py",),
    ),
    Fault(
        "the timer cuts a pair",
        OUTPUTS,
        "                if cut > held and cut == len(text) and _is_begun(text):\n                    cut -= 1\n",
        "",
        "K3",
        ("tests/kernel/test_flushes.py",),
    ),
    Fault(
        "a text that closes under its writer's hands is let go",
        OUTPUTS,
        "        return self._open or self._has_taken(text)\n",
        "        return True\n",
        "K2",
        ("tests/kernel/test_outputs.py",),
    ),
    Fault(
        "buffers are sent as they are later",
        OUTPUTS,
        "        sealed = seal(buffers) if buffers else ()\n",
        "        sealed = list(buffers)\n",
        "K2",
        (CORE,),
    ),
    Fault(
        "the end of a hush rings too early",
        OUTPUTS,
        "        self._hushed = False\n        self._ring()\n",
        "        self._ring()\n        self._hushed = False\n",
        "K3",
        ("tests/kernel/test_flushes.py",),
    ),
    Fault(
        "one finalizer's put is kept, the rest wait",
        OUTPUTS,
        "                while self._late:\n",
        "                if self._late:\n",
        "K2",
        ("tests/kernel/test_flushes.py",),
    ),
    Fault(
        "a program may choose its own number",
        OUTPUTS,
        '        metadata_text = pack({k: v for k, v in metadata.items() if k != "kernelbridge"}) '
        'if metadata else b"{}"',
        '        metadata_text = pack(metadata) if metadata else b"{}"',
        "K9",
        ("tests/kernel/test_order.py",),
    ),
)
