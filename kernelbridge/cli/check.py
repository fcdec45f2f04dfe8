"""`kernelbridge check`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kernelbridge.cli.common import FAILED, INTERRUPTED, BadInput, one_of, terminating

if TYPE_CHECKING:
    from rich.console import Console

    from kernelbridge.testing.check import OnProgress, Progress, Report, Rule

_PIPE_WIDTH = 160
"""How wide a table is that nobody looks at yet."""


def _check_target(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    # Before anything is tried: a check takes minutes.
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.absolute().parent}.")
    return path


_FILE = click.Path(path_type=Path, dir_okay=False, writable=True)


@click.command(short_help="Try the rules of the protocol on installed kernels.")
@click.argument("kernels", metavar="KERNEL...", nargs=-1)
@click.option("--trials", metavar="N", type=click.IntRange(min=1), help="How often each rule is tried.  [default: 20]")
@click.option(
    "--rule",
    "patterns",
    metavar="PATTERN",
    multiple=True,
    help="Only rules with such an id, or of this theme: order.*, interrupt.",
)
@click.option("--list", "only_list", is_flag=True, help="Show the rules and try none.")
@click.option("--quiet", is_flag=True, help="Print violations alone, a line for each.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option("--short", is_flag=True, help="As --markdown, without the rules that every kernel holds.")
@click.option("--html", metavar="FILE", type=_FILE, callback=_check_target, help="Write a page with all details.")
@click.option("--junit", metavar="FILE", type=_FILE, callback=_check_target, help="Write XML for a CI system.")
def check(
    kernels: tuple[str, ...],
    trials: int | None,
    patterns: tuple[str, ...],
    only_list: bool,
    quiet: bool,
    as_json: bool,
    markdown: bool,
    short: bool,
    html: Path | None,
    junit: Path | None,
) -> None:
    """Try the rules of the Jupyter protocol on installed kernels, and show what each did, beside each other.

    KERNEL is the name of a kernelspec, as `jupyter kernelspec list` shows them. Each kernel is started for this, and
    ended. What a kernel's language cannot show is marked as not applicable.

    Exit status: 0 every kernel held every rule; 1 a rule was violated, or a kernel does not start (what the protocol
    leaves open, marked !, does not count); 2 there is no such kernel or rule; 130 interrupted.
    """
    form = one_of(quiet=quiet, json=as_json, markdown=markdown, short=short)
    if not kernels and not only_list:
        raise click.UsageError("Name a kernel, or several; --list shows the rules.")
    try:
        from kernelbridge.frontend.errors import BridgeError
        from kernelbridge.testing.check import TRIALS, select_rules
        from kernelbridge.testing.check import check as check_kernels

        try:
            selected = [_whole_theme(pattern) for pattern in patterns]
            rules = select_rules(selected)
            if only_list:
                _show_rules(rules, form)
                return
            with terminating(), _unlogged(), _progress(quiet=quiet) as show:
                report = check_kernels(kernels, trials=trials or TRIALS, on_progress=show, select=selected)
        except (BridgeError, ValueError) as error:
            raise BadInput(str(error)) from None
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    # First, for a file that cannot be written is not to lose what took minutes.
    _show(report, form)
    _write(report, html, junit)
    if report.failures or report.problems:
        sys.exit(FAILED)


def _whole_theme(pattern: str) -> str:
    """Return a pattern of ids: the name of a theme stands for all its rules."""
    from kernelbridge.testing.check import RULES

    return f"{pattern}.*" if pattern in {rule.theme for rule in RULES} else pattern


def _write(report: Report, html: Path | None, junit: Path | None) -> None:
    from kernelbridge.testing.check.present import to_html, to_junit

    forms: Sequence[tuple[Path | None, Callable[[Report], str]]] = ((html, to_html), (junit, to_junit))
    for path, text_of in forms:
        if path is not None:
            try:
                path.write_text(text_of(report), encoding="utf-8")
            except OSError as error:
                raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
            click.echo(f"Written: {path}", err=True)


def _show(report: Report, form: str | None) -> None:
    from kernelbridge.testing.check.present import show_report, to_json, to_markdown, violations

    if form == "json":
        click.echo(to_json(report), nl=False)
    elif form in ("markdown", "short"):
        click.echo(to_markdown(report, short=form == "short"), nl=False)
    elif form == "quiet":
        for line in violations(report):
            click.echo(line)
    else:
        show_report(report, _console())


def _show_rules(rules: Sequence[Rule], form: str | None) -> None:
    from kernelbridge.testing.check.present import rules_to_json, show_rules

    if form == "json":
        click.echo(rules_to_json(rules), nl=False)
    else:
        show_rules(rules, _console())


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPE_WIDTH
    return console


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep what the library logs off stderr: it tells of each odd message, which is what the check makes, and finds."""
    handler = logging.NullHandler()
    logger = logging.getLogger("kernelbridge")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[OnProgress | None]:
    """Give what shows the progress on stderr: a bar on a terminal, a line for each kernel elsewhere."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    begun: set[str] = set()
    with Bar(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("starting the first kernel", total=None)

        def show(progress: Progress) -> None:
            description = f"{escape(progress.kernel)}: {escape(progress.rule.id)}"
            bar.update(task, total=progress.total, completed=progress.done, description=description)
            if not console.is_terminal and not quiet and progress.kernel not in begun:
                begun.add(progress.kernel)
                click.echo(f"Checking {progress.kernel}.", err=True)

        yield show
