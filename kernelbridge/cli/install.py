"""`kernelbridge install`."""

from __future__ import annotations

import sys

import click

from kernelbridge.cli.common import BadInput, not_empty, one_of


@click.command(short_help="Install the Python kernel for JupyterLab and other frontends.")
@click.option("--user", is_flag=True, help="For this user.")
@click.option("--sys-prefix", is_flag=True, help="For this Python environment. The default.")
@click.option(
    "--prefix", metavar="DIR", callback=not_empty, help="Below DIR, as DIR/share/jupyter/kernels/kernelbridge."
)
def install(user: bool, sys_prefix: bool, prefix: str | None) -> None:
    """Install the Python kernel, so that JupyterLab and other frontends offer it.

    It runs in the Python environment that this command belongs to. One that is installed already is replaced.
    """
    from kernelbridge.python.install import install as install_kernelspec

    where = one_of(user=user, sys_prefix=sys_prefix, prefix=prefix)
    try:
        folder = install_kernelspec(user=user, prefix=None if where == "user" else prefix or sys.prefix)
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise BadInput(f"the kernel cannot be installed: {problem}") from None
    click.echo(f"Installed the kernel kernelbridge in {folder}", err=True)
