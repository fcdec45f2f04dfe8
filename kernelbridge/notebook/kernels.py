"""Which kernel a notebook is run with when nobody says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager

from kernelbridge.frontend.errors import NoSuchKernelError
from kernelbridge.frontend.launch import BUILT_IN


def choose_kernel(metadata: Mapping[str, Any]) -> str:
    """Return the name of the kernel for a notebook with this metadata.

    It is the notebook's own where that is installed, else the built-in one for a Python notebook. Raises
    NoSuchKernelError, which names the kernels that there are, for a notebook in another language.
    """
    kernelspec = mapping_in(metadata, "kernelspec")
    own = kernelspec.get("name")
    manager = KernelSpecManager()
    known = manager.find_kernel_specs()
    if isinstance(own, str) and own.lower() in known:
        return own
    if _is_python(kernelspec, mapping_in(metadata, "language_info")):
        return BUILT_IN
    raise NoSuchKernelError(str(own), {*known, BUILT_IN}, manager.kernel_dirs)


def _is_python(kernelspec: Mapping[str, Any], language_info: Mapping[str, Any]) -> bool:
    language = kernelspec.get("language") or language_info.get("name")
    if language is None:
        # Old notebooks say no language, and hand-made ones nothing at all: those are taken for Python.
        language = kernelspec.get("name", "python")
    return str(language).lower().startswith(("python", "ipython"))


def mapping_in(metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object of this key, or an empty one: the format says little of what metadata must be."""
    value = metadata.get(key)
    return value if isinstance(value, Mapping) else {}
