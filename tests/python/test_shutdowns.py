"""200 shutdowns, in every state that a kernel may be left in: each ends the process by itself, soon.

ipykernel sometimes needs more than 5 to 10 s, after which frontends kill it.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    comm_open,
    error,
    execute_input,
    execute_reply,
    idle,
    message,
    reply,
    stdout,
)
from tests.support.kernels import PYTHON_KERNEL, process
from tests.support.subshells import create, run_in

SHUTDOWNS = 200

LEFT = {
    "nothing": "pass",
    "a task": "import asyncio; task = asyncio.create_task(asyncio.Event().wait())",
    "a thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "a child": "import subprocess; child = subprocess.Popen(['sleep', '1000'])",
    "a comm": "import comm; left = comm.create_comm(target_name='left')",
    "a worker": "import multiprocessing; pool = multiprocessing.get_context('fork').Pool(1)",
    "a process": "import multiprocessing as m; p = m.get_context('fork').Process(target=m.Event().wait); p.start()",
    "an executor": "import concurrent.futures as c; e = c.ThreadPoolExecutor(); f = e.submit(print, end='')",
    "a completion": "from IPython.core.completer import provisionalcompleter as p\n"
    "with p(): found = list(get_ipython().Completer.completions('import os; os.pa', 16))",
    "subshells": "pass",
}
"""What a cell may leave behind, and subshells, which a frontend makes."""

SAY = "print('begun', flush=True)"
RUNS = {
    "nothing": "",
    "a sleep": f"import time; {SAY}; time.sleep(1000)",
    "a loop": f"{SAY}\nwhile True: pass",
    "an await": f"import asyncio; {SAY}; await asyncio.Event().wait()",
}
"""What may run when the shutdown comes."""


def shut_down(folder: Path, left: str, runs: str, restart: bool) -> float:
    """Bring a kernel into such a state and shut it down. Returns how many seconds the process took to end."""
    with (
        process(PYTHON_KERNEL, folder, start_new_session=True, stderr=subprocess.PIPE) as (started, info, _),
        ProtocolClient(info) as client,
    ):
        cell = client.execute(LEFT[left])
        client.iopub.of(cell).expect(busy(), execute_input())
        client.shell.expect(execute_reply(parent=cell))
        if left == "a comm":
            client.iopub.of(cell).expect(comm_open("left"))
        client.iopub.of(cell).expect(idle())
        if left == "subshells":
            for _ in range(3):
                run_in(client, create(client), "1;")
        if RUNS[runs]:
            cell = client.execute(RUNS[runs])
            client.iopub.expect(busy(), execute_input(), stdout("begun\n"), parent=cell)
        began = time.monotonic()
        request = client.send("shutdown_request", restart=restart)
        client.control.expect(reply("shutdown", parent=request))
        assert started.wait(DEADLINE) == 0
        took = time.monotonic() - began
        client.expect_end()
        client.iopub.of(request).expect(busy(), message("shutdown_reply"), idle())
        if RUNS[runs]:
            client.iopub.expect(error("KeyboardInterrupt"), idle(), parent=cell)
            client.shell.expect(execute_reply("error", parent=cell))
        # Nobody had to help it, and nothing that it has started holds its stderr open.
        assert started.communicate(timeout=DEADLINE)[1] == b""
        return took


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_of_200_shutdowns_ends_the_process_by_itself(tmp_path: Path) -> None:
    states = itertools.cycle(itertools.product(LEFT, RUNS))
    times: list[tuple[float, str, str]] = []
    for number, (left, runs) in enumerate(itertools.islice(states, SHUTDOWNS)):
        times.append((shut_down(tmp_path, left, runs, restart=number % 2 == 0), left, runs))
    for which, one in [("all", "all"), *(("left", left) for left in LEFT), *(("runs", runs) for runs in RUNS)]:
        seconds = [took for took, left, runs in times if one in ("all", left if which == "left" else runs)]
        print(f"{which}: {one}: median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s")
    assert len(times) == SHUTDOWNS
