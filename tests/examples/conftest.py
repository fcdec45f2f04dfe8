"""What the tests of the examples share: kernels whose files lie in folders of the tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kernels import ROOT


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[Path]:
    """Jupyter's runtime folder, and a check that nothing is left there (contract F11)."""
    with tempfile.TemporaryDirectory(prefix="kb") as folder, pytest.MonkeyPatch.context() as patch:
        runtime = Path(folder) / "runtime"
        patch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
        patch.setenv("IPYTHONDIR", f"{folder}/ipython")
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield runtime
        assert not runtime.exists() or list(runtime.iterdir()) == []
