"""The command: `python -m tests.benchmarks [--kernels NAMES] [--rows NAMES] [--rounds N] [--quick] [--json FILE]`.

Each row is run in rounds, and in each round by each kernel in turn, so that a slow minute of the machine hits
all alike. Only the ratios are worth comparing between machines.
"""

import argparse
import json
import platform
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .client import Failed
from .process import KERNELS, Subject, installed, subjects
from .report import Result, as_json, remarks, show, table
from .row import Row
from .rows import ROWS

PACKAGES = ("pyzmq", "ipykernel", "xeus-python", "jupyter_client", "ipython")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and print the table. The exit status is 2 for a bad option, else 0: a loss is a result."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="kernelbridge beside its peers.")
    parser.add_argument("--kernels", help=f"some of {','.join(KERNELS)}; all that are installed, if not given")
    parser.add_argument("--rows", help=f"names or parts of names of rows: {','.join(row.name for row in ROWS)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row (default: 5)")
    parser.add_argument(
        "--quick", action="store_true", help="one round with a tenth of the counts, to see that it runs"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples to a file")
    options = parser.parse_args(arguments)

    kernels = _names(options.kernels) or [kernel for kernel in KERNELS if installed(kernel)]
    unknown = [name for name in kernels if name not in KERNELS]
    if unknown:
        parser.error(f"no kernel {unknown[0]!r}; there are {', '.join(KERNELS)}")
    wanted = _names(options.rows)
    unknown = [part for part in wanted if not any(part in row.name for row in ROWS)]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(row.name for row in ROWS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    rows = [_scaled(row, options.quick) for row in ROWS if not wanted or any(part in row.name for part in wanted)]

    with subjects(kernels) as running:
        results = {row.name: measure(row, running, 1 if options.quick else options.rounds) for row in rows}
    lines = remarks(rows, results)
    if options.quick:
        lines.append("--quick: one round with a tenth of the counts, good for no comparison")
    lines.append("medians of one run; " + ", ".join(f"{name} {number}" for name, number in _versions().items()))
    show(table(rows, kernels, results), lines)
    if options.json:
        options.json.write_text(json.dumps({"versions": _versions(), "rows": as_json(results)}, indent=1))
    return 0


def measure(row: Row, running: Sequence[Subject], rounds: int) -> dict[str, Result]:
    """All rounds of a row. A kernel that fails is out of the row's further rounds, and replaced for the next row."""
    results = {subject.name: Result() for subject in running if subject.name in row.kernels}
    for round_ in range(min(rounds, row.rounds)):
        for subject in running:
            result = results.get(subject.name)
            if result is None or result.failed:
                continue
            print(f"{row.name}: round {round_ + 1}, {subject.name}", file=sys.stderr)
            try:
                trial = row.trial(subject, row.counts.get(subject.name, row.count))
            except Failed as failure:
                result.failed = str(failure)
            except (RuntimeError, ValueError, LookupError, OSError) as error:
                # A peer that sends what cannot be read, or a client that gives up, costs its figure and not the run.
                result.failed = f"{type(error).__name__}: {error}"
            else:
                result.samples += trial.samples
                result.notes += [trial.note] if trial.note else []
            if result.failed:
                subject.stop()
    return results


def _scaled(row: Row, quick: bool) -> Row:
    if not quick:
        return row
    counts = {kernel: max(1, count // 10) for kernel, count in row.counts.items()}
    return replace(row, count=max(1, row.count // 10), counts=counts)


def _names(option: str | None) -> list[str]:
    return [name.strip() for name in (option or "").split(",") if name.strip()]


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


if __name__ == "__main__":
    # By default SIGTERM would leave the kernels behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
