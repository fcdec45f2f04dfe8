"""A Python kernel that the tests share, and a client of it for each test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kernelbridge.testing import ProtocolClient, ProtocolFailure
from kernelbridge.wire.connection import ConnectionInfo
from tests.support.exchange import run
from tests.support.kernels import PYTHON_KERNEL, ROOT, process

Process = tuple[subprocess.Popen[bytes], ConnectionInfo]


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own profile and history out of the tests, and let examples find the package uninstalled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        # As most are: with it, Python takes the buffers from C, too.
        patch.delenv("PYTHONUNBUFFERED", raising=False)
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield


class Shared:
    """A kernel in a process of its own. The test that does not leave it at rest is the last one that has it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._process: Process | None = None

    def process(self) -> Process:
        if self._process is None:
            folder = Path(self._stack.enter_context(TemporaryDirectory()))
            started, info, _ = self._stack.enter_context(process(PYTHON_KERNEL, folder))
            with ProtocolClient(info) as first:
                # IPython is there when this has run.
                run(first, "pass")
            self._process = started, info
        return self._process

    @contextmanager
    def client(self) -> Iterator[ProtocolClient]:
        try:
            with ProtocolClient(self.process()[1]) as client:
                yield client
        except ProtocolFailure:
            self.end()
            raise

    def end(self) -> None:
        self._process = None
        self._stack.close()


@pytest.fixture(scope="session")
def shared() -> Iterator[Shared]:
    kernel = Shared()
    yield kernel
    kernel.end()


@pytest.fixture
def started(shared: Shared) -> subprocess.Popen[bytes]:
    """The process of the kernel that `client` is a client of."""
    return shared.process()[0]


@pytest.fixture
def client(shared: Shared) -> Iterator[ProtocolClient]:
    with shared.client() as connected:
        yield connected
