"""The frontend that is killed: `python -m tests.chaos.victim KERNEL TRANSPORT PHASE`. It says when it is in the phase.

TRANSPORT may be ``any``. It ends by itself, if nobody kills it, when there are no more kernels to be launched.
"""

from __future__ import annotations

import sys
from typing import Any

from kernelbridge.frontend.bridge import launch
from tests.chaos.kernels import CODES

_LAUNCHES = 100


def main() -> None:
    kernel, transport, phase = sys.argv[1:]
    options: dict[str, Any] = {} if transport == "any" else {"transport": transport}
    for _ in range(_LAUNCHES):
        if phase == "launching":
            print(phase, flush=True)
        with launch(kernel, **options) as bridge:
            if phase == "restarting":
                print(phase, flush=True)
                for _ in range(_LAUNCHES):
                    bridge.restart()
            elif phase == "closing":
                print(phase, flush=True)
            elif phase != "launching":
                execution = bridge.execute(CODES[kernel].prints if phase == "running" else CODES[kernel].sleeps)
                print(phase, flush=True)
                execution.wait()


if __name__ == "__main__":
    main()
