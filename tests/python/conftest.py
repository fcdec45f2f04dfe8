"""A Python kernel for the tests of one module, and a frontend for each test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from kernelbridge.wire.connection import ConnectionInfo
from tests.support.client import Client
from tests.support.kernels import PYTHON_KERNEL, ROOT, process


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own profile and history out of the tests, and let examples find the package uninstalled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], ConnectionInfo]]:
    """A kernel that has answered its first request: it is at rest, and `starting` is past."""
    with process(PYTHON_KERNEL, tmp_path_factory.mktemp("kernel")) as (started, info, _):
        with Client(info) as first:
            first.run("pass")
        yield started, info


@pytest.fixture
def client(kernel: tuple[subprocess.Popen[bytes], ConnectionInfo]) -> Iterator[Client]:
    with Client(kernel[1]) as connected:
        yield connected
