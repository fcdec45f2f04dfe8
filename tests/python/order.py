"""How often a kernel shows things in another order than its program did: python -m tests.python.order --help

Small cells whose order is plain (a print, a comm message, a print) are run by the thousand and watched by a plain
jupyter_client. A trial is out of order when what came between its brackets is not what its program did, and late when
something of it came behind its idle. Works with any Python kernel, so that kernels can be compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager

from kernelbridge.testing import DEADLINE
from tests.support.kernels import PYTHON_KERNEL, blocking_client, process

SETUP = """
import asyncio, sys, warnings, comm
# IPython's own, about the thousandth result.
warnings.simplefilter('ignore')
mine = comm.create_comm(target_name='order')
async def task():
    print('in the task')
    mine.send({})
"""

Step = tuple[str, str]
"""A message's type and the text that it shows; neighbouring texts of one stream are one step."""

CELLS: Mapping[str, tuple[str, list[Step]]] = {
    "print / comm / print": (
        "print('a'); mine.send({}); print('b')",
        [("stdout", "a\n"), ("comm_msg", ""), ("stdout", "b\n")],
    ),
    "stderr / stdout / comm": (
        "print('e', file=sys.stderr); print('o'); mine.send({})",
        [("stderr", "e\n"), ("stdout", "o\n"), ("comm_msg", "")],
    ),
    "comm / result": (
        "mine.send({}); 7",
        [("comm_msg", ""), ("execute_result", "7")],
    ),
    "comm from a task": (
        "print('a'); await asyncio.create_task(task()); print('b')",
        [("stdout", "a\nin the task\n"), ("comm_msg", ""), ("stdout", "b\n")],
    ),
    "open / print / close": (
        "c = comm.create_comm(target_name='order'); print('between'); c.close()",
        [("comm_open", ""), ("stdout", "between\n"), ("comm_close", "")],
    ),
}


@attrs.define
class Counts:
    """What went wrong, in how many trials of one kind of cell."""

    trials: int = 0
    out_of_order: int = 0
    after_idle: int = 0


def run(client: BlockingKernelClient, trials: int) -> dict[str, Counts]:
    """Run each kind of cell `trials` times, in turns, and return what went wrong by kind."""
    counts = {kind: Counts() for kind in CELLS}
    kind_of: dict[str, str] = {}
    client.execute(SETUP, reply=True, timeout=DEADLINE)
    for _ in range(trials):
        for kind, (code, expected) in CELLS.items():
            msg_id = client.execute(code)
            kind_of[msg_id] = kind
            steps, late = _watch(client, msg_id)
            counts[kind].trials += 1
            counts[kind].out_of_order += steps != expected
            for parent in late:
                if parent in kind_of:
                    counts[kind_of[parent]].after_idle += 1
            client.get_shell_msg(timeout=DEADLINE)
    return counts


def _watch(client: BlockingKernelClient, msg_id: str) -> tuple[list[Step], set[str]]:
    """Return what came with this parent up to its idle, and the other parents of which something came."""
    steps: list[Step] = []
    late: Counter[str] = Counter()
    while True:
        message = client.get_iopub_msg(timeout=DEADLINE)
        parent = message["parent_header"].get("msg_id", "")
        if parent != msg_id:
            late[parent] += 1
            continue
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return steps, set(late)
        _add(steps, message["msg_type"], message["content"])


def _add(steps: list[Step], msg_type: str, content: Mapping[str, Any]) -> None:
    if msg_type in ("status", "execute_input"):
        return
    text = ""
    if msg_type == "stream":
        msg_type, text = content["name"], content["text"]
        if steps and steps[-1][0] == msg_type:
            text = steps.pop()[1] + text
    elif msg_type == "execute_result":
        text = content["data"]["text/plain"]
    steps.append((msg_type, text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials and print the counts. Returns 1 when a trial went wrong, 2 for a kernel that is not there."""
    parser = argparse.ArgumentParser(prog="python -m tests.python.order", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000, help="how many cells altogether (default: 10000)")
    parser.add_argument("--kernel", default="kernelbridge", help="kernelbridge, or the name of a kernelspec")
    parser.add_argument("--transport", choices=("tcp", "ipc"), default="tcp", help="how to reach it (default: tcp)")
    options = parser.parse_args(arguments)
    command = list(PYTHON_KERNEL)
    if options.kernel != "kernelbridge":
        specs = KernelSpecManager().find_kernel_specs()
        if options.kernel not in specs:
            print(f"no kernel {options.kernel!r}; there are: kernelbridge, {', '.join(sorted(specs))}", file=sys.stderr)
            return 2
        command = KernelSpecManager().get_kernel_spec(options.kernel).argv[:]
        if command.pop() != "{connection_file}":
            print(f"kernel {options.kernel!r} does not take its connection file last", file=sys.stderr)
            return 2
        if command[0] in ("python", "python3"):
            # As jupyter_client does: the interpreter that runs this.
            command[0] = sys.executable
    with (
        tempfile.TemporaryDirectory() as folder,
        process(command, Path(folder), transport=options.transport) as (_, _, file),
        blocking_client(file) as client,
    ):
        counts = run(client, max(1, options.trials // len(CELLS)))
    print(f"{options.kernel:24} {'trials':>8} {'out of order':>14} {'after idle':>12}")
    for kind, count in counts.items():
        print(f"{kind:24} {count.trials:8,} {count.out_of_order:14,} {count.after_idle:12,}")
    return 1 if any(count.out_of_order or count.after_idle for count in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
