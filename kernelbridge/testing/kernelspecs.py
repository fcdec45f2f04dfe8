"""A scripted kernel in a process of its own: for frontends that launch kernels by name, and see them exit.

    with scripted_kernelspec(on(execute_request("a"), busy(), stdout("last words"), die(3))) as name:
        with launch(name) as bridge:
            ...

What went wrong in the process is raised where its kernelspec was made.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypedDict, Unpack

import attrs

from kernelbridge.testing.report import ProtocolFailure, hides_kit
from kernelbridge.testing.steps import Always, Scriptable

__all__ = ["ProcessOptions", "ScriptFolder", "scripted_kernelspec"]

__tracebackhide__ = hides_kit

_NAME: Final = "scripted"


class ProcessOptions(TypedDict, total=False):
    """What a scripted kernel in a process takes; see `ManualKernel`."""

    protocol_version: str
    welcome: bool | None
    numbered: bool
    deadline: float


@attrs.frozen
class ScriptFolder:
    """The folder in which a script lies, and where each process that plays it leaves word of what became of it."""

    folder: Path

    def write_script(self, script: tuple[Scriptable | Always, ...], options: ProcessOptions) -> None:
        try:
            text = pickle.dumps((script, options))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"the script cannot be taken to another process: {error}") from None
        (self.folder / "script").write_bytes(text)

    def read_script(self) -> tuple[tuple[Scriptable | Always, ...], ProcessOptions]:
        script, options = pickle.loads((self.folder / "script").read_bytes())  # noqa: S301 - in a private folder.
        return script, options

    # The processes' side

    def began(self) -> None:
        self._file("began").touch()

    def failed(self, report: str) -> None:
        self._file("failed").write_text(report)

    def _file(self, what: str) -> Path:
        return self.folder / f"{what}-{os.getpid()}"

    # The test's side

    def check_failures(self, cause: Exception | None) -> None:
        """Hold that no process has failed."""
        for failed in sorted(self.folder.glob("failed-*")):
            report = failed.read_text()
            raise ProtocolFailure(report.partition("\n")[0], report) from cause

    def check(self) -> None:
        """Hold that the kernel was started, and that no process has failed."""
        self.check_failures(None)
        if not list(self.folder.glob("began-*")):
            headline = "the scripted kernel was never started"
            raise ProtocolFailure(headline, headline)


@contextmanager
def scripted_kernelspec(
    *script: Scriptable | Always, name: str = _NAME, **options: Unpack[ProcessOptions]
) -> Iterator[str]:
    """Install a kernel that plays `script`, for the time of the block, and give its name.

    Jupyter finds it by the environment variable JUPYTER_PATH of this process. Each start plays the script from the
    beginning, in a process that ends when the script says so, when it was shut down, and when nothing has come for the
    deadline after the script. Interrupts come as messages. The script is pickled: what its captures hold, and what its
    functions do, stays in the other process.

    Raises `ProtocolFailure` at the end of the block where a `ScriptedKernel` would, and when the kernel was never
    started. Of a process that was killed nothing is known.
    """
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    script_folder = ScriptFolder(folder)
    before = os.environ.get("JUPYTER_PATH")
    try:
        script_folder.write_script(script, options)
        _install(folder / "kernels" / name, folder)
        os.environ["JUPYTER_PATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
        try:
            yield name
        except Exception as error:
            # What went wrong in the other process comes first.
            script_folder.check_failures(error)
            raise
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before
        script_folder.check()
    finally:
        shutil.rmtree(folder)


def _install(kernel: Path, folder: Path) -> None:
    module = "kernelbridge.testing.script_process"
    spec = {
        "argv": [sys.executable, "-m", module, "-f", "{connection_file}", str(folder)],
        "display_name": kernel.name,
        "language": "script",
        "interrupt_mode": "message",
        # The script may hold what only this process knows where to import from.
        "env": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    }
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps(spec))
