"""What the tests that start real kernels share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An environment for programs and kernels, and a check that none of them leaves a file (contract F11).

    They find this checkout from any folder. Jupyter's runtime folder and IPython's are the test's own, in a folder
    whose path is short enough for IPC sockets.
    """
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    with tempfile.TemporaryDirectory(prefix="kb") as folder:
        runtime = Path(folder) / "runtime"
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
        monkeypatch.setenv("IPYTHONDIR", str(Path(folder) / "ipython"))
        yield runtime
        assert not runtime.exists() or list(runtime.iterdir()) == []
