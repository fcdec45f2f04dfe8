"""The input transformer does to every text what IPython's own does, also where it does not look closer."""

from __future__ import annotations

import warnings
from tokenize import TokenInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from kernelbridge.python.transformer import CellTransformer

MARKS = ["= ", "=", "!=", "%", "%%time", "%time x", "!", "?", "??", "/", ",", ";", "(", ")", "[", ":", "#", "'", '"""']
SPACES = [" ", "    ", "\t", "\f", "\v", "\x1c", "\u2028", "\r", "\n", "\\\n"]
PIECES = st.sampled_from([*MARKS, *SPACES, "a", "ls -l", "f'{a!r}'", ">>> ", "if a:\n  "])
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def transformed(manager: TransformerManager, text: str) -> str | type[Exception]:
    """Return what becomes of `text`, or what kind of exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(manager.transform_cell(text))
        except Exception as failure:  # noqa: BLE001 - IPython's own fails for some texts, in several ways.
            return type(failure)


@given(TEXTS)
def test_every_text_is_transformed_as_by_ipython(text: str) -> None:
    assert transformed(CellTransformer(), text) == transformed(TransformerManager(), text)


@pytest.mark.parametrize(
    "text",
    [
        "%time 1",
        "  %time 1",
        "a = %pwd",
        "a=%pwd",
        "a = \\\n  %pwd",
        "a = !ls",
        "!ls",
        "if 1:\n    !ls",
        "print?",
        "?print",
        "a??",
        "/f 1",
        ",f a b",
        ";f a b",
        "%%time\n1",
        "\n\n%pwd",
    ],
)
def test_what_ipython_finds_is_found(text: str) -> None:
    found = transformed(CellTransformer(), text)
    assert found == transformed(TransformerManager(), text)
    assert found != text + "\n"


class Shout:
    """A user's own: it finds a cell that begins with a certain name."""

    start_line = start_col = priority = 0

    @classmethod
    def find(cls, tokens_by_line: list[list[TokenInfo]]) -> Shout | None:
        return cls() if tokens_by_line[0][0].string == "shout" else None

    def sortby(self) -> int:
        return 0

    def transform(self, lines: list[str]) -> list[str]:
        return ["'SHOUT'\n", *lines[1:]]


def test_a_transformer_that_a_user_has_added_sees_every_cell() -> None:
    manager = CellTransformer()
    manager.token_transformers.append(Shout)
    assert manager.transform_cell("shout") == "'SHOUT'\n"
