"""Notebooks run with real kernels: ipykernel and the built-in one."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import nbclient
import nbformat
import pytest

from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.errors import KernelStartError, NoSuchKernelError
from kernelbridge.notebook import CellStart, NotebookFileError, read_notebook, run_notebook
from kernelbridge.notebook.kernels import choose_kernel
from kernelbridge.notebook.widgets import WIDGET_STATE_MIME
from tests.notebook.comparison import differences
from tests.notebook.conftest import ROOT

pytestmark = pytest.mark.usefixtures("environment")

OTHERS = ("heavy_output", "errors", "display_updates", "widgets")
# What the kernels show is compared, and no more.
SHOWN = ("displays", "magics", "ecosystem")
NOTEBOOKS = {
    path.stem: path
    for path in (
        ROOT / "examples" / "tour.ipynb",
        *(ROOT / "tests" / "notebooks" / f"{name}.ipynb" for name in (*OTHERS, *SHOWN)),
    )
}


@pytest.fixture(params=["python3", "kernelbridge"])
def kernel(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def notebook_of(*sources: str, tags: dict[int, str] | None = None, metadata: dict[str, Any] | None = None) -> Any:
    """A notebook with a code cell for each source; `tags` are by the cell's index."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for index, tag in (tags or {}).items():
        cells[index].metadata["tags"] = [tag]
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata or {})


def texts(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def errors(cell: Any) -> list[str]:
    return [output.ename for output in cell.outputs if output.output_type == "error"]


class TestSameOutputs:
    @pytest.mark.parametrize(
        "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "ecosystem" else []) for name in NOTEBOOKS]
    )
    def test_with_the_built_in_kernel_and_with_ipykernel(self, name: str) -> None:
        ours, theirs = (run_notebook(NOTEBOOKS[name], kernel_name=kernel) for kernel in ("kernelbridge", "python3"))
        assert ours.failure is None and theirs.failure is None
        assert differences(ours.notebook.cells, theirs.notebook.cells) == []

    @pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name not in ("widgets", *SHOWN)])
    def test_through_a_bridge_and_through_nbclient(self, name: str) -> None:
        """Without widgets, on whose outputs nbclient may wait for ipykernel until its time is over.

        nbclient leaves streams in the pieces that came; `differences` merges neighbours."""
        ours = run_notebook(NOTEBOOKS[name], kernel_name="python3").notebook
        theirs = nbformat.read(NOTEBOOKS[name], 4)
        nbclient.NotebookClient(theirs, kernel_name="python3", timeout=120).execute()
        assert differences(ours.cells, theirs.cells) == []

    @pytest.mark.parametrize("name", NOTEBOOKS)
    def test_the_notebooks_are_saved_without_outputs(self, name: str) -> None:
        for cell in read_notebook(NOTEBOOKS[name]).cells:
            assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None)


class TestTour:
    def test_shows_what_it_says(self, kernel: str) -> None:
        cells = [
            cell
            for cell in run_notebook(NOTEBOOKS["tour"], kernel_name=kernel).notebook.cells
            if cell.cell_type == "code"
        ]
        shown = {mime for cell in cells for output in cell.outputs for mime in output.get("data", ())}
        assert {"text/html", "text/markdown", "text/latex", "application/json", "image/svg+xml"} <= shown
        everything = "".join(map(texts, cells))
        for line in ("caught; the notebook goes on", "[##########] 100 %", "first goes on\nsecond goes on"):
            assert line in everything
        assert "attempt 3" in everything and "attempt 2" not in everything
        assert [output.output_type for output in cells[0].outputs] == ["stream"] * 3
        assert str(cells).count("**done**, in both places") == 3  # The source of the update and the two displays.


class TestWhatIsSaved:
    def test_counts_times_and_metadata(self, kernel: str, tmp_path: Path) -> None:
        notebook = notebook_of("1", "", "# nothing to show", "2")
        notebook.cells[1].update(outputs=[nbformat.v4.new_output("stream", text="stale")], execution_count=9)
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell("text"))
        ran = run_notebook(notebook, output=tmp_path / "out.ipynb", kernel_name=kernel)
        assert (ran.cells_run, ran.failure, ran.kernel_name) == (3, None, kernel)
        saved = read_notebook(tmp_path / "out.ipynb")
        assert saved == notebook
        one, _, empty, silent, two = saved.cells
        assert [cell.execution_count for cell in (one, empty, silent, two)] == [1, None, 2, 3]
        assert (empty.outputs, silent.outputs) == ([], [])
        assert set(one.metadata.execution) >= {
            "iopub.status.busy",
            "iopub.execute_input",
            "iopub.status.idle",
            "shell.execute_reply",
        }
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", date) for date in one.metadata.execution.values())
        assert saved.metadata.language_info.name == "python"
        assert saved.metadata.kernelspec.name == kernel

    def test_the_notebooks_own_kernelspec_stays(self, tmp_path: Path) -> None:
        kernelspec = {"name": "of-another-computer", "display_name": "Python", "language": "python"}
        ran = run_notebook(notebook_of("1", metadata={"kernelspec": kernelspec}), output=tmp_path / "out.ipynb")
        assert ran.kernel_name == "kernelbridge"
        assert read_notebook(tmp_path / "out.ipynb").metadata.kernelspec == kernelspec

    def test_the_kernel_works_in_the_notebooks_folder(self, kernel: str, tmp_path: Path) -> None:
        nbformat.write(notebook_of("import os; print(os.getcwd())"), tmp_path / "n.ipynb")
        ran = run_notebook(tmp_path / "n.ipynb", kernel_name=kernel)
        assert Path(texts(ran.notebook.cells[0]).strip()).samefile(tmp_path)

    def test_widgets_and_what_output_widgets_captured(self, kernel: str) -> None:
        """The kernel was told of it: the fourth cell counts the outputs that its widget has."""
        ran = run_notebook(NOTEBOOKS["widgets"], kernel_name=kernel)
        assert ran.failure is None
        cells = ran.notebook.cells
        states = ran.notebook.metadata.widgets[WIDGET_STATE_MIME]["state"]
        captured = {
            model_id: saved["state"]["outputs"]
            for model_id, saved in states.items()
            if saved["model_name"] == "OutputModel"
        }
        shown = cells[1].outputs[0].data["application/vnd.jupyter.widget-view+json"]["model_id"]
        kinds = [(output["output_type"], output.get("text")) for output in captured[shown]]
        assert kinds == [
            ("stream", "in the widget\n"),
            ("stream", "on the other stream\n"),
            ("display_data", None),
            ("stream", "added to it\n"),
            ("display_data", None),
        ]
        assert texts(cells[2]) == "below the cell\nbelow the cell again\n"
        assert cells[4].outputs[0].data["text/plain"] == "4"
        everything = [output for outputs in captured.values() for output in outputs]
        assert [output["text"] for output in everything if output.get("text") in ("old\n", "new\n")] == ["new\n"]
        assert [output["ename"] for output in everything if output["output_type"] == "error"] == ["ZeroDivisionError"]
        assert "call 2\n" in [output.get("text") for output in everything]
        assert errors(cells[7]) == []
        models = {saved["model_name"]: saved for saved in states.values()}
        assert models["IntProgressModel"]["state"]["value"] == 10
        assert "IntSliderModel" not in models
        assert models["ImageModel"]["buffers"][0]["path"] == ["value"]

    def test_widgets_of_a_former_run_are_gone(self) -> None:
        notebook = notebook_of("1", metadata={"widgets": {WIDGET_STATE_MIME: {"state": {"old": {}}}}})
        assert "widgets" not in run_notebook(notebook, kernel_name="python3").notebook.metadata

    @pytest.mark.parametrize(
        "widgets", [[], None, {WIDGET_STATE_MIME: None}, {WIDGET_STATE_MIME: {"state": []}}, {WIDGET_STATE_MIME: {}}]
    )
    @pytest.mark.parametrize("source", ["print(1)", "print(1)\n1 / 0"])
    def test_metadata_that_is_no_state_of_widgets_loses_no_output(self, widgets: Any, source: str) -> None:
        ran = run_notebook(notebook_of(source, metadata={"widgets": widgets}), kernel_name="kernelbridge")
        assert texts(ran.notebook.cells[0]) == "1\n"
        assert "widgets" not in ran.notebook.metadata

    def test_output_that_nests_too_deep_loses_no_other(self, tmp_path: Path) -> None:
        deep = """
            from IPython.display import display
            data = "end"
            for _ in range(900):
                data = [data]
            display({"application/json": data, "text/plain": "deep"}, raw=True)
        """
        # ipykernel, because the built-in kernel sends nothing of the kind.
        ran = run_notebook(notebook_of("print(1)", dedent(deep)), kernel_name="python3", output=tmp_path / "n.ipynb")
        assert ran.failure is None
        one, two = read_notebook(tmp_path / "n.ipynb").cells
        assert (texts(one), two.outputs[0].data["text/plain"]) == ("1\n", "deep")


class TestFailures:
    def test_the_first_failing_cell_ends_the_run_and_what_ran_is_written(self, kernel: str, tmp_path: Path) -> None:
        notebook = notebook_of("print('ran')", "# a comment\n1 / 0", "print('never')")
        notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="of an earlier run")]
        ran = run_notebook(notebook, output=tmp_path / "out.ipynb", kernel_name=kernel)
        assert ran.failure is not None
        assert (ran.failure.number, ran.failure.ename, ran.failure.source) == (
            2,
            "ZeroDivisionError",
            "# a comment\n1 / 0",
        )
        assert "ZeroDivisionError" in "".join(ran.failure.traceback)
        first, second, third = read_notebook(tmp_path / "out.ipynb").cells
        assert (texts(first), errors(second), texts(third)) == ("ran\n", ["ZeroDivisionError"], "of an earlier run")

    def test_a_tagged_cell_may_fail(self, kernel: str) -> None:
        ran = run_notebook(notebook_of("1 / 0", "print('on')", tags={0: "raises-exception"}), kernel_name=kernel)
        assert ran.failure is None
        assert (errors(ran.notebook.cells[0]), texts(ran.notebook.cells[1])) == (["ZeroDivisionError"], "on\n")

    def test_all_cells_may_fail(self, kernel: str) -> None:
        ran = run_notebook(notebook_of("1 / 0", "print('on')"), kernel_name=kernel, allow_errors=True)
        assert (ran.failure, ran.cells_run, texts(ran.notebook.cells[1])) == (None, 2, "on\n")

    def test_input_is_refused(self, kernel: str) -> None:
        ran = run_notebook(notebook_of("input()"), kernel_name=kernel)
        assert ran.failure is not None
        assert ran.failure.ename == "StdinNotImplementedError"

    def test_a_cell_that_takes_too_long_is_interrupted(self, kernel: str) -> None:
        notebook = notebook_of("print('started', flush=True)\nimport threading\nthreading.Event().wait()", "2")
        ran = run_notebook(notebook, kernel_name=kernel, timeout=1.5, allow_errors=True)
        assert ran.failure is not None
        assert (ran.failure.ename, ran.failure.evalue) == ("CellTimeoutError", "the cell ran longer than 1.5 s")
        assert ran.cells_run == 1
        assert texts(ran.notebook.cells[0]) == "started\n"
        assert errors(ran.notebook.cells[0]) == ["KeyboardInterrupt", "CellTimeoutError"]

    def test_a_cell_that_will_not_be_interrupted_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kernelbridge.notebook.run.INTERRUPT_GRACE", 0.5)
        stubborn = """
            import threading
            while True:
                try:
                    threading.Event().wait()
                except KeyboardInterrupt:
                    print("not me", flush=True)
        """
        ran = run_notebook(notebook_of(dedent(stubborn)), kernel_name="kernelbridge", timeout=1)
        assert ran.failure is not None
        assert ran.failure.ename == "CellTimeoutError"
        assert texts(ran.notebook.cells[0]) == "not me\n"

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
    def test_a_time_that_is_none_is_refused(self, timeout: float) -> None:
        with pytest.raises(ValueError, match="timeout must be above 0"):
            run_notebook(notebook_of("1"), timeout=timeout)

    def test_a_kernel_that_dies_fails_its_cell(self, kernel: str, tmp_path: Path) -> None:
        notebook = notebook_of("print('before')", "import os\nos._exit(3)", "2")
        ran = run_notebook(notebook, kernel_name=kernel, output=tmp_path / "out.ipynb", allow_errors=True)
        assert ran.failure is not None
        assert (ran.failure.number, ran.failure.ename) == (2, "KernelDiedError")
        assert "exit status 3" in ran.failure.evalue
        assert texts(read_notebook(tmp_path / "out.ipynb").cells[0]) == "before\n"

    def test_what_ran_is_kept_when_the_caller_gives_up(self, tmp_path: Path) -> None:
        class GivenUpError(Exception):
            pass

        def give_up(start: CellStart) -> None:
            if start.step == 2:
                raise GivenUpError

        with pytest.raises(GivenUpError):
            run_notebook(
                notebook_of("print(1)", "print(2)"),
                kernel_name="kernelbridge",
                output=tmp_path / "out.ipynb",
                on_progress=give_up,
            )
        assert [texts(cell) for cell in read_notebook(tmp_path / "out.ipynb").cells] == ["1\n", ""]


class TestRun:
    def test_progress_names_the_cells_that_have_something_to_run(self) -> None:
        notebook = notebook_of("a = 1", "", "a")
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell("text"))
        seen: list[CellStart] = []
        run_notebook(notebook, kernel_name="kernelbridge", on_progress=seen.append)
        assert seen == [CellStart(1, 2, 2, "a = 1"), CellStart(2, 2, 4, "a")]

    def test_a_bridge_that_is_given_stays_and_keeps_its_kernels_state(self) -> None:
        with launch("kernelbridge") as bridge:
            assert run_notebook(notebook_of("kept = 5"), bridge=bridge).kernel_name is None
            ran = run_notebook(notebook_of("print(kept)"), bridge=bridge)
            assert texts(ran.notebook.cells[0]) == "5\n"
            assert bridge.kernel_info().result(30).content["status"] == "ok"

    def test_nothing_is_written_when_nothing_could_run(self, tmp_path: Path) -> None:
        with pytest.raises(NoSuchKernelError):
            run_notebook(notebook_of("1"), kernel_name="no-such", output=tmp_path / "out.ipynb")
        with pytest.raises(KernelStartError):
            run_notebook(notebook_of("1"), output=tmp_path / "out.ipynb", cwd=tmp_path / "no-such-folder")
        with pytest.raises(NotebookFileError):
            run_notebook(tmp_path / "none.ipynb", output=tmp_path / "out.ipynb")
        assert list(tmp_path.iterdir()) == []


class TestChoiceOfTheKernel:
    @pytest.mark.parametrize(
        ("metadata", "chosen"),
        [
            ({"kernelspec": {"name": "python3", "language": "python"}}, "python3"),
            ({"kernelspec": {"name": "Python3"}}, "Python3"),
            ({"kernelspec": {"name": "conda-env", "language": "python"}}, "kernelbridge"),
            ({"kernelspec": {"name": "python2"}}, "kernelbridge"),
            ({"language_info": {"name": "python"}}, "kernelbridge"),
            ({"kernelspec": {"name": "sos"}, "language_info": {"name": "ipython"}}, "kernelbridge"),
            ({}, "kernelbridge"),
            ({"kernelspec": 3, "language_info": []}, "kernelbridge"),
        ],
    )
    def test_the_notebooks_own_else_the_built_in_one_for_python(self, metadata: dict[str, Any], chosen: str) -> None:
        assert choose_kernel(metadata) == chosen

    @pytest.mark.parametrize(
        "metadata", [{"kernelspec": {"name": "no-such", "language": "R"}}, {"language_info": {"name": "no-such"}}]
    )
    def test_another_language_needs_its_kernel(self, metadata: dict[str, Any]) -> None:
        with pytest.raises(NoSuchKernelError) as refusal:
            choose_kernel(metadata)
        assert {"python3", "kernelbridge"} <= set(refusal.value.known)
        assert len(str(refusal.value).splitlines()) == 1
