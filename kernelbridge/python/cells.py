"""What belongs to one cell while it runs, and not to IPython's one shell: several run at once, in subshells.

IPython keeps these on itself, for whatever cell runs. Here they are attributes of a `Cell`, which a context variable
finds: a task keeps the cell that started it. A plain thread finds the cell that began last. Names, history and the last
results are the shell's own, and shared.

So are pyplot's figures: it keeps one set of them, and one current figure, for the whole process. The first cell that
ends shows them all, and closes them, whichever cell has made them. Cells that plot beside each other show their figures
by themselves: ``figure, axes = pyplot.subplots(); ...; display(figure); pyplot.close(figure)``.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import attrs
from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.compilerop import CachingCompiler
from IPython.core.display_trap import DisplayTrap
from IPython.core.history import HistoryManager
from IPython.core.payload import PayloadManager


@attrs.define(eq=False)
class Cell:
    """One execution."""

    execution_count: int = 1
    """Its number, and from when IPython has counted it, the next."""
    source: str = ""
    """The code, as Python."""
    result: Any = None
    """IPython's ExecutionResult while the code runs."""
    payload: list[dict[str, Any]] = attrs.field(factory=list)
    traceback: list[str] | None = None
    """The formatted traceback of its error, as it was shown."""
    display_error: BaseException | None = None
    """What its value raised when it was formatted: the cell has failed, although its code has not."""
    formatting: bool = False
    """Whether its value is being formatted: what fails then fails in the value's own code."""
    shown: dict[str, Any] | None = None
    """The content of its execute_result, before that is published."""


_current: ContextVar[Cell] = ContextVar("kernelbridge_cell")
_compiler_flags: ContextVar[int] = ContextVar("kernelbridge_compiler_flags", default=0)

# Guards Python's parser. CPython 3.11 counts the depth of the syntax trees that it makes for all threads together, so
# that of two that parse at once one may fail with the SystemError of cpython#106905. IPython parses each cell, and for
# a traceback the whole files of its frames.
_parsing = threading.RLock()


class Cells:
    """The cells of one shell."""

    def __init__(self) -> None:
        # Written by the thread on which a cell begins; a plain reference is read whole.
        self._latest = Cell()
        self.running: set[Cell] = set()
        """Those that have begun and not ended."""

    @property
    def current(self) -> Cell:
        """The cell that runs here and now."""
        return _current.get(self._latest)

    @contextmanager
    def one(self, execution_count: int) -> Iterator[Cell]:
        """Run a cell inside the `with` block."""
        cell = self._latest = Cell(execution_count)
        _current.set(cell)
        self.running.add(cell)
        try:
            yield cell
        finally:
            self.running.remove(cell)


class CellBuiltins(BuiltinTrap):
    """Puts IPython's names among Python's own while any cell runs."""

    # Guards the count of those that do.
    _counting = threading.RLock()

    def __enter__(self) -> BuiltinTrap:
        with self._counting:
            return super().__enter__()

    def __exit__(self, *failure: Any) -> Literal[False]:
        with self._counting:
            super().__exit__(*failure)
            return False


class CellDisplayTrap(DisplayTrap):
    """Puts IPython's display hook in the place of Python's while any cell runs."""

    # Guards the count of those that do.
    _counting = threading.RLock()

    def __enter__(self) -> DisplayTrap:
        with self._counting:
            return super().__enter__()

    def __exit__(self, *failure: Any) -> Literal[False]:
        with self._counting:
            super().__exit__(*failure)
            return False


class CellPayloads(PayloadManager):
    """Keeps each cell's payloads with that cell."""

    @property
    def _payload(self) -> list[dict[str, Any]]:
        payload: list[dict[str, Any]] = self.parent.cells.current.payload
        return payload

    @_payload.setter
    def _payload(self, payload: list[dict[str, Any]]) -> None:
        self.parent.cells.current.payload = payload


class CellHistory(HistoryManager):
    """Stores each cell's code under its own number, also when two begin at the same time."""

    # Guards the former inputs, of which a store moves each by one.
    _storing = threading.RLock()

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        with self._storing:
            stored = len(self.input_hist_parsed)
            super().store_inputs(line_num, source, source_raw)
            if len(self.input_hist_parsed) == stored or stored == line_num:
                return
            for inputs in (self.input_hist_parsed, self.input_hist_raw):
                code = inputs.pop()
                inputs += [""] * (line_num + 1 - len(inputs))
                inputs[line_num] = code


def one_at_a_time(parses: Callable[..., Any]) -> Callable[..., Any]:
    """Return `parses`, which parses code, such that it waits for whatever else of these does."""

    def guarded(*arguments: Any, **options: Any) -> Any:
        with _parsing:
            return parses(*arguments, **options)

    return guarded


class CellCompiler(CachingCompiler):
    """A compiler whose extra flags - that a cell may await - hold for the thread that asked for them alone."""

    def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> ast.AST:
        with _parsing:
            tree: ast.AST = super().ast_parse(source, filename, symbol)
            return tree

    @property
    def flags(self) -> int:
        return self._flags | _compiler_flags.get()

    @flags.setter
    def flags(self, flags: int) -> None:
        # What compiling adds to them - a __future__ import - stays.
        self._flags: int = flags & ~_compiler_flags.get()

    @contextmanager
    def extra_flags(self, flags: int) -> Iterator[None]:
        token = _compiler_flags.set(flags & ~self.flags | _compiler_flags.get())
        try:
            yield
        finally:
            _compiler_flags.reset(token)
