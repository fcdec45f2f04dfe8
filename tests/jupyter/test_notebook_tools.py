"""nbclient and papermill, as they are, with a bridge's managers by configuration alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import papermill
import pytest
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from kernelbridge.notebook import run_notebook
from tests.notebook.comparison import differences

ROOT = Path(__file__).parents[2]
MANAGER = "kernelbridge.jupyter.AsyncKernelManager"

with_our_manager = pytest.mark.parametrize("name", ["kernelbridge", "python3"])


def notebook_of(*sources: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def client_of(notebook: Any, name: str = "kernelbridge", **options: Any) -> Any:
    return nbclient.NotebookClient(notebook, kernel_name=name, kernel_manager_class=MANAGER, **options)


class Impatience:
    """Has nobody in an event loop wait for time to pass: who does waits until the block is left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._waiting: list[asyncio.Task[Any]] = []

    def __enter__(self) -> None:
        async def wait_for_ever(_: float, result: object = None) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._waiting.append(task)
            await asyncio.get_running_loop().create_future()

        self._monkeypatch.setattr(asyncio, "sleep", wait_for_ever)

    def __exit__(self, *_: object) -> None:
        self._monkeypatch.undo()
        for task in self._waiting:
            task.cancel()
        ensure_event_loop().run_until_complete(asyncio.wait(self._waiting))


class TestNbclient:
    @pytest.mark.parametrize(
        "notebook",
        ["display_updates", *(pytest.param(name, marks=pytest.mark.slow) for name in ("heavy_output", "errors"))],
    )
    def test_outputs_are_those_of_a_bridge(self, notebook: str) -> None:
        path = ROOT / "tests" / "notebooks" / f"{notebook}.ipynb"
        theirs = nbformat.read(path, 4)
        client_of(theirs, timeout=120).execute()
        ours = run_notebook(path, kernel_name="kernelbridge").notebook
        assert differences(ours.cells, theirs.cells) == []

    @with_our_manager
    def test_an_error_is_raised_with_its_traceback(self, name: str) -> None:
        notebook = notebook_of("print('before')\n1 / 0", "print('never')")
        with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
            client_of(notebook, name).execute()
        assert [output.output_type for output in notebook.cells[0].outputs] == ["stream", "error"]
        assert notebook.cells[1].outputs == []

    def test_a_cell_whose_time_is_over_is_interrupted(self) -> None:
        notebook = notebook_of("while True: pass", "print('goes on')")
        client_of(notebook, timeout=1, interrupt_on_timeout=True, allow_errors=True).execute()
        assert notebook.cells[0].outputs[0].ename == "KeyboardInterrupt"
        assert notebook.cells[1].outputs[0].text == "goes on\n"

    def test_a_cell_whose_time_is_over_ends_the_run(self) -> None:
        with pytest.raises(CellTimeoutError):
            client_of(notebook_of("import signal\nsignal.pause()"), timeout=1).execute()

    @with_our_manager
    @pytest.mark.parametrize("timeout", [None, 120])
    def test_a_death_is_raised_at_once_and_says_how(
        self, name: str, timeout: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F6. nbclient itself looks once a second whether the kernel lives: here that second never passes."""
        client = client_of(notebook_of("print('before', flush=True)\nimport os\nos._exit(3)"), name, timeout=timeout)
        with Impatience(monkeypatch), pytest.raises(DeadKernelError, match="ended with exit status 3"):
            client.execute()

    def test_a_kernel_that_does_not_start_says_why(self, kernel_that: Callable[..., str]) -> None:
        with pytest.raises(Exception, match="while starting: no licence"):
            client_of(notebook_of("1"), kernel_that("import sys; sys.exit('no licence')")).execute()

    def test_in_an_event_loop(self) -> None:
        notebook = notebook_of("6 * 7")
        asyncio.run(client_of(notebook).async_execute())
        assert notebook.cells[0].outputs[0].data["text/plain"] == "42"


class TestPapermill:
    @with_our_manager
    def test_parameters_and_an_error(self, name: str, folder: Path) -> None:
        given, done = folder / "given.ipynb", folder / "done.ipynb"
        notebook = notebook_of("who = 'nobody'", "print('hello', who)")
        notebook.cells[0].metadata["tags"] = ["parameters"]
        notebook.metadata["kernelspec"] = {"name": name, "display_name": name, "language": "python"}
        nbformat.write(notebook, given)
        options: dict[str, Any] = {"kernel_manager_class": MANAGER, "progress_bar": False, "kernel_name": name}

        ran = papermill.execute_notebook(os.fspath(given), os.fspath(done), {"who": "Ada"}, **options)
        assert ran.cells[-1].outputs[0].text == "hello Ada\n"
        assert ran.metadata.language_info["name"] == "python"

        notebook.cells.append(nbformat.v4.new_code_cell("1 / 0"))
        nbformat.write(notebook, given)
        with pytest.raises(papermill.PapermillExecutionError, match="ZeroDivisionError"):
            papermill.execute_notebook(os.fspath(given), os.fspath(done), **options)
        assert "hello nobody" in done.read_text()
