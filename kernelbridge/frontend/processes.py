"""What the system tells of processes that are no children of this one, or that have stopped. Linux alone does (/proc).

Elsewhere nothing is seen: a hung kernel is then known by its silence alone, and one whose frontend has crashed has to
end itself, as the Python kernels do.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import attrs

State = Literal["runs", "stopped", "traced"]

_STATES: dict[bytes, State] = {b"T": "stopped", b"t": "traced"}


@attrs.frozen
class Seen:
    """A process: its id, its process group, and whether it is stopped by a signal, or held by a debugger."""

    pid: int
    group: int
    state: State


def seen() -> Iterator[Seen]:
    """Return all processes, but those that have ended and are not reaped yet."""
    if sys.platform != "linux":
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_bytes()
        except OSError:
            continue
        # pid (name) state ppid group ...: and a name may contain anything.
        state, _, group = stat.rpartition(b")")[2].split()[:3]
        if state not in b"ZX":
            yield Seen(int(entry.name), int(group), _STATES.get(state, "runs"))


def state_of_group(group: int) -> State | None:
    """Return ``stopped`` or ``traced`` if any process of the group is, else ``runs``; None if there is none to see."""
    states: list[State] = [process.state for process in seen() if process.group == group]
    worst: tuple[State, ...] = ("stopped", "traced", "runs")
    return min(states, key=worst.index, default=None)


def kill_marked(mark: str, group: int | None = None) -> None:
    """Kill the processes that were started with `mark`, NAME=VALUE, in their environment: those of `group`, or all."""
    if sys.platform != "linux":
        return
    for process in seen():
        if group is not None and process.group != group:
            continue
        try:
            # Held before it is looked at, so that its number cannot become another's meanwhile.
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            continue
        try:
            if mark.encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except OSError:
            # Another user's, or it has ended.
            continue
        finally:
            os.close(descriptor)


def origin(pid: int) -> tuple[int | None, float | None]:
    """Return the parent of a process and its age in seconds, None where that cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return None, None
    # The third field of the line is the first one here; the 22nd is the start, in ticks since the system's.
    return int(fields[1]), max(0.0, uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
