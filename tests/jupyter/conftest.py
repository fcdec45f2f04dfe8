"""What the tests of the classes for Jupyter's tools share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from jupyter_core.utils import ensure_event_loop

from tests.frontend.conftest import folder, kernel_that, runtime

__all__ = ["folder", "kernel_that", "runtime"]


@pytest.fixture(autouse=True, scope="session")
def their_event_loop() -> Iterator[None]:
    """The loop in which Jupyter's tools run what is asynchronous, made before the tests look for what they leave.

    The tools make it once for a thread and leave it open.
    """
    loop = ensure_event_loop()
    yield
    loop.close()


@pytest.fixture(autouse=True)
def configuration(folder: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the user's."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(folder))
