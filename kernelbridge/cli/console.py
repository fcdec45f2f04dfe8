"""`kernelbridge console`."""

from __future__ import annotations

import os
import sys

import click

from kernelbridge.cli.common import INTERRUPTED, BadInput, not_empty, one_of, terminating


@click.command(short_help="Type cells on a terminal, and see what the kernel shows.")
@click.option(
    "--kernel", "-k", metavar="NAME", callback=not_empty, help="The kernel to start. By default the built-in one."
)
@click.option(
    "--existing",
    metavar="FILE",
    is_flag=False,
    flag_value="",
    help="Connect to a kernel that runs: its connection file, the name of that in Jupyter's runtime folder, or a part "
    "of the name. Without FILE, the one that was used last.",
)
def console(kernel: str | None, existing: str | None) -> None:
    """Type cells, run them in a kernel, and see what it shows, in its order.

    Enter runs a cell that is complete, and goes on in a new line where it is not. Tab completes, Up and Ctrl-R go back
    in the kernel's history. Ctrl-C interrupts the cell that runs; the third one leaves a cell that does not end. Ctrl-D
    at an empty prompt ends the console. A kernel that was started for it ends with it; one that was there goes on.

    Exit status: 0 ended at the terminal; 1 the kernel ended first; 2 the kernel cannot be used, or this is no terminal;
    130 given up by Ctrl-C, 129 or 143 by SIGHUP or SIGTERM.
    """
    one_of(kernel=kernel, existing=existing is not None)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("the console needs a terminal; `kernelbridge run` runs a notebook without one")
    try:
        from kernelbridge.console import run_console
        from kernelbridge.frontend.errors import BridgeError
        from kernelbridge.frontend.find import KernelNotFoundError, find_connection_file
        from kernelbridge.wire.errors import WireError

        colour = not os.environ.get("NO_COLOR")
        try:
            path = None if existing is None else find_connection_file(existing or None)
            with terminating():
                status = run_console(kernel or "kernelbridge", existing=path, colour=colour)
        except (BridgeError, WireError, KernelNotFoundError) as error:
            raise BadInput(str(error)) from None
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(status)
