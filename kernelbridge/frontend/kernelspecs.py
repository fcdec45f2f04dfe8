"""The kernels that are installed: what their kernelspecs say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from jupyter_client.kernelspec import KernelSpecManager

from kernelbridge.frontend.errors import KernelStartError
from kernelbridge.frontend.launch import BUILT_IN, find_kernelspec


@attrs.frozen
class InstalledKernel:
    """A kernel that can be launched by its name; `problem` says why one cannot be. `folder` is None for what is built
    in."""

    name: str
    folder: Path | None
    display_name: str = ""
    language: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what `kernelbridge list --json` prints of it."""
        return {
            "name": self.name,
            "display_name": self.display_name,
            "language": self.language,
            "folder": None if self.folder is None else str(self.folder),
            "problem": self.problem or None,
        }


def installed_kernels() -> list[InstalledKernel]:
    """Return the kernels that jupyter_client finds and the built-in one, by name."""
    folders: dict[str, str] = KernelSpecManager().find_kernel_specs()
    return [_described(name, folders.get(name)) for name in sorted({*folders, BUILT_IN})]


def _described(name: str, folder: str | None) -> InstalledKernel:
    where = None if folder is None else Path(folder)
    try:
        spec = find_kernelspec(name)
    except KernelStartError as error:
        return InstalledKernel(name, where, problem=str(error))
    return InstalledKernel(name, where, spec.display_name, spec.language)
