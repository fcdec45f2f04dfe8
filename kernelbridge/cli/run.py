"""`kernelbridge run`."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kernelbridge.cli.common import FAILED, INTERRUPTED, BadInput, not_empty, one_of, terminating

if TYPE_CHECKING:
    from kernelbridge.notebook import CellFailure, CellStart

_TITLE_LENGTH = 60


def _check_timeout(_context: click.Context, _option: click.Parameter, seconds: float | None) -> float | None:
    # Written so that NaN, which float() takes, is refused too.
    if seconds is not None and not 0 < seconds <= threading.TIMEOUT_MAX:
        raise click.BadParameter(f"{seconds:g} is not a number of seconds above 0 that a clock can wait.")
    return seconds


@click.command(short_help="Run a notebook and write it with its outputs.")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write the result. By default beside NOTEBOOK: tour.ipynb gives tour.out.ipynb.",
)
@click.option("--inplace", is_flag=True, help="Write the result over NOTEBOOK.")
@click.option(
    "--kernel",
    "-k",
    metavar="NAME",
    callback=not_empty,
    help="The kernel to use. By default the notebook's own where that is installed, else the built-in one for Python.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=float,
    callback=_check_timeout,
    help="How long each cell may run; one that runs longer is interrupted and ends the run. By default without end.",
)
@click.option("--allow-errors", is_flag=True, help="Go on after a cell that fails.")
def run(
    notebook: Path, output: Path | None, inplace: bool, kernel: str | None, timeout: float | None, allow_errors: bool
) -> None:
    """Run NOTEBOOK and write it with its outputs, as JupyterLab would save it.

    The run ends at the first cell that fails. What ran until then is written, as it is on Ctrl-C; the cells after it
    keep the outputs that they had. A cell tagged "raises-exception" may fail. The kernel's working folder is the
    notebook's.

    Exit status: 0 all cells ran; 1 a cell failed, ran out of time, or the kernel died in it; 2 the notebook, the kernel
    or the output cannot be used, and nothing was written; 130 interrupted, 129 or 143 by SIGHUP or SIGTERM.
    """
    one_of(inplace=inplace, output=output)
    if inplace:
        target = notebook
    elif output is not None:
        target = output
    else:
        target = notebook.parent / f"{notebook.stem}.out.ipynb"
    try:
        from kernelbridge.frontend.errors import BridgeError
        from kernelbridge.notebook import NotebookFileError, run_notebook

        with terminating(), _progress() as show:
            ran = run_notebook(
                notebook,
                output=target,
                kernel_name=kernel,
                timeout=timeout,
                allow_errors=allow_errors,
                on_progress=show,
            )
    # First, because it may come while the names of the others are imported.
    except KeyboardInterrupt:
        click.echo("Interrupted. What ran before, if anything did, is kept.", err=True)
        sys.exit(INTERRUPTED)
    except (NotebookFileError, BridgeError) as error:
        raise BadInput(str(error)) from None
    if ran.failure is not None:
        _show_failure(ran.failure)
        click.echo(f"What ran is in {target}.", err=True)
        sys.exit(FAILED)
    click.echo(f"Ran {_count(ran.cells_run, 'cell')} with the kernel {ran.kernel_name}. Written: {target}", err=True)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[CellStart], None]]:
    """Give what shows the progress over the cells: a bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting the kernel", total=None)

        def show(start: CellStart) -> None:
            description = f"cell {start.number}: {escape(_title(start.source))}"
            bar.update(task, total=start.steps, completed=start.step - 1, description=description)

        yield show


def _show_failure(failure: CellFailure) -> None:
    click.echo(f"Cell {failure.number} failed: {_title(failure.source)}", err=True)
    # click takes the colours out where stderr is no terminal.
    for line in failure.traceback or [f"{failure.ename}: {failure.evalue}"]:
        click.echo(line, err=True)


def _title(source: str) -> str:
    """Return a cell's first line that says something, cut to a length that fits into a line."""
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return first if len(first) <= _TITLE_LENGTH else f"{first[: _TITLE_LENGTH - 3]}..."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
