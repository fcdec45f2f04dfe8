"""`kernelbridge list`, `ps`, `stop`, `interrupt` and `restart`: kernels, installed and running."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from kernelbridge.cli.common import FAILED, INTERRUPTED, BadInput, not_empty

if TYPE_CHECKING:
    from kernelbridge.frontend.inventory import FoundKernel

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

_KERNEL = click.argument("kernels", metavar="KERNEL...", nargs=-1, required=True, callback=not_empty)
_GRACE = click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0, max=3600),
    default=5.0,
    show_default=True,
    help="How long the kernel has to end.",
)


@click.command("list", short_help="Show the kernels that are installed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_kernels(as_json: bool) -> None:
    """Show the kernels that are installed: what they are called, what they run, and where their kernelspecs are.

    The built-in kernel for Python, kernelbridge, is there also where it is not installed for other frontends.
    """
    from kernelbridge.frontend.kernelspecs import installed_kernels

    with _well_told():
        found = installed_kernels()
    if as_json:
        _print_json([one.to_json() for one in found])
        return
    rows = [(one.name, one.display_name or one.problem, one.language, str(one.folder or "built in")) for one in found]
    _print_table(("NAME", "DISPLAY NAME", "LANGUAGE", "FOLDER"), rows)


@click.command(short_help="Show the kernels that run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, max=60),
    default=1.0,
    show_default=True,
    help="How long the kernels have to answer, all of them together.",
)
def ps(as_json: bool, timeout: float) -> None:
    """Show the kernels that run, whoever has started them, as far as their connection files lie in Jupyter's runtime
    folder.

    Each is asked. STATUS: idle; busy, it runs a cell; silent, it listens and does not answer; starting; dead, its file
    is there and nobody listens. FRONTENDS are those who read what it publishes. What cannot be seen is shown as -.
    """
    from kernelbridge.frontend.inventory import running_kernels

    with _well_told():
        found = running_kernels(seconds=timeout)
    if as_json:
        _print_json([one.to_json() for one in found])
        return
    if not found:
        click.echo("No kernel runs.", err=True)
        return
    _print_table(("NAME", "PID", "STATUS", "TRANSPORT", "AGE", "FRONTENDS", "CONNECTION FILE"), map(_row, found))


def _row(kernel: FoundKernel) -> Sequence[str]:
    return (
        kernel.name or "-",
        "-" if kernel.pid is None else str(kernel.pid),
        kernel.status,
        "-" if kernel.connection is None else kernel.connection.transport,
        _age(kernel.age),
        "-" if kernel.frontends is None else str(kernel.frontends),
        str(kernel.connection_file),
    )


def _age(seconds: float) -> str:
    for unit, letter in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {letter}"
    return f"{seconds:.0f} s"


@click.command(short_help="End kernels that run.")
@_KERNEL
@_GRACE
@click.option("--force", is_flag=True, help="Kill the process of a kernel that has not ended then.")
def stop(kernels: Sequence[str], grace: float, force: bool) -> None:
    """Ask kernels to end, and wait until they have.

    KERNEL is a connection file, the name of a kernel (as `kernelbridge ps` shows it), a process id, or a part of the
    file's name; it has to mean one kernel alone. What a kernel is embedded in goes on. Who launched a kernel sees it
    end, and may start it again: Jupyter Server does.

    Exit status: 0 all have ended; 1 one has not; 2 there is no such kernel.
    """
    from kernelbridge.frontend import others

    def end(kernel: FoundKernel) -> str:
        others.stop(kernel, grace=grace, force=force)
        return f"Ended {kernel}."

    _for_each(kernels, end)


@click.command(short_help="Interrupt what kernels run.")
@_KERNEL
def interrupt(kernels: Sequence[str]) -> None:
    """Interrupt the cells that kernels run, whoever has started these.

    KERNEL is as for `kernelbridge stop`. A kernel is asked; one that does not answer within 2 s gets the signal SIGINT,
    unless it is embedded in a program. Some kernels end by that, because that is what they do.

    Exit status: 0 interrupted; 1 one could not be; 2 there is no such kernel.
    """
    from kernelbridge.frontend import others

    _for_each(kernels, lambda kernel: f"Interrupted {kernel} by a {others.interrupt(kernel)}.")


@click.command(short_help="Have kernels restarted by who launched them.")
@_KERNEL
@_GRACE
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, max=3600),
    default=10.0,
    show_default=True,
    help="How long the launcher has to start it again.",
)
def restart(kernels: Sequence[str], grace: float, timeout: float) -> None:
    """Ask kernels to end for a restart, and wait until those who launched them have started them again.

    KERNEL is as for `kernelbridge stop`. Only the process that launched a kernel can start it again in its place.
    Jupyter Server does when it sees its kernel end, and so does a program with `launch(..., on_death="restart")`. A
    console does not, and nobody does for a kernel that was started by hand: then the kernel has ended.

    Exit status: 0 there is a new kernel, and it answers; 1 there is none, or the old one has not ended; 2 there is no
    such kernel.
    """
    from kernelbridge.frontend import others

    def again(kernel: FoundKernel) -> str:
        new = others.restart(kernel, grace=grace, seconds=timeout)
        process = "" if new.pid is None else f", process {new.pid}"
        return f"Restarted {new}{process}."

    _for_each(kernels, again)


def _for_each(names: Sequence[str], do: Callable[[FoundKernel], str]) -> None:
    """Find all kernels first, then do it to each and say so. One that fails does not keep the others."""
    from kernelbridge.frontend.errors import BridgeError
    from kernelbridge.frontend.find import KernelNotFoundError
    from kernelbridge.frontend.inventory import find_kernel

    failed = False
    with _well_told():
        try:
            found = [find_kernel(name) for name in names]
        except KernelNotFoundError as error:
            raise BadInput(str(error)) from None
        if missing := [str(one) for one in found if one.status == "dead"]:
            raise BadInput(f"no such kernel runs, nobody listens there: {', '.join(missing)}")
        for kernel in found:
            try:
                click.echo(do(kernel), err=True)
            except BridgeError as error:
                click.echo(f"Error: {error}", err=True)
                failed = True
    if failed:
        sys.exit(FAILED)


@contextmanager
def _well_told() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> None:
    """Print plain columns. A line is as long as it is, so that what is at its end can be copied."""
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
