"""`kernelbridge trace`."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kernelbridge.cli.common import BadInput, not_empty, one_of, terminating

if TYPE_CHECKING:
    from kernelbridge.testing.trace import JsonLines, Lines

CHANNELS = ("shell", "iopub", "stdin", "control")


def _check_pattern(_context: click.Context, _option: click.Parameter, text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise click.BadParameter(f"{text!r} is no regular expression: {error}") from None


@click.command(short_help="Show what passes between a running kernel and its frontends.")
@click.argument("connection_file", required=False, callback=not_empty)
@click.option("--pid", metavar="PID", type=int, help="The kernel with this process id, or that this process started.")
@click.option("--type", "types", metavar="PATTERN", multiple=True, help="Only messages of such a type: comm_*.")
@click.option("--channel", "channels", type=click.Choice(CHANNELS), multiple=True, help="Only this channel.")
@click.option(
    "--parent",
    "parents",
    metavar="PATTERN",
    multiple=True,
    help="Only what a request (r3), a frontend (A), or an id of either has caused, and itself.",
)
@click.option("--grep", metavar="REGEX", callback=_check_pattern, help="Only messages whose content this is found in.")
@click.option("--full", is_flag=True, help="Show whole contents.")
@click.option("--json", "as_json", is_flag=True, help="Write the lines of a transcript, one message each.")
def trace(
    connection_file: str | None,
    pid: int | None,
    types: tuple[str, ...],
    channels: tuple[str, ...],
    parents: tuple[str, ...],
    grep: re.Pattern[str] | None,
    full: bool,
    as_json: bool,
) -> None:
    """Show, as it comes, what passes between a running kernel and its frontends.

    CONNECTION_FILE is a path, or the name of a file in Jupyter's runtime folder or a part of that name. Without one,
    it is the file there that was used last. A kernel of kernelbridge shows all its channels, in the order in which its
    threads received and sent; of any other, what it publishes is shown. A line says: seconds, direction (-> to the
    kernel), channel, the frontend and its request (A.r1) that it is or comes from, the number in the kernel's own count
    of what it publishes, and what it says. Where numbers are missing, a line in red says so.

    A filter that is given several times lets through what any of its patterns matches; several filters, what all let
    through. Ends at Ctrl-C, or when the kernel has gone.

    Exit status: 0 traced until then; 2 there is no such kernel, or it does not listen.
    """
    one_of(pid=pid is not None, CONNECTION_FILE=connection_file)
    # JSON lines are always full.
    one_of(full=full, json=as_json)
    try:
        from rich.console import Console

        from kernelbridge.frontend.find import (
            KernelNotFoundError,
            connection_file_of_process,
            find_connection_file,
        )
        from kernelbridge.testing.trace import Filters, JsonLines, Lines
        from kernelbridge.wire.errors import WireError

        filters = Filters(types, channels, parents, grep)
        shown: Lines | JsonLines
        if as_json:
            shown = JsonLines(lambda line: click.echo(line, nl=False), lambda text: click.echo(text, err=True), filters)
        else:
            shown = Lines(Console(highlight=False), filters, full=full)
        try:
            path = find_connection_file(connection_file) if pid is None else connection_file_of_process(pid)
            _trace(path, shown)
        except (KernelNotFoundError, WireError) as error:
            raise BadInput(str(error)) from None
    # What comes before the trace has begun ends it as well.
    except KeyboardInterrupt:
        return


def _trace(path: Path, shown: Lines | JsonLines) -> None:
    from kernelbridge.testing.trace import Note, Tracer, summary
    from kernelbridge.wire.connection import load_connection_file

    notes: Counter[str] = Counter()
    began = time.monotonic()
    end = "interrupted"
    try:
        with terminating(), Tracer(load_connection_file(path)) as tracer:
            click.echo(f"Tracing {path}. Ctrl-C ends it.", err=True)
            for item in tracer:
                if isinstance(item, Note):
                    notes[item.kind] += 1
                    if item.kind == "gone":
                        end = item.text
                        continue
                shown.show(item)
    except KeyboardInterrupt:
        # What a person does who has seen enough.
        click.echo(err=True)
    click.echo(f"{end.capitalize()}. {summary(shown.shown, notes, time.monotonic() - began)}", err=True)
