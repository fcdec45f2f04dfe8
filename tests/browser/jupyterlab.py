"""JupyterLab as its user has it: the server in private folders, and a notebook's page with the verbs of a user.

Whatever a verb waits for is in the page: Playwright looks until it is there, or fails at its deadline.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, Literal

import attrs
import psutil  # type: ignore[import-untyped]
from playwright.sync_api import Locator, Page, expect

from kernelbridge.python.install import install
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.packing import pack
from tests.support.kernels import ROOT

_SETTINGS: Final = {
    # Else it asks at its first start whether to read the news.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Else what a busy machine completes after a second is not shown.
    "completer-extension/manager": {"providerTimeout": DEADLINE * 1000},
}


@attrs.frozen
class Server:
    """A JupyterLab server that runs. `log` is what it and its kernels have said so far, line by line."""

    url: str
    token: str
    root: Path
    log: list[str]

    def address(self, notebook: str) -> str:
        """Return where the browser finds a notebook of the root folder, in a workspace that nobody has used."""
        return f"{self.url}/lab/workspaces/{secrets.token_hex(4)}/tree/{notebook}?token={self.token}"


@contextmanager
def lab_server(folder: Path) -> Iterator[Server]:
    """Start a JupyterLab server, in `folder` and for the loopback only. Ends it for sure, and all that it has started.

    Its kernel ``kernelbridge`` is this checkout's.
    """
    prefix, settings = folder / "prefix", folder / "settings"
    install(prefix=str(prefix))
    for name, content in _SETTINGS.items():
        file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pack(content))
    root = folder / "root"
    root.mkdir()
    token = secrets.token_hex(16)
    environment = os.environ | {
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_PATH": str(prefix / "share" / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_TOKEN": token,
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0"]
    command += [f"--ServerApp.root_dir={root}", "--ServerApp.allow_root=True", "--LabApp.extension_manager=readonly"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    log: list[str] = []
    found: SimpleQueue[str] = SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, log, found), name="JupyterLab's log", daemon=True)
    reader.start()
    try:
        try:
            url = found.get(timeout=DEADLINE)
        except Empty:
            raise AssertionError("JupyterLab does not start:\n" + "".join(log)) from None
        yield Server(url, token, root, log)
    finally:
        _end(process)
        # It ends when nobody is left who could write to the log.
        reader.join(DEADLINE)


def _read(process: subprocess.Popen[str], log: list[str], found: SimpleQueue[str]) -> None:
    """Keep what the server says, and tell its address when it does."""
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            log.append(line)
            if address := re.search(r"(http://127\.0\.0\.1:\d+)/lab\?token=", line):
                found.put(address[1])


def _end(server: subprocess.Popen[str]) -> None:
    """Ask the server to end, which ends its kernels, and kill what has not ended."""
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    server.terminate()
    _, alive = psutil.wait_procs(family, DEADLINE)
    for process in alive:
        process.kill()
    server.wait(DEADLINE)
    assert not alive, f"JupyterLab has not ended these: {alive}"


class NotebookPage:
    """A notebook in JupyterLab, in a tab of a browser. A cell is named by its place among all cells, from 0."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def open(self, address: str) -> None:
        """Open a notebook, and wait until its kernel is there."""
        self.page.goto(address)
        self.expect_kernel("Idle")

    # What is there

    def cell(self, place: int) -> Locator:
        return self.panel.locator(f".jp-Cell[data-windowed-list-index='{place}']")

    def prompt(self, place: int) -> Locator:
        """Return what stands before a code cell: ``[ ]:``, ``[*]:`` or its execution count."""
        return self.cell(place).locator(".jp-InputArea-prompt")

    def outputs(self, place: int) -> Locator:
        """Return what is below a cell, from top to bottom; without what is inside of an Output widget there."""
        return self.cell(place).locator(".jp-Cell-outputArea > .jp-OutputArea-child > .jp-OutputArea-output")

    def question(self, place: int) -> Locator:
        """Return the field of the last prompt below a cell: those that were answered stay until the cell is done."""
        return self.cell(place).locator("input.jp-Stdin-input").last

    def slider(self, place: int, number: int = 0) -> Locator:
        """Return the handle of a slider below a cell. It takes the arrow keys."""
        return self.cell(place).get_by_role("slider").nth(number)

    def expect_kernel(self, status: Literal["Idle", "Busy"]) -> None:
        """Wait for what the status bar says: the notebook's own sign shows an idle kernel where none is, yet."""
        expect(self.page.locator("#jp-bottom-panel")).to_contain_text(f"(kernelbridge) | {status}")

    def expect_ran(self, place: int) -> None:
        """Wait until a cell that ran for the first time is done."""
        expect(self.prompt(place)).to_have_text(re.compile(r"^\[\d+\]:$"))

    # What a user does

    def edit(self, place: int) -> None:
        """Put the cursor at the end of a cell's code."""
        self.cell(place).locator(".jp-InputArea-editor .cm-content").click()
        self.page.keyboard.press("Control+End")

    def start(self, place: int) -> None:
        """Send a cell to the kernel."""
        self.edit(place)
        self.page.keyboard.press("Control+Enter")

    def run(self, *places: int) -> None:
        """Run cells that have not run before, one after the other, and wait for the end of each."""
        for place in places:
            self.start(place)
            self.expect_ran(place)

    def answer(self, place: int, text: str) -> None:
        """Answer the prompt below a cell."""
        field = self.question(place)
        field.fill(text)
        field.press("Enter")

    def menu(self, menu: str, item: str) -> None:
        """Choose an item of a main menu by the beginning of its label."""
        self.page.locator("#jp-MainMenu").get_by_role("menuitem", name=menu, exact=True).click()
        self.page.locator(".lm-Menu").get_by_role("menuitem", name=re.compile(f"^{re.escape(item)}")).click()

    def new_console(self) -> Locator:
        """Open a console for the notebook's kernel."""
        self.panel.locator(".jp-Notebook .jp-Cell").first.click(button="right")
        self.page.locator(".lm-Menu").get_by_role("menuitem", name=re.compile("^New Console for Notebook")).click()
        return self.page.locator(".jp-CodeConsole")

    def tool(self, name: str) -> None:
        """Press the button of the notebook's toolbar with this name."""
        self.panel.locator(f".jp-Toolbar-item[data-jp-item-name={name}] jp-button").click()

    def accept(self) -> None:
        """Accept what a dialog asks."""
        self.page.locator(".jp-Dialog .jp-mod-accept").click()

    def debug(self, on: bool) -> None:
        """Switch the debugger on or off by its bug."""
        bug = self.panel.locator(".jp-DebuggerBugButton")
        expect(bug).to_have_attribute("aria-disabled", "false")
        bug.click()
        expect(bug).to_have_attribute("aria-pressed", "true" if on else "false")

    def set_breakpoint(self, place: int, line: int) -> None:
        """Set a breakpoint in a cell, and wait until the kernel has it. Lines are counted from 1."""
        # The first element of the gutter is none of a line: it gives the gutter its width.
        self.cell(place).locator(".cm-breakpoint-gutter .cm-gutterElement").nth(line).click()
        expect(self.page.locator(".jp-DebuggerBreakpoint")).to_have_count(1)

    def save(self) -> None:
        """Save the notebook, and wait until the server has it."""
        with self.page.expect_response(lambda it: "/api/contents/" in it.url and it.request.method == "PUT"):
            self.tool("save")
