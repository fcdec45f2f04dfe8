"""The pytest plugin, in suites of its own."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from kernelbridge.testing import Transcript
from kernelbridge.wire.connection import write_connection_file
from tests.support.kernels import ROOT, Cells, serving

pytest_plugins = ["pytester"]

# By its module and not by its entry point, so that it is this copy, whatever is installed.
PLUGIN = ("-p", "no:kernelbridge", "-p", "kernelbridge.testing.plugin")
# Of those that are installed besides, hypothesis takes a second to load.
OTHERS = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")

CONFTEST = """
import pytest
from kernelbridge.kernel.handler import Handler
from tests.support.kernels import Cells

def hi(kernel):
    kernel.write("stdout", "hi\\n")

def stamp(kernel):
    kernel.write("stdout", f"<it at {hex(id(kernel))}>")

@pytest.fixture
def kernel():
    return Cells(hi=hi, stamp=stamp)
"""

HEAD = """
import pytest
from kernelbridge.testing import *

def run(client, code, text):
    request = client.execute(code)
    client.iopub.expect(busy(), execute_input(), stdout(text), idle(), parent=request)
    client.shell.expect(execute_reply())
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite that overrides the kernel, as one of a kernel's author does."""
    # Where CI runs, pytest repeats each report in its summary.
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeconftest(CONFTEST)
    return pytester


def run(suite: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    suite.makepyfile(HEAD + tests)
    return suite.runpytest_inprocess(*PLUGIN, *OTHERS, *options)


# Its fixtures


def test_a_suite_gives_its_kernel_and_gets_a_client_of_it(suite: pytest.Pytester) -> None:
    ran = run(suite, "def test_hi(protocol_client): run(protocol_client, 'hi', 'hi\\n')")
    ran.assert_outcomes(passed=1)


def test_what_nobody_has_read_is_an_error(suite: pytest.Pytester) -> None:
    ran = run(suite, "def test_hi(protocol_client): protocol_client.execute('hi')")
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.fnmatch_lines("*ProtocolFailure: * not read: *")


def test_a_test_that_fails_does_not_fail_again_for_what_it_has_not_read(suite: pytest.Pytester) -> None:
    ran = run(suite, "def test_hi(protocol_client): protocol_client.execute('hi'); assert 1 == 2")
    ran.assert_outcomes(failed=1)


def test_a_failure_shows_the_lines_of_the_test_and_the_report_and_not_those_of_the_kit(suite: pytest.Pytester) -> None:
    tests = """
def test_other_text(protocol_client): run(protocol_client, "hi", "ho")
def test_left(protocol_client): protocol_client.execute("hi")
"""
    ran = run(suite, tests)
    ran.assert_outcomes(passed=1, failed=1, errors=1)
    ran.stdout.fnmatch_lines([">*client.iopub.expect(*", "E *ProtocolFailure: iopub: message 3 of 4 is not *"])
    ran.stdout.no_fnmatch_line("*kernelbridge/testing/*")
    run(suite, tests, "--full-trace").stdout.fnmatch_lines("*kernelbridge/testing/*")


def test_without_a_kernel_of_its_own_a_suite_names_one_in_its_settings(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    with serving(Cells(hi=lambda kernel: kernel.write("stdout", "hi\n"))) as served:
        write_connection_file(tmp_path / "kernel.json", served.connection)
        pytester.makeini(f"[pytest]\nkernelbridge_kernel = {tmp_path / 'kernel.json'}")
        ran = run(pytester, "def test_hi(protocol_client): run(protocol_client, 'hi', 'hi\\n')")
    ran.assert_outcomes(passed=1)


SCRIPTED = """
def test_bridge(scripted_kernel):
    from kernelbridge import connect
    kernel = scripted_kernel(on(execute_request("a"), handle(stdout("x"))))
    with connect(kernel.connection) as bridge:
        if {asks}:
            bridge.execute("a").result(60)
        assert {passes}
"""


def test_a_suite_makes_kernels_of_scripts(suite: pytest.Pytester) -> None:
    run(suite, SCRIPTED.format(asks=True, passes=True)).assert_outcomes(passed=1)


def test_a_script_that_was_not_played_is_an_error_unless_the_test_has_failed(suite: pytest.Pytester) -> None:
    ran = run(suite, SCRIPTED.format(asks=False, passes=True))
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.fnmatch_lines("*ProtocolFailure: shell: what was expected did not come*")
    run(suite, SCRIPTED.format(asks=False, passes=False)).assert_outcomes(failed=1)


def test_a_test_may_make_several_kernels_and_a_failure_shows_what_they_have_said(pytester: pytest.Pytester) -> None:
    tests = """
def test_hi(scripted_kernel):
    for code in ("a", "b"):
        answer = handle(message("execute_input"), stdout("hi"))
        kernel = scripted_kernel(on(execute_request(code), answer), transport="tcp")
        with ProtocolClient(kernel.connection) as client: run(client, code, "hi")

def test_failing(scripted_kernel):
    kernel = scripted_kernel(on(execute_request("a"), busy(), on(execute_request("b"))))
    client = ProtocolClient(kernel.connection)
    with client:
        client.execute("a")
        client.iopub.expect(busy())
        assert False
"""
    ran = run(pytester, tests)
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["*- transcript of test_failing -*", "*-> shell   r*   execute_request 'a'"])


def test_a_test_moves_the_clock_of_its_client_and_its_kernels(suite: pytest.Pytester) -> None:
    tests = """
def test_time(protocol_client, scripted_kernel, virtual_clock):
    request = protocol_client.execute("hi")
    protocol_client.iopub.expect(busy(), execute_input(), stdout("hi\\n"), idle())
    protocol_client.shell.expect(execute_reply())
    assert request.header.date.startswith("2000-01-01T00:00:00")
    virtual_clock.advance(60)
    request = protocol_client.execute("hi")
    assert request.header.date.startswith("2000-01-01T00:01:00")
    busy_, *_ = protocol_client.iopub.expect(busy(), execute_input(), stdout("hi\\n"), idle())
    protocol_client.shell.expect(execute_reply())
    assert busy_.header.date.startswith("2000-01-01T00:01:00")
    with ProtocolClient(scripted_kernel(on(execute_request("a"), handle())).connection) as client:
        client.execute("a")
        began, _ = client.iopub.expect(busy(), idle())
        client.shell.expect(execute_reply())
    assert began.header.date.startswith("2000-01-01T00:01:00")
"""
    run(suite, tests).assert_outcomes(passed=1)


# Other kernels


def test_a_suite_is_run_against_each_of_the_kernels_that_are_named(suite: pytest.Pytester, tmp_path: Path) -> None:
    def kernel(text: str) -> Cells:
        return Cells(hi=lambda kernel: kernel.write("stdout", text))

    with serving(kernel("hi\n")) as good, serving(kernel("ho\n")) as bad:
        write_connection_file(tmp_path / "good.json", good.connection)
        write_connection_file(tmp_path / "bad.json", bad.connection)
        names = [str(tmp_path / "good.json"), str(tmp_path / "bad.json")]
        tests = """
def test_hi(protocol_client): run(protocol_client, 'hi', 'hi\\n')
def test_without_a_client(): pass
"""
        ran = run(suite, tests, "-v", "--kernel", names[0], "--kernel", names[1])
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines([f"*::test_hi?{names[0]}? PASSED*", f"*::test_hi?{names[1]}? FAILED*"])


def test_a_kernel_that_does_not_exist_is_an_error_of_one_line(suite: pytest.Pytester) -> None:
    ran = run(suite, "def test_hi(protocol_client): pass", "--kernel", "no-such-kernel")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines("no kernel named 'no-such-kernel'; there are *")
    ran.stdout.no_fnmatch_line("*plugin.py*")


# Contract lines

CONTRACT = """
@pytest.mark.contract("K2", "F1")
def test_one(): pass

@pytest.mark.contract("K10")
def test_two(): assert False

@pytest.mark.contract("K2")
@pytest.mark.parametrize("n", [1, 2])
def test_three(n): pytest.skip()

def test_four(): pass
"""


def test_the_tests_of_a_contract_line_can_be_run_alone(suite: pytest.Pytester) -> None:
    run(suite, CONTRACT, "--strict-markers", "--contract", "K2").assert_outcomes(passed=1, skipped=2, deselected=2)
    run(suite, CONTRACT, "--contract", "F1", "--contract", "K10").assert_outcomes(passed=1, failed=1, deselected=3)


def test_the_lines_are_listed_with_what_became_of_their_tests(suite: pytest.Pytester) -> None:
    ran = run(suite, CONTRACT, "--contract-report")
    start = next(place for place, line in enumerate(ran.outlines) if line.strip("= ") == "contract")
    listed = [line.split("::") for line in ran.outlines[start + 1 : start + 8]]
    assert [line[0].split()[0] if len(line) > 1 else line[0] for line in listed] == [
        "F1: 1 passed",
        "passed",
        "K2: 1 passed, 2 skipped",
        "passed",
        "skipped",
        "skipped",
        "K10: 1 failed",
    ]


def test_the_lines_come_through_other_processes_and_into_junit_xml(suite: pytest.Pytester) -> None:
    found = ("-o", f"pythonpath={ROOT}")
    ran = run(suite, CONTRACT, "--contract-report", "-n", "1", "--junit-xml", "report.xml", *found)
    ran.stdout.fnmatch_lines(["K2: 1 passed, 2 skipped"])
    assert '<property name="contract" value="K10"' in (suite.path / "report.xml").read_text()


# Transcripts


def test_a_failure_shows_the_transcript(suite: pytest.Pytester) -> None:
    ran = run(suite, "def test_hi(protocol_client): run(protocol_client, 'hi', 'hi\\n'); assert False")
    ran.stdout.fnmatch_lines(
        [
            "*- transcript of test_hi -*",
            "* -> shell   r1   execute_request 'hi'",
            "* <- iopub   r1   stdout 'hi?n'",
            "(--transcripts DIR writes all that was said to a file)",
        ]
    )


def test_a_report_that_has_a_time_line_gets_no_other(suite: pytest.Pytester) -> None:
    ran = run(suite, "def test_hi(protocol_client): run(protocol_client, 'hi', 'ho\\n')")
    assert sum("execute_request 'hi'" in line for line in ran.outlines) == 1


def test_of_a_long_transcript_the_end_is_shown(suite: pytest.Pytester) -> None:
    tests = """
def test_hi(protocol_client):
    for _ in range(30): run(protocol_client, 'hi', 'hi\\n')
    assert False
"""
    ran = run(suite, tests)
    ran.stdout.fnmatch_lines("*... 80 before")


def test_the_transcripts_of_failures_are_written_to_files(suite: pytest.Pytester) -> None:
    tests = """
def test_good(protocol_client): run(protocol_client, 'hi', 'hi\\n')
def test_bad(protocol_client): run(protocol_client, 'hi', 'ho\\n')
def test_unread(protocol_client): protocol_client.execute('hi')
def test_other(): assert False
"""
    suite.makeini("[pytest]\njunit_family = xunit2")
    ran = run(suite, tests, "--transcripts", "failed")
    written = sorted(path.name for path in (suite.path / "failed").iterdir())
    module = "test_the_transcripts_of_failures_are_written_to_files.py"
    assert written == [f"{module}-test_bad.jsonl", f"{module}-test_unread.jsonl"]
    assert Transcript.load(suite.path / "failed" / written[0]).lines()[0].endswith("execute_request 'hi'")
    ran.stdout.fnmatch_lines(f"(all that was said is in *{written[0]})")


def test_a_folder_that_cannot_be_made_is_told_before_the_tests(suite: pytest.Pytester) -> None:
    (suite.path / "file").write_text("")
    ran = run(suite, "def test_hi(): pass", "--transcripts", "file/folder")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines("ERROR: --transcripts file/folder: is no folder that can be made: Not a directory")


STORED = """
def test_hi(protocol_client, transcript):
    run(protocol_client, CODE, ANY)
    transcript.matches("hi")
"""


def test_a_transcript_that_is_not_stored_fails_with_the_way_out(suite: pytest.Pytester) -> None:
    ran = run(suite, STORED.replace("CODE", "'hi'"))
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines("*TranscriptError: *hi.jsonl: is not there: run pytest --update-transcripts to store it")


def test_a_transcript_is_stored_and_then_compared_with(suite: pytest.Pytester) -> None:
    run(suite, STORED.replace("CODE", "'stamp'"), "--update-transcripts").assert_outcomes(passed=1)
    stored = suite.path / "transcripts" / "hi.jsonl"
    written = stored.read_bytes()
    run(suite, STORED.replace("CODE", "'stamp'")).assert_outcomes(passed=1)
    # What is the same is not written again.
    run(suite, STORED.replace("CODE", "'stamp'"), "--update-transcripts").assert_outcomes(passed=1)
    assert stored.read_bytes() == written

    ran = run(suite, STORED.replace("CODE", "'hi'"))
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines(["*this session is not *hi.jsonl: sent on shell", "*content.code is 'hi', not 'stamp'"])

    stored.write_text("rubbish")
    run(suite, STORED.replace("CODE", "'hi'")).stdout.fnmatch_lines("*TranscriptError: *hi.jsonl, line 1: *")
    run(suite, STORED.replace("CODE", "'hi'"), "--update-transcripts").assert_outcomes(passed=1)
    run(suite, STORED.replace("CODE", "'hi'")).assert_outcomes(passed=1)


def test_a_stored_transcript_is_named_without_a_folder(suite: pytest.Pytester) -> None:
    tests = "def test_hi(transcript): transcript.matches('../hi', Transcript([]))"
    run(suite, tests).stdout.fnmatch_lines("*ValueError: the name of a stored transcript is that of a file*'../hi'")


# Those who do not use it


def test_nothing_of_the_kit_is_loaded_where_nobody_uses_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = """
import sys

def test_nothing_is_loaded():
    heavy = {"zmq", "janus", "attr", "attrs", "cattrs", "orjson", "jupyter_client", "IPython"}
    assert not heavy & set(sys.modules)
    own = {name for name in sys.modules if name.startswith("kernelbridge")}
    assert own == {"kernelbridge", "kernelbridge.version", "kernelbridge.testing", "kernelbridge.testing.plugin"}
"""
    pytester.makepyfile(tests)
    # Other plugins load what they need: attrs, for one.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.runpytest_subprocess("-p", "kernelbridge.testing.plugin").assert_outcomes(passed=1)


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["options.entry_points"]["pytest11"].split() == ["kernelbridge", "=", "kernelbridge.testing.plugin"]
