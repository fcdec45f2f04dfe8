"""The command line: arguments in, one call, and what came of it told to a person.

What is done is elsewhere, and imported by the command that needs it, so that help and errors come at once. What a
command has to say of itself goes to stderr.
"""

from __future__ import annotations

import os

import click

from kernelbridge.cli.check import check
from kernelbridge.cli.console import console
from kernelbridge.cli.install import install
from kernelbridge.cli.kernels import interrupt, list_kernels, ps, restart, stop
from kernelbridge.cli.run import run
from kernelbridge.cli.trace import trace
from kernelbridge.version import __version__

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="kernelbridge", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Jupyter kernels and Python frontends, joined by threads, with everything a kernel shows in one order."""
    if os.environ.get("NO_COLOR"):
        # Rich heeds it of itself (https://no-color.org); what click prints, such as a kernel's traceback, does not.
        context.color = False


main.add_command(run)
main.add_command(console)
main.add_command(ps)
main.add_command(stop)
main.add_command(interrupt)
main.add_command(restart)
main.add_command(list_kernels)
main.add_command(install)
main.add_command(trace)
main.add_command(check)
