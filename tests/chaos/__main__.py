"""The command: `python -m tests.chaos [--seed N] [--only STEP] [--kills N] [--stops N] [--frontends N] [--jobs N]`.

A step that fails is named with its seed, and can be done again: its kernel and its moments are the same, as far as
the machine's pace lets them. The exit status is 1 when a step has failed or there was no time for all, 2 for a bad
option.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.chaos.kernels import KERNELS, installed
from tests.chaos.plan import Kind, Step, make_plan, named_step
from tests.chaos.workers import Outcome, perform_all

_COUNTS: Final[dict[Kind, int]] = {"kill": 500, "stop": 100, "frontend": 50}
_WHAT: Final[dict[Kind, str]] = {
    "kill": "kernels to kill",
    "stop": "kernels to stop",
    "frontend": "frontends to kill",
}
_PROGRESS_SECONDS: Final = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Perform what is asked for, and print how it goes and what came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kernels and frontends that are killed.")
    parser.add_argument("--seed", type=int, help="what all that is random is made from (default: another each time)")
    parser.add_argument(
        "--only", metavar="STEP", action="append", help="a step to do, such as kill-17; may be repeated"
    )
    for kind, what in _WHAT.items():
        parser.add_argument(
            f"--{kind}s", type=int, default=_COUNTS[kind], metavar="N", help=f"{what} (default: {_COUNTS[kind]})"
        )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many steps at once (default: 2)")
    parser.add_argument(
        "--minutes", type=float, default=60, metavar="N", help="no step is begun after so long (default: 60)"
    )
    parser.add_argument("--kernels", default=",".join(installed()), help="which there are (default: %(default)s)")
    options = parser.parse_args(arguments)
    if sys.platform != "linux":
        parser.error("processes are found in /proc: this is for Linux")
    kernels = options.kernels.split(",")
    if unknown := set(kernels) - set(KERNELS):
        parser.error(f"no kernel {min(unknown)!r}; there are {', '.join(KERNELS)}")
    counts: dict[Kind, int] = {"kill": options.kills, "stop": options.stops, "frontend": options.frontends}
    if options.jobs < 1 or min(counts.values()) < 0:
        parser.error("a number is too small")
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    try:
        steps = [named_step(seed, name, kernels) for name in options.only or ()] or make_plan(seed, counts, kernels)
    except ValueError as error:
        parser.error(str(error))

    print(f"seed {seed}, {len(steps)} steps, kernels: {', '.join(kernels)}", flush=True)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    told_at = began
    try:
        for outcome in perform_all(steps, options.jobs, began + 60 * options.minutes):
            outcomes.append(outcome)
            if outcome.failure:
                _tell_failure(outcome, seed, options.kernels)
            if time.monotonic() >= told_at + _PROGRESS_SECONDS or len(outcomes) == len(steps):
                told_at = time.monotonic()
                failed = sum(bool(one.failure) for one in outcomes)
                print(f"{len(outcomes)} of {len(steps)}, {failed} failed, {told_at - began:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    _summarize(steps, outcomes)
    return 0 if len(outcomes) == len(steps) and not any(outcome.failure for outcome in outcomes) else 1


def _tell_failure(outcome: Outcome, seed: int, kernels: str) -> None:
    print(f"FAILED {outcome.step}\n{outcome.failure.rstrip()}")
    print(f"again: python -m tests.chaos --seed {seed} --kernels {kernels} --only {outcome.step.name}", flush=True)


def _summarize(steps: Sequence[Step], outcomes: Sequence[Outcome]) -> None:
    done = Counter((outcome.step.kind, outcome.step.phase) for outcome in outcomes)
    failed = Counter((outcome.step.kind, outcome.step.phase) for outcome in outcomes if outcome.failure)
    for (kind, phase), count in sorted(done.items()):
        print(f"{kind:>8} while {phase:<12} {count:>4} done, {failed[kind, phase]} failed")
    seen_after = sorted(outcome.seen_after for outcome in outcomes if outcome.seen_after is not None)
    if seen_after:
        median, longest = 1000 * statistics.median(seen_after), 1000 * seen_after[-1]
        print(f"the death of an idle kernel was seen after {median:.1f} ms (median), {longest:.1f} ms (longest)")
    by_kernel = Counter(outcome.step.kernel for outcome in outcomes)
    print(", ".join(f"{name} {count}" for name, count in sorted(by_kernel.items())))
    if len(outcomes) < len(steps):
        print(f"{len(steps) - len(outcomes)} steps were not done")
    print(f"{len(outcomes)} steps, {sum(failed.values())} failed")


if __name__ == "__main__":
    sys.exit(main())
