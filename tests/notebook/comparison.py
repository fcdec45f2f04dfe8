"""What is the same output from two kernels.

Everything is compared but what two correct kernels must or may say differently:

* the name that a cell's code is compiled under: a file of ipykernel's process, or ``<ipython-input-...>``;
* the source lines and line numbers in a traceback's frames, and all colours. IPython 9.18 cannot open ipykernel's
  names as files and therefore shows their frames by a simpler way, which has other colours and, for a caught error,
  the line that runs now instead of the line that raised. What is left to compare are the frames, in order, and the
  errors;
* ids, which are random - of widgets' models, altair's charts, bokeh's documents: each becomes its number in the order
  of appearance;
* the addresses of objects: one may be that of an earlier object that has gone, or not.

Groups of exceptions are not in the notebooks that are compared: ipykernel prints them on stderr, and here they are
errors like others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from kernelbridge.frontend.output_area import OutputArea

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CELL_FILE = re.compile(r'(?<=File ")[^"\n]*/ipykernel_\d+/\d+\.py(?=")|\b\d+\.py\b|<ipython-input-[^>]*>')
_SOURCE_LINE = re.compile(r"^(?:-+> *)?\d+\b.*\n?|^ +\d+\b.*\n?", re.MULTILINE)
_LINE_NUMBER = re.compile(r"\bline \d+")
_RANDOM_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")


def comparable(cells: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the outputs and counts of a notebook's code cells in the form in which two runs are compared."""
    code_cells = [
        {
            "source": cell.source,
            "execution_count": cell.execution_count,
            "outputs": [_plain(output) for output in OutputArea(cell.outputs).outputs],
        }
        for cell in cells
        if cell.cell_type == "code"
    ]
    ids: dict[str, str] = {}
    text = _ADDRESS.sub("ADDRESS", json.dumps(code_cells))
    text = _RANDOM_ID.sub(lambda found: ids.setdefault(found[0], f"id {len(ids)}"), text)
    numbered: list[dict[str, Any]] = json.loads(text)
    return numbered


def _plain(output: dict[str, Any]) -> dict[str, Any]:
    if output["output_type"] == "error":
        frames = _SOURCE_LINE.sub("", _COLOUR.sub("", "\n".join(output["traceback"])))
        return {
            **output,
            "evalue": _CELL_FILE.sub("CELL", output["evalue"]),
            "traceback": _LINE_NUMBER.sub("line", _CELL_FILE.sub("CELL", frames)),
        }
    if output["output_type"] == "stream":
        return {**output, "text": _CELL_FILE.sub("CELL", output["text"])}
    return output


def differences(one: Iterable[Any], other: Iterable[Any]) -> list[str]:
    """Return what differs between the cells of two runs, each cell's first difference, cut to a readable length."""
    found = []
    for number, (mine, theirs) in enumerate(zip(comparable(one), comparable(other), strict=True), 1):
        parts = [(mine["execution_count"], theirs["execution_count"])]
        parts += zip_longest(mine["outputs"], theirs["outputs"])
        found += [f"code cell {number}: {a!s:.500} != {b!s:.500}" for a, b in parts if a != b][:1]
    return found
