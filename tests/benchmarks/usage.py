"""What a process uses, as the system counts it: memory, processor time, wake-ups. Linux only."""

import time
from pathlib import Path


def resident(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS") * 1024


def peak(pid: int) -> int:
    """The most resident memory that a process has ever had, in bytes."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM") * 1024


def processor_seconds(pid: int) -> float:
    """How long the threads of a process, living and ended, have run. To the nanosecond: /proc has hundredths of it."""
    # What C's clock_getcpuclockid makes of a process id, which Python has for threads only.
    return time.clock_gettime(~pid << 3 | 2)


def wake_ups(pid: int) -> int:
    """How often the threads of a process have gone to sleep, and so have woken."""
    return sum(_field(status, "voluntary_ctxt_switches") for status in Path(f"/proc/{pid}/task").glob("*/status"))


def _field(status: Path, name: str) -> int:
    for line in status.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise LookupError(f"no {name} in {status}")
