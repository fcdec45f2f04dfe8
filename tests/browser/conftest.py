"""JupyterLab and a browser, for all tests of the module; without them the tests are skipped, with the reason."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kernelbridge.testing import DEADLINE
from tests.support.kernels import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

    from tests.browser.jupyterlab import NotebookPage, Server

TOUR = ROOT / "examples" / "tour.ipynb"
WIDGETS = ROOT / "tests" / "notebooks" / "widgets_lab.ipynb"


def _chromium() -> str:
    """Return where Chromium is, or skip: it and what drives it are no part of the `test` extra."""
    for module in ("jupyterlab", "playwright", "ipywidgets", "matplotlib"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[test,browser]'")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium on the PATH: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    executable = _chromium()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=DEADLINE * 1000)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=executable) as chromium:
        # High enough to show a whole notebook in one picture.
        context = chromium.new_context(viewport={"width": 1200, "height": 1800})
        context.set_default_timeout(DEADLINE * 1000)
        yield context


@pytest.fixture(scope="module")
def server(browser: BrowserContext) -> Iterator[Server]:
    from tests.browser.jupyterlab import lab_server

    with tempfile.TemporaryDirectory(prefix="kb") as folder, lab_server(Path(folder)) as running:
        yield running


@contextmanager
def opened(browser: BrowserContext, server: Server, path: Path) -> Iterator[NotebookPage]:
    """Open a notebook in a tab of its own: a copy, which is the same one for all tabs."""
    from tests.browser.jupyterlab import NotebookPage

    if not (server.root / path.name).exists():
        shutil.copy(path, server.root)
    with browser.new_page() as page:
        notebook = NotebookPage(page)
        notebook.open(server.address(path.name))
        yield notebook


@contextmanager
def pictured(
    notebook: NotebookPage, server: Server, request: pytest.FixtureRequest, window: str = ""
) -> Iterator[None]:
    """Keep a picture of the page as the test leaves it, and show with a failure what the server has said."""
    chosen = os.environ.get("KERNELBRIDGE_SCREENSHOTS")
    folder = Path(chosen) if chosen else request.getfixturevalue("tmp_path")
    yield
    notebook.page.screenshot(path=folder / f"{request.node.name}{window}.png")
    print("".join(server.log))


@pytest.fixture
def tour(browser: BrowserContext, server: Server, request: pytest.FixtureRequest) -> Iterator[NotebookPage]:
    with opened(browser, server, TOUR) as notebook, pictured(notebook, server, request):
        yield notebook


@pytest.fixture(scope="module")
def widgets_notebook(browser: BrowserContext, server: Server) -> Iterator[NotebookPage]:
    with opened(browser, server, WIDGETS) as notebook:
        yield notebook


@pytest.fixture
def notebook(widgets_notebook: NotebookPage, server: Server, request: pytest.FixtureRequest) -> Iterator[NotebookPage]:
    """The notebook of what a user does. Each test has a section of it to itself, and all have one kernel."""
    with pictured(widgets_notebook, server, request):
        yield widgets_notebook


@pytest.fixture
def second(
    notebook: NotebookPage, browser: BrowserContext, server: Server, request: pytest.FixtureRequest
) -> Iterator[Callable[[], NotebookPage]]:
    """A function that saves `notebook` and opens it in a second tab."""
    with ExitStack() as stack:

        def open_again() -> NotebookPage:
            notebook.save()
            again = stack.enter_context(opened(browser, server, WIDGETS))
            stack.enter_context(pictured(again, server, request, "-second"))
            return again

        yield open_again
