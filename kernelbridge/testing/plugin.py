"""The pytest plugin of the test kit: fixtures, and options for a suite of protocol tests.

Loaded by pytest wherever the package is installed. So nothing of the kit is imported before a fixture is used.

==========================  ===========================================================================================
fixtures
==========================  ===========================================================================================
``kernel``                  what is tested, a `Target`: the ini option ``kernelbridge_kernel``, by default the kernel
                            named python3. A suite overrides it, for instance with its Handler
``protocol_client``         a `ProtocolClient` of it, for the time of the test
``scripted_kernel``         makes a `ScriptedKernel` of the steps and options that it is called with, and ends it
                            with the test; may be called again
``virtual_clock``           a `VirtualClock`, on which the other fixtures of a test that uses it run
``transcript``              the `StoredTranscripts` of the test: ``transcript.matches("name")`` compares what the client
                            has sent and received with ``transcripts/name.jsonl`` beside the test's file
==========================  ===========================================================================================

==========================  ===========================================================================================
options
==========================  ===========================================================================================
``--kernel NAME``           run the tests that use ``protocol_client`` against this kernel; may be given again
``--contract LINE``         run only the tests that are marked with ``@pytest.mark.contract("LINE")``
``--contract-report``       list the contract lines with the outcomes of their tests
``--update-transcripts``    store the transcripts that differ, in place of comparing with them
``--transcripts DIR``       write the transcript of each test that fails to this folder
==========================  ===========================================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Unpack

import pytest

if TYPE_CHECKING:
    from kernelbridge.bridges.clock import Clock
    from kernelbridge.testing.client import ProtocolClient
    from kernelbridge.testing.clock import VirtualClock
    from kernelbridge.testing.manual import KernelOptions
    from kernelbridge.testing.scripted import ScriptedKernel
    from kernelbridge.testing.steps import Always, Scriptable
    from kernelbridge.testing.targets import Target
    from kernelbridge.testing.transcripts import StoredTranscripts

_DEFAULT_KERNEL: Final = "python3"
_CONTRACT: Final = "contract"
_LONGEST_SECTION: Final = 100
"""How many messages of a transcript are shown with a failure, the last ones."""

_ENDS: Final = pytest.StashKey["list[ProtocolClient | ScriptedKernel]"]()
_FAILED: Final = pytest.StashKey[bool]()


def __tracebackhide__(failure: pytest.ExceptionInfo[BaseException]) -> bool:
    """Hide the fixtures where a report tells all: what `hides_kit` does, which is imported with the kit."""
    from kernelbridge.testing.report import hides_kit

    return hides_kit(failure)


class _TestFailedError(Exception):
    """Ends the block of a client or a kernel whose test has failed, so that it does not also fail for what is left."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kernelbridge", "protocol tests of Jupyter kernels (kernelbridge)")
    group.addoption(
        "--kernel",
        action="append",
        default=[],
        metavar="NAME",
        help="run the tests that use protocol_client against this kernel, a name or a connection file; may be repeated",
    )
    group.addoption(
        "--contract",
        action="append",
        default=[],
        metavar="LINE",
        help="run only the tests that are marked with this contract line; may be repeated",
    )
    group.addoption(
        "--contract-report", action="store_true", help="list the contract lines with the outcomes of their tests"
    )
    group.addoption(
        "--update-transcripts", action="store_true", help="store the transcripts that differ from the stored ones"
    )
    group.addoption("--transcripts", metavar="DIR", help="write the transcript of each test that fails to this folder")
    parser.addini("kernelbridge_kernel", "the kernel that protocol_client is given", default=_DEFAULT_KERNEL)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{_CONTRACT}(*lines): the lines of a contract that the test holds")
    folder = config.getoption("--transcripts")
    if folder is not None:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(
                f"--transcripts {folder}: is no folder that can be made: {error.strerror}"
            ) from None


# Fixtures


@pytest.fixture
def kernel(pytestconfig: pytest.Config) -> Target:
    """What protocol_client is given: a kernel's name, unless a suite says otherwise."""
    return str(pytestconfig.getini("kernelbridge_kernel"))


@pytest.fixture
def protocol_client(request: pytest.FixtureRequest, kernel: Target) -> Iterator[ProtocolClient]:
    """A strict client of the kernel: see kernelbridge.testing.ProtocolClient."""
    from kernelbridge.frontend.errors import BridgeError
    from kernelbridge.testing.client import ProtocolClient
    from kernelbridge.wire.errors import WireError

    client = ProtocolClient(kernel, clock=_clock(request))
    request.node.stash[_ENDS].append(client)
    try:
        client.__enter__()
    except (BridgeError, WireError) as error:
        # A kernel that is not installed, or does not start, and a connection file that is none.
        pytest.fail(str(error), pytrace=False)
    yield client
    failure = _TestFailedError() if request.node.stash[_FAILED] else None
    client.__exit__(None if failure is None else _TestFailedError, failure, None)


class MakeScriptedKernel(Protocol):
    """What the fixture `scripted_kernel` gives."""

    def __call__(self, *script: Scriptable | Always, **options: Unpack[KernelOptions]) -> ScriptedKernel: ...


@pytest.fixture
def scripted_kernel(request: pytest.FixtureRequest) -> Iterator[MakeScriptedKernel]:
    """Makes kernels that play scripts: see kernelbridge.testing.ScriptedKernel."""
    from kernelbridge.testing.scripted import ScriptedKernel

    with suppress(_TestFailedError), ExitStack() as stack:

        def make(*script: Scriptable | Always, **options: Unpack[KernelOptions]) -> ScriptedKernel:
            options.setdefault("clock", _clock(request))
            kernel = ScriptedKernel(*script, **options)
            request.node.stash[_ENDS].append(kernel)
            return stack.enter_context(kernel)

        yield make
        if request.node.stash[_FAILED]:
            raise _TestFailedError


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that the test moves: see kernelbridge.testing.VirtualClock."""
    from kernelbridge.testing.clock import VirtualClock

    return VirtualClock()


def _clock(request: pytest.FixtureRequest) -> Clock | None:
    """Return the clock on which a test runs, if that is not the machine's."""
    clock: Clock | None = None
    if "virtual_clock" in request.fixturenames:
        clock = request.getfixturevalue("virtual_clock")
    return clock


@pytest.fixture
def transcript(request: pytest.FixtureRequest) -> StoredTranscripts:
    """The transcripts that are stored beside the test: see kernelbridge.testing.StoredTranscripts."""
    from kernelbridge.testing.transcripts import StoredTranscripts

    folder = request.path.parent / "transcripts"
    update = bool(request.config.getoption("--update-transcripts"))
    return StoredTranscripts(folder, lambda: request.getfixturevalue("protocol_client"), update=update)


# Which tests run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.config.getoption("--kernel")
    if names and {"kernel", "protocol_client"} <= set(metafunc.fixturenames):
        metafunc.parametrize("kernel", names, ids=names)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # Kept in the report of the test, also across processes, and written to JUnit XML.
        item.user_properties.extend((_CONTRACT, line) for line in _lines(item))
    wanted = set(config.getoption("--contract"))
    if wanted:
        left_out = [item for item in items if not wanted.intersection(_lines(item))]
        items[:] = [item for item in items if wanted.intersection(_lines(item))]
        config.hook.pytest_deselected(items=left_out)


def _lines(item: pytest.Item) -> list[str]:
    return [str(line) for marker in item.iter_markers(_CONTRACT) for line in marker.args]


# What is told


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_ENDS] = []
    item.stash[_FAILED] = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        failure = call.excinfo.value if call.excinfo else None
        ends = item.stash[_ENDS]
        for number, end in enumerate(ends, 1):
            name = item.name if number == 1 else f"{item.name} ({number})"
            report.sections.append((f"transcript of {name}", _attach(item, end, number, failure)))
    return report


def _attach(item: pytest.Item, end: ProtocolClient | ScriptedKernel, number: int, failure: BaseException | None) -> str:
    """Return the transcript of a test that failed, as far as it is to be shown, and write it where that is wanted."""
    from kernelbridge.testing.report import ProtocolFailure
    from kernelbridge.testing.transcripts import Transcript

    transcript = Transcript.of(end)
    # Whose report has a time line already needs no other.
    lines = [] if isinstance(failure, ProtocolFailure) and number == 1 else transcript.lines()
    shown = lines[-_LONGEST_SECTION:]
    if len(shown) < len(lines):
        shown.insert(0, f"  ... {len(lines) - len(shown)} before")
    folder = item.config.getoption("--transcripts")
    if folder is None:
        return "\n".join([*shown, "(--transcripts DIR writes all that was said to a file)"])
    # A file's name may have 255 bytes.
    name = re.sub(r"[^0-9A-Za-z_.-]+", "-", item.nodeid)[-200:]
    file = Path(folder) / f"{name}{'' if number == 1 else f'-{number}'}.jsonl"
    transcript.save(file)
    return "\n".join([*shown, f"(all that was said is in {file})"])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--contract-report"):
        return
    # The worst of what became of each test, and how many tests of a line had it.
    outcomes: dict[str, dict[str, str]] = {}
    for outcome in ("passed", "skipped", "xfailed", "xpassed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            for name, line in report.user_properties:
                if name == _CONTRACT:
                    outcomes.setdefault(line, {})[report.nodeid] = outcome
    terminalreporter.section("contract")
    for line in sorted(outcomes, key=_natural):
        counts = Counter(outcomes[line].values())
        terminalreporter.write_line(f"{line}: {', '.join(f'{count} {name}' for name, count in counts.items())}")
        for nodeid, outcome in sorted(outcomes[line].items()):
            terminalreporter.write_line(f"    {outcome:<7} {nodeid}")


def _natural(line: str) -> list[tuple[str, int]]:
    """Return what a line is sorted by: K2 comes before K10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", line)]
