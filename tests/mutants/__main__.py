"""The command: `python -m tests.mutants [NAME...] [--list] [--jobs N] [--named] [--write]`.

Each fault is put into a private copy of the tree, and the tests that should catch it are run there; when they do not,
the rest of the suite that is not slow is. The exit status is 1 when a fault survives or does not apply any more, 2 for
a bad option. To begin with, all the tests that are to catch something are run once on a copy without a fault: what
fails there proves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.mutants.fault import DoesNotApplyError, Fault
from tests.mutants.faults import FAULTS
from tests.mutants.table import TABLE, Verdict, heading, keep, row
from tests.mutants.trial import Outcome, Patience, copy_work_tree, faulty_copy, private_folder, run_tests

NAMED = Patience(test=30, run=150)
"""With the tests that a fault names: many times as long as they take, and less than one of them waits in vain."""

REST = Patience(test=120, run=1800)

# The mutants' own tests say that a fault's text is there, and so fail in every copy.
_NOT_THESE = ("--ignore=tests/mutants",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what is asked for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="faults to try, or parts of their names; by default all"
    )
    parser.add_argument("--list", action="store_true", help="name the faults, and try none")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many to try at once (default: 1)")
    parser.add_argument("--named", action="store_true", help="run no other tests than those that a fault names")
    parser.add_argument("--write", action="store_true", help=f"keep the verdicts in {TABLE.name}")
    options = parser.parse_args(arguments)
    unknown = [part for part in options.names if not any(part in fault.name for fault in FAULTS)]
    if unknown:
        parser.error(f"no fault {unknown[0]!r}; --list names them")
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    faults = [fault for fault in FAULTS if not options.names or any(part in fault.name for part in options.names)]
    if options.list:
        for fault in faults:
            print(f"{heading(fault)} {fault.file}")
        return 0
    # By default SIGTERM would leave the tests running; asyncio turns SIGINT into the end of all that runs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        verdicts = asyncio.run(_try_all(faults, options.jobs, options.named))
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    if verdicts is None:
        return 1
    caught = sum(verdict.caught for verdict in verdicts)
    print(f"{caught} of {len(verdicts)} faults caught")
    if options.write:
        keep(verdicts, FAULTS)
    return 0 if caught == len(verdicts) else 1


async def _try_all(faults: Sequence[Fault], jobs: int, named_only: bool) -> list[Verdict] | None:
    """Return a verdict on each fault, or None when the tests fail without one."""
    turns = asyncio.Semaphore(jobs)

    async def one(fault: Fault) -> Verdict:
        async with turns:
            verdict = await _try(fault, tree, named_only)
        print(row(verdict), flush=True)
        return verdict

    with private_folder() as tree:
        copy_work_tree(tree)
        if not await _pass_without_a_fault(faults, tree):
            return None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(fault)) for fault in faults]
    return [task.result() for task in tasks]


async def _pass_without_a_fault(faults: Sequence[Fault], tree: Path) -> bool:
    """Return whether the tests pass that are to catch the faults."""
    named = sorted({test for fault in faults for test in fault.tests})
    # A file stands for its tests: none is run twice.
    once = [test for test in named if "::" not in test or test.partition("::")[0] not in named]
    with faulty_copy(tree, None) as folder:
        outcome = await run_tests(folder, [*once, "-m", "not slow"], REST)
    if not outcome.passed:
        print(f"without any fault: {outcome.failed or outcome.broken} {outcome.said}")
        return False
    print(f"{'(none)':48} {'':17} {outcome.seconds:6.1f} s  the tests pass without a fault", flush=True)
    return True


async def _try(fault: Fault, tree: Path, named_only: bool) -> Verdict:
    try:
        with faulty_copy(tree, fault) as folder:
            outcome = await run_tests(folder, [*fault.tests, "-m", "not slow"], NAMED)
            if outcome.passed and not named_only:
                first = outcome.seconds
                others = ["-m", "not slow", *_NOT_THESE, *(f"--deselect={test}" for test in fault.tests)]
                outcome = await run_tests(folder, others, REST)
                outcome = attrs.evolve(outcome, seconds=first + outcome.seconds)
    except DoesNotApplyError as problem:
        return Verdict(fault, False, f"it does not apply: {problem}")
    return _verdict(fault, outcome)


def _verdict(fault: Fault, outcome: Outcome) -> Verdict:
    if outcome.broken:
        return Verdict(fault, False, outcome.broken, outcome.seconds)
    if outcome.passed:
        return Verdict(fault, False, "all tests pass", outcome.seconds)
    by = f"{outcome.failed or 'the start of the tests'}{' (hangs)' if outcome.hung else ''}"
    return Verdict(fault, True, by, outcome.seconds, outcome.said)


if __name__ == "__main__":
    sys.exit(main())
