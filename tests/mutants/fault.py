"""A fault: what is written in the place of what, in which file, and what breaks by it."""

from __future__ import annotations

from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]


class DoesNotApplyError(Exception):
    """The code has changed, and the fault's text is not there any more, or more than once."""


@attrs.frozen
class Fault:
    """One fault. `name` says what is wrong; `file` is a path from the tree's root.

    `breaks` is the line of the contract that does not hold any more, or what else is at stake. `tests` are those that
    should catch it, paths from the root or node ids: they are run first.
    """

    name: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]

    def applied(self, source: str) -> str:
        """Return `source` with the fault in it. Raises `DoesNotApplyError`."""
        count = source.count(self.old)
        if count != 1:
            raise DoesNotApplyError(f"its text is in {self.file} {count} times, and should be once")
        return source.replace(self.old, self.new)

    def apply(self, tree: Path) -> None:
        """Put the fault into the file below `tree`. Raises `DoesNotApplyError`."""
        file = tree / self.file
        if not file.is_file():
            raise DoesNotApplyError(f"there is no {self.file}")
        file.write_text(self.applied(file.read_text(encoding="utf-8")), encoding="utf-8")
