"""The terminal notebook, used by its keys (Textual's pilot) and seen by what it paints."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nbformat
import pytest
from terminal_notebook import Cell, TerminalNotebook
from textual.pilot import Pilot
from textual.widgets import Input

from kernelbridge import Bridge, State, launch
from kernelbridge.notebook import read_notebook
from kernelbridge.testing import DEADLINE
from tests.support.kernels import ROOT

WAITS = "print('begun', flush=True)\nwhile True: pass"


@pytest.fixture(scope="module")
def bridge(runtime: Path) -> Iterator[Bridge]:
    """A kernel that the notebooks share, each in an event loop of its own."""
    with launch() as bridge:
        yield bridge


class Seen(TerminalNotebook):
    """A notebook that is looked at whenever it has been painted."""

    pilot: Pilot[None]

    def __init__(self, bridge: Bridge, path: Path, *codes: str) -> None:
        cells = [nbformat.v4.new_code_cell(code) for code in codes]
        super().__init__(bridge, read_notebook(path) if path.exists() else nbformat.v4.new_notebook(cells=cells), path)
        self.painted = asyncio.Event()

    def post_display_hook(self) -> None:
        self.painted.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                self.painted.clear()
                await self.painted.wait()

    async def run_cell(self, place: int, *states: State) -> Cell:
        """Run a cell, and return it when it is painted in one of these states, if any are given."""
        cell = self.cells[place]
        cell.editor.focus()
        await self.pilot.press("ctrl+r")
        await self.until(lambda: cell.execution is not None)
        if states:
            await self.until(lambda: any(state_of(cell).endswith(str(state)) for state in states))
        return cell

    async def asked(self, prompt: str) -> Input:
        """Return the line in which this is asked, when a user can type there."""
        await self.until(lambda: isinstance(self.focused, Input) and self.focused.placeholder == prompt)
        return self.query_one(Input)


@asynccontextmanager
async def opened(app: Seen) -> AsyncIterator[Pilot[None]]:
    async with app.run_test(size=(100, 60)) as app.pilot:
        yield app.pilot


def state_of(cell: Cell) -> str:
    return str(cell.state.render())


def text_of(cell: Cell) -> str:
    return cell.shown.render().plain


def test_cells_show_what_they_do_in_order_and_are_saved(bridge: Bridge, tmp_path: Path) -> None:
    path = tmp_path / "made.ipynb"
    codes = (
        "import sys\nprint('one')\nprint('two', file=sys.stderr)\nshown = display('three', display_id=True)\n'four'",
        "from IPython.display import clear_output\nprint('gone')\nclear_output()\nshown.update('five')\n1 / 0",
    )

    async def write() -> None:
        app = Seen(bridge, path, *codes)
        async with opened(app) as pilot:
            first = await app.run_cell(0, State.OK)
            assert text_of(first) == "one\ntwo\n'three'\n'four'"
            second = await app.run_cell(1, State.ERROR)
            assert "ZeroDivisionError" in text_of(second)
            assert "gone" not in text_of(second)
            # A later cell has changed what the first one shows.
            await app.until(lambda: text_of(first) == "one\ntwo\n'five'\n'four'")
            await pilot.press("ctrl+n")
            await app.until(lambda: len(app.cells) == 3 and app.focused is app.cells[2].editor)
            await pilot.press(*"6*7", "ctrl+r")
            await app.until(lambda: text_of(app.cells[2]) == "42")
            await pilot.press("ctrl+s")
            await app.until(path.exists)

    asyncio.run(write())
    notebook = read_notebook(path)
    assert [cell.source for cell in notebook.cells] == [*codes, "6*7"]
    kinds = [[output.output_type for output in cell.outputs] for cell in notebook.cells]
    assert kinds == [["stream", "stream", "display_data", "execute_result"], ["error"], ["execute_result"]]
    counts = [cell.execution_count for cell in notebook.cells]
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]

    async def read() -> None:
        app = Seen(bridge, path)
        async with opened(app):
            assert text_of(app.cells[0]) == "one\ntwo\n'five'\n'four'"

    asyncio.run(read())


def test_an_interrupt_ends_what_runs_and_what_waits(bridge: Bridge, tmp_path: Path) -> None:
    async def main() -> None:
        app = Seen(bridge, tmp_path / "none.ipynb", WAITS, "'never'", "'again'")
        async with opened(app) as pilot:
            running = await app.run_cell(0, State.RUNNING)
            waiting = await app.run_cell(1, State.QUEUED)
            await app.until(lambda: text_of(running) == "begun" and app.sub_title == "busy")
            await pilot.press("ctrl+c")
            await app.until(lambda: state_of(running).endswith("interrupted") and state_of(waiting).endswith("aborted"))
            assert "KeyboardInterrupt" in text_of(running)
            assert text_of(waiting) == ""
            again = await app.run_cell(2, State.OK)
            assert text_of(again) == "'again'"
            await app.until(lambda: app.sub_title == "idle")

    asyncio.run(main())


def test_a_cell_asks_in_its_own_place(bridge: Bridge, tmp_path: Path) -> None:
    asks = "import getpass\nname = input('name? ')\nsecret = getpass.getpass('secret? ')\nprint(name, secret)"

    async def main() -> None:
        app = Seen(bridge, tmp_path / "none.ipynb", asks, "input('again? ')")
        async with opened(app) as pilot:
            cell = await app.run_cell(0)
            for prompt, password, answer in (("name? ", False, "Ada"), ("secret? ", True, "xyz")):
                line = await app.asked(prompt)
                assert (line.parent, line.password) == (cell, password)
                await pilot.press(*answer, "enter")
            await app.until(lambda: text_of(cell) == "Ada xyz")
            # Nobody answers: the question goes with its cell.
            await app.run_cell(1)
            await app.asked("again? ")
            await pilot.press("ctrl+c")
            await app.until(lambda: state_of(app.cells[1]).endswith("interrupted") and not app.query(Input))

    asyncio.run(main())


def test_the_kernel_dies_and_is_restarted(tmp_path: Path) -> None:
    async def main(bridge: Bridge) -> None:
        app = Seen(bridge, tmp_path / "none.ipynb", "import os; os._exit(1)", "'never'", "'new'", WAITS)
        async with opened(app) as pilot:
            dying = await app.run_cell(0)
            await app.until(lambda: state_of(dying).endswith("died") and app.sub_title == "dead")
            await app.run_cell(1, State.DIED)
            await pilot.press("ctrl+t")
            await app.until(lambda: app.sub_title == "idle")
            assert text_of(await app.run_cell(2, State.OK)) == "'new'"
            running = await app.run_cell(3, State.RUNNING)
            await pilot.press("ctrl+t")
            await app.until(lambda: state_of(running).endswith("died") and app.sub_title == "idle")

    with launch() as bridge:
        asyncio.run(main(bridge))


def test_a_file_that_is_no_notebook_is_told_in_a_line() -> None:
    command = [sys.executable, "examples/terminal_notebook.py", "pyproject.toml"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ran.returncode == 2
    assert "pyproject.toml: is no notebook" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
