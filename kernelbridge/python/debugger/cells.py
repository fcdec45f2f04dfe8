"""What the file of a cell is called: a breakpoint is set in a file, and a cell has none.

Frontend and kernel call it by a hash of the cell's code (debugInfo's `hashMethod`, `hashSeed`, `tmpFilePrefix` and
`tmpFileSuffix` in the messaging specification). While a debugger is attached cells are compiled under that name. What
ran before bears IPython's names; the debugger is told which of them is meant when a breakpoint is set there.
"""

from __future__ import annotations

import os
from typing import Any, Final

from kernelbridge.bridges.folders import OwnFolder

HASH_METHOD: Final = "Murmur2"
HASH_SEED: Final = 0xC70F6907
"""The value that JupyterLab has shown since its first debugger; any other would do."""

_MULTIPLIER: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes, seed: int = HASH_SEED) -> int:
    """Return the 32-bit MurmurHash2 of `data`."""
    value = seed ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = (int.from_bytes(data[at : at + 4], "little") * _MULTIPLIER) & _MASK
        word = ((word ^ (word >> 24)) * _MULTIPLIER) & _MASK
        value = ((value * _MULTIPLIER) & _MASK) ^ word
    if len(data) > whole:
        value = ((value ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER) & _MASK
    value = ((value ^ (value >> 13)) * _MULTIPLIER) & _MASK
    return value ^ (value >> 15)


def empty_lines(code: str) -> int:
    """Return how many empty lines stand before the code of a cell. IPython drops them, a breakpoint counts them."""
    lines = code.splitlines()
    return next((number for number, line in enumerate(lines) if line and not line.isspace()), 0)


class Cells:
    """The cells of one kernel by the names of their files. Takes IPython's shell. Owned by the debugger's thread."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._folder = OwnFolder("kernelbridge-debug-")
        self.prefix: Final = f"{self._folder.path}{os.sep}"
        self.suffix: Final = ".py"
        self._dumped: dict[str, str] = {}
        # The name under which a cell was compiled that has its breakpoints there. Read by whoever compiles.
        self._older: dict[str, str] = {}

    def path(self, code: str) -> str:
        """Return what the file of a cell is called."""
        return f"{self.prefix}{murmur2(code.encode('utf-8', 'surrogatepass'))}{self.suffix}"

    def dump(self, code: str) -> str:
        """Write the file of a cell, and return its path."""
        self._folder.make()
        path = self.path(code)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        # As bytes: a line end that is rewritten would be another one.
        with os.fdopen(descriptor, "wb") as file:
            file.write(code.encode("utf-8", "replace"))
        self._dumped[path] = code
        return path

    def remove(self) -> None:
        """Remove all files."""
        self._folder.remove()

    def name_from_now_on(self) -> None:
        """Have cells compiled under the names of their files."""
        self._shell.compile.get_code_name = self._code_name

    def name_no_longer(self) -> None:
        """Have cells compiled under IPython's names again."""
        vars(self._shell.compile).pop("get_code_name", None)

    def lines_before(self, code: str) -> int:
        """Return how many of the empty lines that IPython drops a cell has to keep: none if it had dropped them."""
        return 0 if self.path(code) in self._older else empty_lines(code)

    def _code_name(self, raw: str, transformed: str, number: int) -> str:
        path = self.path(raw)
        return self._older.get(path, path)

    def source_map(self, path: str) -> list[dict[str, Any]] | None:
        """Return where the lines of a dumped cell are which ran before a debugger was attached; None if it did not.

        In the form of pydevd's request setPydevdSourceMap. What runs from now on under `path` gets the same name.
        """
        code = self._dumped.get(path)
        name = None if code is None else self._ran_as(code)
        if code is None or name is None or name == path:
            return None
        self._older[path] = name
        skipped = empty_lines(code)
        return [
            {
                "line": 1 + skipped,
                "endLine": max(1 + skipped, len(code.splitlines())),
                "runtimeLine": 1,
                "runtimeSource": {"path": name},
            }
        ]

    def _ran_as(self, code: str) -> str | None:
        """Return the name under which `code` was compiled when it ran last."""
        written = code.rstrip("\n")
        names: dict[int, str] = {number: name for name, number in dict(self._shell.compile._filename_map).items()}
        inputs = list(self._shell.history_manager.input_hist_raw)
        for number in range(len(inputs) - 1, 0, -1):
            if inputs[number] == written and number in names:
                return names[number]
        return None
