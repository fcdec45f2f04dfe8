"""IPython's input transformer, which looks for magics and the like only in cells that may hold some.

IPython splits each cell into tokens, by Python code, to find ``%magic``, ``!command`` and ``help?`` where they are no
part of a string. That takes 60 us for a short line, and 30 ms for a thousand. Each of them shows by a character that a
cell without indented lines seldom has where it would count.
"""

from __future__ import annotations

import re
from typing import Any, Final

from IPython.core.inputtransformer2 import EscapedCommand, HelpEnd, MagicAssign, SystemAssign, TransformerManager

_KNOWN: Final = [MagicAssign, SystemAssign, EscapedCommand, HelpEnd]
"""What finds nothing in lines without the characters of `_MARK`."""

_MARK: Final = re.compile(r"\?|!(?!=)|=\s*%|^[%,;/ \t\f]")
"""Each alternative may be found in plain Python, too, but nothing that is looked for is without one of them: help, a
system command, a magic that is assigned, an escape at the beginning of a line. And an indent, because here is where
IPython finds that the indents of a cell do not fit together."""


class CellTransformer(TransformerManager):
    """Splits no cell into tokens in which there is nothing to find."""

    def do_token_transforms(self, lines: list[str]) -> list[str]:
        # A user may have added one of his own, of which nothing is known.
        if self.token_transformers == _KNOWN and not any(map(_MARK.search, lines)):
            return lines
        transformed: Any = super().do_token_transforms(lines)
        return list(transformed)
