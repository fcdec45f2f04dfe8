"""sys.stdout and sys.stderr of the Python kernel: what is written goes into the one IOPub queue."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from kernelbridge.kernel.kernel import Kernel


class KernelStream(io.TextIOBase):
    """A text stream into the kernel's queue. Takes its `name` ("stdout", "stderr") and what it stands in for."""

    def __init__(self, kernel: Kernel, name: str, original: Any) -> None:
        super().__init__()
        self.name = f"<{name}>"
        self._stream = name
        self._original = original
        # Looked up once: a print is two writes, and programs print millions of lines.
        self._outputs = kernel.outputs
        self._put: Callable[[str, str, Any], None] = kernel.outputs.write
        self._parent = kernel.parents.current
        self._flush = kernel.flush

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._outputs.lost:
            # A forked child: what it prints goes where the kernel's own process prints.
            return int(self._original.write(text)) if self._original is not None else len(text)
        self._put(self._stream, text, self._parent())
        return len(text)

    def flush(self) -> None:
        """Return when what was written is on the socket."""
        self._flush()
        if self._outputs.lost and self._original is not None:
            self._original.flush()

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
