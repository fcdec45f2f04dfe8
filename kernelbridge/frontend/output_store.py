"""Where large outputs go: files named by what is in them (SHA-256), so that what is shown twice is kept once.

A display whose data is larger than the limit is handed to nobody as it came: its payload is written to a file, and in
its place stands a reference, which is JSON and fits into a notebook:

    {"image/png": "iVBOR..."}    becomes    {REFERENCE_MIME: {"image/png": {"sha256": ..., "size": ..., "kind": ...}}}

So a 200 MB image is in no subscriber's queue and in no execution's memory. In an execution's outputs, text past the
limit goes the same way, in pieces: each stands as a display, with the stream's name in its metadata, before the rest of
the stream.

A file lives as long as a reference to it does: `Reference` objects are counted, and with the last of a file, the file
goes. References are passed on and not copied, by this library, in messages, snapshots and outputs; who copies one (by
`copy.deepcopy`, or through JSON) is to keep the original, or to `read` in time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from jupyter_core.paths import jupyter_runtime_dir

from kernelbridge.frontend.owned_folders import disown, own, take_over
from kernelbridge.frontend.subscribers import Batch
from kernelbridge.wire.packing import pack, unpack

logger = logging.getLogger("kernelbridge")

REFERENCE_MIME: Final = "application/vnd.kernelbridge.reference+json"
LIMIT: Final = 2**24

_DISPLAYS: Final = frozenset({"display_data", "execute_result", "update_display_data"})
_FOLDER: Final = "kernelbridge-outputs-"

Kind = Literal["text", "json"]


class Reference(dict[str, Any]):
    """What stands for a payload: its `sha256` and `size` in bytes, and whether it is ``text`` or ``json``."""

    __slots__ = ("__weakref__",)


class OutputStore:
    """A folder of payloads, of one process. Any thread may use it.

    Takes the folder, by default one of its own in Jupyter's runtime folder, made when it is needed and removed at the
    end; and the `limit`, in bytes or characters, past which a payload is stored. The folder is the user's alone (0700),
    and so are the files (0600).
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, limit: int = LIMIT) -> None:
        self.limit = limit
        # Guards what stands below it. Never waited for by a finalizer, which may run on any thread at any line.
        self._writing = threading.Lock()
        self._given = None if folder is None else Path(folder)
        self._folder: Path | None = None
        self._lock: int | None = None
        # A child that is forked has all of this, too, and none of it is the child's.
        self._process = os.getpid()
        self._uses: Counter[str] = Counter()
        self._closed = False
        # Appended to by any thread: the files' names whose reference has gone.
        self._released: deque[str] = deque()

    # Payloads

    def put(self, payload: bytes, kind: Kind) -> Reference:
        """Keep a payload, and return what stands for it. Raises `OSError` where it cannot be written."""
        digest = hashlib.sha256(payload).hexdigest()
        reference = Reference(sha256=digest, size=len(payload), kind=kind)
        with self._writing:
            if self._closed:
                raise OSError("the output store is closed")
            self._drop_released()
            if not self._uses[digest]:
                self._write(digest, payload)
            self._uses[digest] += 1
        weakref.finalize(reference, self._release, digest).atexit = False
        self.collect()
        return reference

    def read(self, reference: Mapping[str, Any]) -> Any:
        """Return the payload that `reference` stands for: text, or JSON. Raises `OSError` where it has gone."""
        digest = str(reference.get("sha256"))
        if self._folder is None or not digest.isalnum():
            raise FileNotFoundError(f"no output is kept under {digest!r}")
        payload = (self._folder / digest).read_bytes()
        return unpack(payload) if reference.get("kind") == "json" else payload.decode("utf-8", "surrogatepass")

    def collect(self) -> None:
        """Remove the files whose last reference has gone. Happens by itself; what is in the way is left for later."""
        while self._released and self._writing.acquire(blocking=False):
            try:
                self._drop_released()
            finally:
                self._writing.release()

    # Messages and outputs

    def take_from(self, batch: Batch) -> None:
        """Put references into the place of what is too large in messages that nobody else has seen yet."""
        for message in batch:
            if message.msg_type in _DISPLAYS:
                data = message.content.get("data")
                if isinstance(data, dict) and REFERENCE_MIME not in data:
                    light, taken = self._lighter(data)
                    message.content["data"] = light
                    batch.size = max(0, batch.size - taken)

    def text_output(self, name: str, text: str) -> dict[str, Any]:
        """Return the output that stands for a piece of a stream. Raises `OSError`."""
        reference = self.put(text.encode("utf-8", "surrogatepass"), "text")
        data = {REFERENCE_MIME: {"text/plain": reference}}
        return {"output_type": "display_data", "data": data, "metadata": {"kernelbridge": {"stream": name}}}

    def restored(self, outputs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return outputs with their payloads, as they would be without a store. Raises `OSError`."""
        whole: list[dict[str, Any]] = []
        for given in outputs:
            output = dict(given)
            data = output.get("data")
            if isinstance(data, dict) and REFERENCE_MIME in data:
                payloads = {mime: self.read(reference) for mime, reference in data[REFERENCE_MIME].items()}
                rest = {mime: value for mime, value in data.items() if mime != REFERENCE_MIME}
                output["data"] = {**rest, **payloads}
                name = output["metadata"].get("kernelbridge", {}).get("stream")
                if name is not None:
                    output = {"output_type": "stream", "name": name, "text": payloads["text/plain"]}
            last = whole[-1] if whole else {}
            if output["output_type"] == last.get("output_type") == "stream" and output["name"] == last["name"]:
                last["text"] += output["text"]
            else:
                whole.append(output)
        return whole

    def _lighter(self, data: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """Return what is handed out in place of a display's data, and how many bytes less that is."""
        light: dict[str, Any] = {}
        references: dict[str, Reference] = {}
        for mime, value in data.items():
            try:
                reference = self._stored(value)
            except OSError as error:
                logger.warning("an output of type %s stays in memory: %s", mime, error)
                reference = None
            if reference is None:
                light[mime] = value
            else:
                references[mime] = reference
        if not references:
            return data, 0
        return {**light, REFERENCE_MIME: references}, sum(reference["size"] for reference in references.values())

    def _stored(self, value: Any) -> Reference | None:
        """Return what stands for a value of a display, or None where it is small enough."""
        if isinstance(value, str):
            return self.put(value.encode("utf-8", "surrogatepass"), "text") if len(value) > self.limit else None
        if not isinstance(value, dict | list):
            return None
        packed = pack(value)
        return self.put(packed, "json") if len(packed) > self.limit else None

    # Files

    def _write(self, digest: str, payload: bytes) -> None:
        folder = self._folder or self._open()
        descriptor, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(payload)
            Path(name).replace(folder / digest)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _open(self) -> Path:
        if self._given is not None:
            self._given.mkdir(0o700, parents=True, exist_ok=True)
            self._folder = self._given
            return self._folder
        runtime = Path(jupyter_runtime_dir())
        runtime.mkdir(0o700, parents=True, exist_ok=True)
        _reap(runtime)
        folder = runtime / f"{_FOLDER}{secrets.token_hex(8)}"
        folder.mkdir(0o700)
        self._lock = own(folder)
        self._folder = folder
        return folder

    def _release(self, digest: str) -> None:
        if os.getpid() == self._process:
            self._released.append(digest)
            self.collect()

    def _drop_released(self) -> None:
        while self._released:
            digest = self._released.popleft()
            self._uses[digest] -= 1
            if not self._uses[digest]:
                del self._uses[digest]
                if self._folder is not None:
                    (self._folder / digest).unlink(missing_ok=True)

    # The end

    def close(self) -> None:
        """Remove all that is kept. Closing again does nothing, nor does a child that was forked."""
        if os.getpid() != self._process:
            return
        with self._writing:
            self._closed = True
            folder, self._folder = self._folder, None
            if folder is None:
                return
            if self._given is None:
                shutil.rmtree(folder, ignore_errors=True)
                disown(self._lock)
            else:
                for digest in self._uses:
                    (folder / digest).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _reap(runtime: Path) -> None:
    """Remove the folders of processes that have ended without removing them (contract F11)."""
    for folder in runtime.glob(f"{_FOLDER}*"):
        if (lock := take_over(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
