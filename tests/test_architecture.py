"""Imports run in the direction of the architecture, and a room loads only what it needs.

wire <- bridges <- kernel, frontend <- python, notebook, console, jupyter, testing, web <- cli
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kernelbridge"

# What each room may import of kernelbridge, beside itself. A room that is not named here is a mistake.
ENDS = {"wire", "bridges", "version"}
BOTH = ENDS | {"kernel", "frontend"}
ALLOWED = {
    "version": set[str](),
    "wire": {"version"},
    "bridges": {"wire", "version"},
    "kernel": ENDS,
    "frontend": ENDS,
    "python": BOTH,
    "notebook": BOTH,
    "console": ENDS | {"frontend"},
    "jupyter": BOTH,
    "testing": BOTH,
    "web": BOTH,
    "cli": BOTH | {"python", "notebook", "console", "jupyter", "testing", "web"},
    "__main__": {"cli"},
    # The public names, and nothing else.
    "__init__": BOTH | {"notebook", "python", "testing"},
}


def modules() -> Iterator[Path]:
    return PACKAGE.rglob("*.py")


def room(module: Path) -> str:
    """Return the room that a module stands in: its folder, or its own name at the top."""
    inside = module.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imported_rooms(module: Path) -> set[str]:
    """Return the rooms that a module imports from, wherever in it, also for type checking only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import hides which room it is from"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found.update(name.split(".")[1] for name in names if name.startswith("kernelbridge."))
    return found


@pytest.mark.parametrize("module", sorted(modules()), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(module: Path) -> None:
    own = room(module)
    assert own in ALLOWED, f"{own} is no room of the architecture"
    assert imported_rooms(module) - {own} <= ALLOWED[own]


def test_the_top_level_is_what_the_architecture_says() -> None:
    """Folders at the top: the package, its tests, its examples."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line}
    assert folders <= {"kernelbridge", "tests", "examples", ".ci"}


LIGHT = {"zmq", "janus", "attr", "attrs", "cattrs", "cattr", "orjson"}
# What these five need themselves.
THEIR_OWN = {"typing_extensions", "exceptiongroup", "cython_runtime"}


@pytest.mark.parametrize("module", ["kernelbridge", "kernelbridge.kernel.kernel"])
def test_the_kernel_end_loads_five_libraries_and_nothing_else(module: str) -> None:
    """A kernel's start is measured: what is not needed is not loaded."""
    code = (
        "import sys; before = set(sys.modules)\n"
        f"import {module}\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    third_party = {name for name in loaded if name != "kernelbridge" and not name.startswith("_")}
    assert third_party <= LIGHT | THEIR_OWN
