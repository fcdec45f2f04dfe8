"""The debugger in JupyterLab, used as its users do. Skipped as the other tests of the browser are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.browser.conftest import opened, pictured

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

    from tests.browser.jupyterlab import NotebookPage, Server

pytest.importorskip("debugpy", reason="debugpy (extra debug) is not installed")
pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[test,browser]'")
from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.browser]

CODE = "def double(n):\n    twice = n * 2\n    return twice\nprint('before')\ndouble(21)"


@pytest.fixture
def notebook(
    browser: BrowserContext, server: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[NotebookPage]:
    new = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    new.metadata.kernelspec = {"name": "kernelbridge", "display_name": "Python 3 (kernelbridge)", "language": "python"}
    path = tmp_path / "debugged.ipynb"
    nbformat.write(new, path)
    with opened(browser, server, path) as page, pictured(page, server, request):
        yield page


def test_a_breakpoint_is_set_hit_and_left(notebook: NotebookPage) -> None:
    page = notebook.page
    notebook.panel.locator(".jp-DebuggerBugButton").click()
    # The gutter of the breakpoints is there when the debugger is; its first element is a spacer.
    gutter = notebook.cell(0).locator(".cm-breakpoint-gutter .cm-gutterElement")
    gutter.nth(3).click()
    expect(page.locator(".jp-DebuggerBreakpoint-line")).to_have_text("3")
    notebook.start(0)
    expect(page.locator(".jp-DebuggerCallstack-body")).to_contain_text("double")
    expect(notebook.outputs(0).first).to_have_text("before\n")
    expect(page.locator(".jp-DebuggerVariables")).to_contain_text("twice")
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(notebook.outputs(0).last).to_have_text("42")
    notebook.expect_ran(0)
