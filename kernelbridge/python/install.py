"""The Python kernel's kernelspec, and its installation: so that every Jupyter frontend can start the kernel.

The wheel ships `kernelspec/kernel.json` as a data file, whose "python" jupyter_client replaces by the interpreter of
the environment that it is started from. What is installed here names this interpreter, and works from any environment.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from jupyter_client.kernelspec import KernelSpecManager

from kernelbridge.wire.packing import pack

KERNEL_NAME: Final = "kernelbridge"


def kernel_spec(interpreter: str = sys.executable) -> dict[str, Any]:
    """Return the kernelspec ("Kernel specs" in jupyter_client's documentation) for a Python `interpreter`."""
    return {
        "argv": [interpreter, "-m", "kernelbridge.python", "-f", "{connection_file}"],
        "display_name": "Python 3 (kernelbridge)",
        "language": "python",
        "interrupt_mode": "signal",
        "kernel_protocol_version": "5.6",
        "metadata": {"debugger": True},
    }


def install(*, user: bool = False, prefix: str | None = None) -> Path:
    """Install the kernelspec, in place of one of its name, and return its directory.

    Into the user's Jupyter folder (`user`), below `prefix`, or else where this computer's Jupyter looks for all users.
    Raises OSError when that folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        # The folder is copied with its mode, and everybody who may start the kernel has to read it.
        source.chmod(0o755)
        (source / "kernel.json").write_bytes(pack(kernel_spec()) + b"\n")
        installed: str = KernelSpecManager().install_kernel_spec(folder, KERNEL_NAME, user=user, prefix=prefix)
    return Path(installed)
