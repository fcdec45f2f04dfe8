"""sys.stdout and sys.stderr of the Python kernel: what is written goes into the one IOPub queue."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kernelbridge.kernel.kernel import Kernel
from kernelbridge.python.descriptors import Descriptors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class KernelStream(io.TextIOBase):
    """A text stream into the kernel's queue.

    Takes its `name` ("stdout", "stderr"), the `original` that it stands in for, and the `descriptors`, where those are
    captured: what is written to one of them shows before what is written here later.
    """

    def __init__(self, kernel: Kernel, name: str, original: Any, descriptors: Descriptors | None = None) -> None:
        super().__init__()
        self.name = f"<{name}>"
        self._stream = name
        self._original = original
        # Looked up once: a print is two writes, and programs print millions of lines.
        self._outputs = kernel.outputs
        self._put: Callable[[str, str, Any], None] = kernel.outputs.write
        self._parent = kernel.parents.current
        self._flush = kernel.flush
        self._descriptors = descriptors or Descriptors(kernel.outputs, kernel.parents)
        self._bytes: _Bytes | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """Where bytes are written, as UTF-8."""
        if self._bytes is None:
            self._bytes = _Bytes(self)
        return self._bytes

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._outputs.lost:
            # A forked child: what it prints goes to the descriptor, which shows it with the cell where it is captured.
            return int(self._original.write(text)) if self._original is not None else len(text)
        if self._descriptors.left:
            self._descriptors.left -= 1
            self._descriptors.settle()
        self._put(self._stream, text, self._parent())
        return len(text)

    def flush(self) -> None:
        """Return when what was written is on the socket."""
        self._descriptors.settle()
        self._flush()
        if self._outputs.lost and self._original is not None:
            self._original.flush()

    def reconfigure(self, **options: Any) -> None:
        """Do nothing: programs set the encoding, which is UTF-8, and when lines are shown, which is at once."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        """Return the descriptor of the stream that this one stands in for. Raises OSError where that has none."""
        if self._original is None:
            raise io.UnsupportedOperation("fileno")
        return int(self._original.fileno())

    def close(self) -> None:
        """Do nothing: a library that closes what it wrote to must not silence the kernel."""


class _Bytes(io.BufferedIOBase):
    """Bytes for a text stream. A character of which a part is missing waits for the rest of it."""

    def __init__(self, text: KernelStream) -> None:
        super().__init__()
        self._text = text
        self._decoder = codecs.getincrementaldecoder(text.encoding)(text.errors)

    def write(self, data: ReadableBuffer) -> int:
        given = bytes(data)
        self._text.write(self._decoder.decode(given))
        return len(given)

    def flush(self) -> None:
        self._text.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._text.fileno()

    def close(self) -> None:
        """Do nothing, as the text stream does."""
