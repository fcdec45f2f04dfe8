"""A notebook in the terminal: cells, what they show, and a kernel that may be interrupted, restarted, or die.

    python examples/terminal_notebook.py NOTEBOOK [--kernel NAME]        (needs textual)

One task reads all that the kernel publishes, and has drawn anew what it concerns. What a cell shows is always
`Execution.outputs`: in the program's order, cleared, and with displays as they were last updated, by whichever cell.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import nbformat
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Footer, Header, Input, Label, Static, TextArea

from kernelbridge import Bridge, BridgeError, Execution, Resync, launch
from kernelbridge.notebook import NotebookFileError, choose_kernel, read_notebook, write_notebook

KEYS = {"r": "run", "n": "new", "c": "interrupt", "t": "restart", "s": "save"}
LONGEST = 20_000  # characters of an output that are drawn


def drawn(output: dict[str, Any]) -> Text:
    if "data" in output:
        text = output["data"].get("text/plain", f"<{', '.join(output['data'])}>")
    else:
        text = output["text"].removesuffix("\n") if "text" in output else "\n".join(output["traceback"])
    return Text.from_ansi(text[-LONGEST:], style="red" if output.get("name") == "stderr" else "")


class Shown(Static):
    """What a cell has shown. Made when it is painted: a cell that prints fast is not drawn for each of its lines."""

    def render(self) -> Text:
        cell = self.parent
        assert isinstance(cell, Cell)
        outputs = cell.execution.outputs if cell.execution else cell.node.get("outputs", ())
        return Text("\n").join(map(drawn, outputs))


class Cell(Vertical):
    def __init__(self, node: Any) -> None:
        self.node = node
        self.execution: Execution | None = None
        self.state, self.editor, self.shown = Label(markup=False), TextArea(node.source), Shown()
        self.answers: asyncio.Queue[str] = asyncio.Queue()
        super().__init__(self.state, self.editor, self.shown)
        self.draw()

    def draw(self) -> None:
        ran = self.execution
        self.state.update(f"[{ran.execution_count or ' '}] {ran.state}" if ran else self.node.cell_type)
        self.shown.refresh(layout=True)

    async def ask(self, prompt: str, password: bool) -> str:
        """Answer the code's `input`. Cancelled when the execution ends without an answer."""
        line, self.answers = Input(placeholder=prompt, password=password), asyncio.Queue()
        await self.mount(line)
        line.focus()
        try:
            return await self.answers.get()
        finally:
            await line.remove()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.answers.put_nowait(event.value)


class TerminalNotebook(App[None]):
    CSS = "Cell, TextArea, Shown { height: auto; }"
    BINDINGS = [Binding(f"ctrl+{key}", action, action, priority=True) for key, action in KEYS.items()]  # noqa: RUF012

    def __init__(self, bridge: Bridge, notebook: Any, path: Path) -> None:
        super().__init__()
        self.bridge, self.notebook, self.path, self.title = bridge, notebook, path, path.name
        self.cells = [Cell(node) for node in notebook.cells]

    def compose(self) -> ComposeResult:
        yield from (Header(), VerticalScroll(*self.cells), Footer())

    def on_mount(self) -> None:
        self.sub_title = self.bridge.status
        self.watch_kernel()

    @work
    async def watch_kernel(self) -> None:
        async for message in self.bridge.subscribe():
            self.sub_title = self.bridge.status
            for cell in self.cells:
                its_own = cell.execution is not None and cell.execution.msg_id == message.parent_id
                if its_own or message.msg_type == "update_display_data" or isinstance(message, Resync):
                    cell.draw()

    @work
    async def action_run(self) -> None:
        cell = next((cell for cell in self.cells if cell.editor is self.focused), None)
        if cell is not None and cell.node.cell_type == "code":
            cell.execution = self.bridge.execute(cell.editor.text, on_input=cell.ask)
            cell.draw()
            await cell.execution.ended()
            cell.draw()

    async def action_new(self) -> None:
        self.notebook.cells.append(nbformat.v4.new_code_cell())
        self.cells.append(Cell(self.notebook.cells[-1]))
        await self.query_one(VerticalScroll).mount(self.cells[-1])
        self.cells[-1].editor.focus()

    def action_interrupt(self) -> None:
        self.bridge.interrupt()

    @work
    async def action_restart(self) -> None:
        try:
            await self.bridge.arestart()
        except BridgeError as error:
            self.notify(str(error), severity="error", markup=False)
        self.sub_title = self.bridge.status

    def action_save(self) -> None:
        for cell in self.cells:
            cell.node.source = cell.editor.text
            if cell.execution is not None:
                cell.node.outputs = nbformat.from_dict(cell.execution.outputs)
                cell.node.execution_count = cell.execution.execution_count
        try:
            write_notebook(self.notebook, self.path)
        except NotebookFileError as error:
            self.notify(str(error), severity="error", markup=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--kernel", help="by default the notebook's own")
    given = parser.parse_args()
    try:
        notebook = read_notebook(given.notebook) if given.notebook.exists() else nbformat.v4.new_notebook()
        with launch(given.kernel or choose_kernel(notebook.metadata)) as bridge:
            TerminalNotebook(bridge, notebook, given.notebook).run()
    except (NotebookFileError, BridgeError) as problem:
        parser.error(str(problem))
