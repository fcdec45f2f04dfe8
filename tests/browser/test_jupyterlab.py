"""JupyterLab in headless Chromium with the built-in kernel, used as its users do: issue 4, done when 3.

Each test leaves a picture of the page in its `tmp_path`, or in the folder that the environment variable
KERNELBRIDGE_SCREENSHOTS names. They are skipped where Chromium, Playwright or JupyterLab is absent
(``apt-get install chromium``, ``pip install -e '.[test,browser]'``).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.browser.conftest import TOUR, WIDGETS
from tests.notebook.comparison import differences

if TYPE_CHECKING:
    from tests.browser.jupyterlab import NotebookPage, Server

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[test,browser]'")
from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def code_cells(path: Path, section: str | None = None) -> list[int]:
    """Return the places of the code cells of a notebook, or of those below the heading `section`."""
    found, here = [], section is None
    for place, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "markdown" and section is not None:
            here = cell.source.startswith(f"## {section}")
        elif cell.cell_type == "code" and here:
            found.append(place)
    assert found, f"there is no section {section!r}"
    return found


class TestTour:
    def test_run_all_and_again_in_a_new_kernel(self, tour: NotebookPage, server: Server, tmp_path: Path) -> None:
        """What JupyterLab saves, each time, is what ``kernelbridge run`` writes."""
        written = tmp_path / "tour.out.ipynb"
        subprocess.run([sys.executable, "-m", "kernelbridge", "run", TOUR, "--output", written], check=True)
        ran = nbformat.read(written, as_version=4)
        places = code_cells(TOUR)
        tour.menu("Run", "Run All Cells")
        for again in (False, True):
            if again:
                # A number that only this kernel has for it.
                tour.start(places[0])
                expect(tour.prompt(places[0])).to_have_text(f"[{len(places) + 1}]:")
                tour.menu("Kernel", "Restart Kernel and Run All Cells")
                tour.accept()
            for count, place in enumerate(places, 1):
                expect(tour.prompt(place)).to_have_text(f"[{count}]:")
            tour.save()
            saved = nbformat.read(server.root / TOUR.name, as_version=4)
            assert differences(saved.cells, ran.cells) == []


class TestWidgets:
    def test_slider(self, notebook: NotebookPage) -> None:
        """What is moved in the browser has arrived in the kernel when the next cell runs."""
        show, ask = code_cells(WIDGETS, "A slider")
        notebook.run(show)
        for _ in range(4):
            notebook.slider(show).press("ArrowRight")
        notebook.run(ask)
        expect(notebook.outputs(ask)).to_have_text(["the kernel has 7"])

    def test_interact(self, notebook: NotebookPage) -> None:
        """The function's prints and displays are in the program's order, at each move."""
        (show,) = code_cells(WIDGETS, "interact")
        notebook.run(show)
        inside = notebook.cell(show).locator(".widget-output .jp-OutputArea-output")
        expect(inside).to_have_text(["number 2", "its square 4", "that was it"])
        notebook.slider(show).press("ArrowRight")
        expect(inside).to_have_text(["number 3", "its square 9", "that was it"])

    def test_output_widget(self, notebook: NotebookPage) -> None:
        """What it captures is in it in order, from the cell and from a button; the rest is below the cell, in order."""
        (show,) = code_cells(WIDGETS, "Output")
        notebook.run(show)
        outputs = notebook.outputs(show)
        expect(outputs).to_have_count(3)
        expect(outputs.last).to_have_text("below below again")
        inside = notebook.cell(show).locator(".jp-OutputArea .jp-OutputArea .jp-OutputArea-output")
        captured = ["one", "two", "three", "four"]
        expect(inside).to_have_text(captured)
        notebook.cell(show).get_by_role("button", name="press").click()
        expect(inside).to_have_text([*captured, "pressed", "a display", "and printed again"])

    def test_progress(self, notebook: NotebookPage) -> None:
        (show,) = code_cells(WIDGETS, "Progress")
        notebook.run(show)
        expect(notebook.outputs(show)).to_have_text(["", "50 of 50", "done"])
        bar = notebook.cell(show).locator(".progress-bar")
        expect(bar).to_have_attribute("style", re.compile(r"(^| )width: 100%;"))

    def test_jslink(self, notebook: NotebookPage) -> None:
        """One slider moves the other in the browser, and the kernel has both."""
        show, ask = code_cells(WIDGETS, "Linked in the browser")
        notebook.run(show)
        readouts = notebook.cell(show).locator(".widget-readout")
        notebook.slider(show, 0).press("ArrowRight")
        expect(readouts).to_have_text(["2", "2"])
        notebook.slider(show, 1).press("ArrowRight")
        expect(readouts).to_have_text(["3", "3"])
        notebook.run(ask)
        expect(notebook.outputs(ask)).to_have_text(["the kernel has 3 3"])


class TestOutputs:
    def test_figure(self, notebook: NotebookPage) -> None:
        (show,) = code_cells(WIDGETS, "A figure")
        notebook.run(show)
        expect(notebook.outputs(show)).to_have_text(["before the figure", "", "after the figure"])
        picture = notebook.outputs(show).nth(1).locator("img")
        assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 100

    def test_prints_displays_and_widgets_alternate(self, notebook: NotebookPage) -> None:
        """K2, K6: the output area is in the order of the program."""
        (show,) = code_cells(WIDGETS, "Order")
        notebook.run(show)
        expected = [
            text
            for number in range(5)
            for text in (
                f"printed {number}",
                f"a widget {number}",
                f"printed again {number}",
                f"a display {number}",
            )
        ]
        # The print that follows a display is its own output.
        expect(notebook.outputs(show)).to_have_text([*expected, "'the result'"])

    def test_error(self, notebook: NotebookPage) -> None:
        """The traceback follows the print."""
        (fail,) = code_cells(WIDGETS, "An error")
        notebook.run(fail)
        outputs = notebook.outputs(fail)
        expect(outputs).to_have_count(2)
        expect(outputs.first).to_have_text("before the error")
        for text in ("ZeroDivisionError", "in inner()", "----> 2     return 1 / 0", "division by zero"):
            expect(outputs.last).to_contain_text(text)


class TestControl:
    def test_input(self, notebook: NotebookPage) -> None:
        """K7, F9: the prompt comes after the print before it, and the cell goes on with what was answered."""
        (ask,) = code_cells(WIDGETS, "A question")
        notebook.start(ask)
        notebook.answer(ask, "Ada")
        expect(notebook.outputs(ask)).to_contain_text(["before the prompt", "Your name? Ada", "Hello, Ada"])
        expect(notebook.question(ask)).to_have_attribute("type", "password")
        notebook.answer(ask, "secret")
        notebook.expect_ran(ask)
        expect(notebook.outputs(ask).last).to_have_text("it has 6 characters")
        expect(notebook.cell(ask)).not_to_contain_text("secret")

    def test_interrupt(self, notebook: NotebookPage) -> None:
        """F7: the button ends the cell that runs and aborts the one that waits; the next one runs."""
        count, waits, after = code_cells(WIDGETS, "Interrupt")
        notebook.start(count)
        expect(notebook.outputs(count)).to_have_text(["it counts"])
        notebook.start(waits)
        expect(notebook.prompt(waits)).to_have_text("[*]:")
        notebook.tool("interrupt")
        notebook.expect_ran(count)
        expect(notebook.outputs(count).last).to_contain_text("KeyboardInterrupt")
        expect(notebook.prompt(waits)).to_have_text("[ ]:")
        expect(notebook.outputs(waits)).to_have_count(0)
        notebook.run(after)
        expect(notebook.outputs(after)).to_have_text(["the kernel lives, and has counted: True"])

    def test_restart(self, notebook: NotebookPage) -> None:
        """The kernel that follows knows nothing of the one before."""
        keep, ask = code_cells(WIDGETS, "Restart")
        notebook.run(keep)
        notebook.menu("Kernel", "Restart Kernel…")
        notebook.accept()
        notebook.expect_kernel("Idle")
        notebook.run(ask)
        expect(notebook.prompt(ask)).to_have_text("[1]:")
        expect(notebook.outputs(ask)).to_contain_text(["NameError: name 'kept' is not defined"])


class TestHelp:
    def test_completion(self, notebook: NotebookPage) -> None:
        """Tab shows what there is, and Enter takes the first of it."""
        define, name, _ = code_cells(WIDGETS, "Help")
        notebook.run(define)
        notebook.edit(name)
        notebook.page.keyboard.press("Tab")
        names = notebook.page.locator(".jp-Completer-match")
        expect(names).to_have_text(["bridge_length", "bridge_width"])
        notebook.page.keyboard.press("Enter")
        expect(notebook.cell(name).locator(".cm-line")).to_have_text(["bridge_length"])

    def test_inspection(self, notebook: NotebookPage) -> None:
        """Shift+Tab shows the signature and the docstring of the function whose arguments are being written."""
        define, _, call = code_cells(WIDGETS, "Help")
        notebook.run(define)
        notebook.edit(call)
        notebook.page.keyboard.press("Shift+Tab")
        tooltip = notebook.page.locator(".jp-Tooltip")
        expect(tooltip).to_contain_text("bridge_length(arches, span=3.0)")
        expect(tooltip).to_contain_text("Return how long a bridge is.")
        notebook.page.keyboard.press("Escape")


class TestDebugger:
    def test_a_breakpoint_in_a_function_of_another_cell(self, notebook: NotebookPage) -> None:
        """The cell stops there, has shown what it printed, shows the function's variables, makes a step and goes on."""
        pytest.importorskip("debugpy", reason="debugpy is not installed: pip install -e '.[debug]'")
        define, call = code_cells(WIDGETS, "Breakpoints")
        notebook.run(define)
        notebook.debug(on=True)
        notebook.set_breakpoint(define, 2)
        notebook.start(call)
        panel = notebook.page.locator(".jp-DebuggerSidebar")
        expect(panel.locator(".jp-DebuggerCallstack-body")).to_contain_text("feet")
        expect(notebook.outputs(call)).to_have_text(["arches: 3"])
        names = panel.locator(".jp-DebuggerVariables-name")
        expect(names).to_have_text(["arches"])
        expect(panel.locator(".jp-DebuggerVariables-detail")).to_have_text(["3"])
        panel.locator("[data-jp-item-name=step-over] jp-button").click()
        expect(names).to_have_text(["arches", "between"])
        panel.locator("[data-jp-item-name=continue] jp-button").click()
        notebook.expect_ran(call)
        expect(notebook.outputs(call)).to_have_text(["arches: 3\nfeet: 4"])
        notebook.debug(on=False)


class TestSecondWindow:
    def test_widgets_are_the_same_in_both(self, notebook: NotebookPage, second: Callable[[], NotebookPage]) -> None:
        """The second window has the widget as it is in the kernel, and each follows the other and the kernel."""
        show, ask, _ = code_cells(WIDGETS, "A second window")
        notebook.run(show)
        notebook.slider(show).press("ArrowRight")
        other = second()
        readouts = [window.cell(show).locator(".widget-readout") for window in (notebook, other)]
        expect(readouts[1]).to_have_text("4")
        other.slider(show).press("ArrowRight")
        expect(readouts[0]).to_have_text("5")
        other.run(ask)
        expect(other.outputs(ask)).to_have_text(["the kernel has 5"])
        for readout in readouts:
            expect(readout).to_have_text("9")

    def test_console(self, notebook: NotebookPage, second: Callable[[], NotebookPage]) -> None:
        """A console of the same kernel: each has what the other has defined."""
        _, _, ask = code_cells(WIDGETS, "A second window")
        console = second().new_console()
        console.locator(".jp-CodeConsole-promptCell .cm-content").click()
        console.page.keyboard.type("said = 'hello'; print('said', said)")
        console.page.keyboard.press("Shift+Enter")
        expect(console.locator(".jp-OutputArea-output")).to_have_text(["said hello"])
        notebook.run(ask)
        expect(notebook.outputs(ask)).to_have_text(["the console has said hello"])
