"""A step in which a frontend is killed at a random moment, and another one, by its launch, reaps what is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.files import reap
from kernelbridge.frontend.owned_folders import UNOWNED_SECONDS
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.connection import KERNEL_FOLDER_PREFIX, OWNER_FILE
from tests.chaos.kernels import START_SECONDS
from tests.chaos.plan import Step
from tests.chaos.room import Room, processes, waiting_for_end

_LONGEST_SECONDS: Final = {"idle": 0.1, "running": 0.3, "closing": 0.3}
"""About how long a phase takes; the others take a start."""

_ROOT: Final = Path(__file__).parents[2]


def kill_frontend(step: Step, mark: dict[str, str], room: Room) -> None:
    """Perform the step."""
    random = step.random()
    command = [sys.executable, "-m", "tests.chaos.victim", step.kernel, step.transport or "any", step.phase]
    with subprocess.Popen(command, cwd=_ROOT, env=os.environ | mark, stdout=subprocess.PIPE, text=True) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == f"{step.phase}\n", "the frontend has ended by itself"
            time.sleep(random.uniform(0, _LONGEST_SECONDS.get(step.phase, START_SECONDS[step.kernel])))
        finally:
            victim.kill()
    with waiting_for_end(processes(mark)), launch("kernelbridge", transport=step.transport) as bridge:
        assert bridge.execute("1").result(DEADLINE).content["status"] == "ok"
        _reap_unowned(room)
        kernel_ids = [path.stem.rpartition("-")[2] for path in room.runtime.iterdir()]
        assert len(set(kernel_ids)) == 1, f"not reaped: {kernel_ids}"


def _reap_unowned(room: Room) -> None:
    """Let time pass for a folder of which nobody can say whether it is being made or was left."""
    for folder in room.runtime.glob(f"{KERNEL_FOLDER_PREFIX}*"):
        if not (folder / OWNER_FILE).exists():
            old = time.time() - UNOWNED_SECONDS
            os.utime(folder, (old, old))
    reap(room.runtime)
