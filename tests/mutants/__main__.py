"""The command: `python -m tests.mutants [NAME...] [--list] [--jobs N] [--write]`.

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
from tests.mutants.trial import Outcome, copy_work_tree, faulty_copy, private_folder, run_tests

TABLE = Path(__file__).with_name("TABLE.md")

NAMED_SECONDS = 150.0
"""After which the tests of one fault are taken to hang."""

REST_SECONDS = 1200.0

# The mutants' own tests say that a fault's text is there, and so fail in every copy.
_NOT_THESE = ("--ignore=tests/mutants",)


@attrs.frozen
class Verdict:
    """What became of a fault: `by` is what caught it, or why it was not caught."""

    fault: Fault
    caught: bool
    by: str
    seconds: float = 0.0
    said: str = ""

    def row(self) -> str:
        mark = "" if self.caught else "NOT CAUGHT: "
        return f"{self.fault.name:44} {self.fault.breaks:17.17} {self.seconds:6.1f} s  {mark}{self.by}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what is asked for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="faults to try, or parts of their names; by default all"
    )
    parser.add_argument("--list", action="store_true", help="name the faults, and try none")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many to try at once (default: 1)")
    parser.add_argument("--named", action="store_true", help="run no other tests than those that a fault names")
    parser.add_argument("--write", action="store_true", help=f"keep the table in {TABLE.name}; for a run of all faults")
    options = parser.parse_args(arguments)
    unknown = [part for part in options.names if not any(part in fault.name for fault in FAULTS)]
    if unknown:
        parser.error(f"no fault {unknown[0]!r}; --list names them")
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if options.write and options.names:
        parser.error("--write keeps the table of all faults: name none")
    faults = [fault for fault in FAULTS if not options.names or any(part in fault.name for part in options.names)]
    if options.list:
        for fault in faults:
            print(f"{fault.name:44} {fault.breaks:17.17} {fault.file}")
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
        TABLE.write_text(_markdown(verdicts), encoding="utf-8")
    return 0 if caught == len(verdicts) else 1


async def _try_all(faults: Sequence[Fault], jobs: int, named_only: bool) -> list[Verdict] | None:
    """Return a verdict on each fault, or None when the tests fail without one."""
    turns = asyncio.Semaphore(jobs)

    async def one(fault: Fault) -> Verdict:
        async with turns:
            verdict = await _try(fault, tree, named_only)
        print(verdict.row(), flush=True)
        if verdict.said:
            print(f"{'':44} {verdict.said[:200]}", flush=True)
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
        outcome = await run_tests(folder, [*once, "-m", "not slow"], REST_SECONDS)
    if not outcome.passed:
        print(f"without any fault: {outcome.failed or outcome.broken} {outcome.said}")
        return False
    print(f"{'(none)':44} {'':17} {outcome.seconds:6.1f} s  the tests pass without a fault", flush=True)
    return True


async def _try(fault: Fault, tree: Path, named_only: bool) -> Verdict:
    try:
        with faulty_copy(tree, fault) as folder:
            outcome = await run_tests(folder, [*fault.tests, "-m", "not slow"], NAMED_SECONDS)
            if outcome.passed and not named_only:
                first = outcome.seconds
                others = ["-m", "not slow", *_NOT_THESE, *(f"--deselect={test}" for test in fault.tests)]
                outcome = await run_tests(folder, others, REST_SECONDS)
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


def _markdown(verdicts: Sequence[Verdict]) -> str:
    lines = [
        "# The faults, and what caught them",
        "",
        "Written by `python -m tests.mutants --write`. A fault is caught by the first test that fails; the seconds are",
        "those until then, the start of pytest included. (hangs): the test did not end by itself.",
        "",
        "| fault | in | breaks | caught by | s |",
        "|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        fault, mark = verdict.fault, "" if verdict.caught else "**not caught**: "
        file = fault.file.removeprefix("kernelbridge/")
        by = verdict.by.replace("|", "\\|")
        lines.append(f"| {fault.name} | {file} | {fault.breaks} | {mark}{by} | {verdict.seconds:.0f} |")
    caught = sum(verdict.caught for verdict in verdicts)
    return "\n".join([*lines, "", f"{caught} of {len(verdicts)} caught.", ""])


if __name__ == "__main__":
    sys.exit(main())
