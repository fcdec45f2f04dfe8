"""`kernelbridge install`."""

from __future__ import annotations

import sys

import click

from kernelbridge.cli.common import BadInput


@click.command(short_help="Install the Python kernel for JupyterLab and other frontends.")
@click.option("--user", "where", flag_value="user", help="For this user.")
@click.option("--sys-prefix", "where", flag_value="sys-prefix", help="For this Python environment. The default.")
@click.option("--prefix", metavar="DIR", help="Below DIR, as DIR/share/jupyter/kernels/kernelbridge.")
def install(where: str | None, prefix: str | None) -> None:
    """Install the Python kernel, so that JupyterLab and other frontends offer it.

    It runs in the Python environment that this command belongs to. One that is installed already is replaced.
    """
    from kernelbridge.python.install import install as install_kernelspec

    if where is not None and prefix is not None:
        raise click.UsageError(f"--{where} and --prefix exclude each other.")
    if where == "user":
        user, prefix = True, None
    else:
        user, prefix = False, prefix or sys.prefix
    try:
        folder = install_kernelspec(user=user, prefix=prefix)
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise BadInput(f"the kernel cannot be installed: {problem}") from None
    click.echo(f"Installed the kernel kernelbridge in {folder}", err=True)
