"""K10: what C code, child processes and forks write to the file descriptors 1 and 2 shows with the cell, in order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kernelbridge.python.descriptors import CHECKED_WRITES, PIPE_BYTES
from kernelbridge.testing import (
    DEADLINE,
    Matcher,
    ProtocolClient,
    busy,
    comm_close,
    comm_msg,
    comm_open,
    display,
    error,
    execute_input,
    execute_reply,
    idle,
    input_request,
    regex,
    result,
    stderr,
    stdout,
)
from tests.support.exchange import ask, run
from tests.support.kernels import PYTHON_KERNEL, process

WAYS_TO_STDOUT = {
    "os.write": "import os; os.write(1, b'C\\n')",
    "os.write to fileno()": "import os, sys; os.write(sys.stdout.fileno(), b'C\\n')",
    "os.system": "import os; os.system('echo C')",
    "subprocess": "import subprocess; subprocess.run('echo C', shell=True)",
    "subprocess into sys.stdout": "import subprocess, sys; subprocess.run(['echo', 'C'], stdout=sys.stdout)",
    "a child that opens /dev/stdout": "import os; os.system('echo C > /dev/stdout')",
    "C's puts": "import ctypes; ctypes.CDLL(None).puts(b'C')",
    "sys.__stdout__": "import sys; print('C', file=sys.__stdout__)",
    "a forked process": (
        "import multiprocessing\n"
        "child = multiprocessing.get_context('fork').Process(target=print, args=('C',)); child.start(); child.join()"
    ),
    "a spawned process": (
        "import multiprocessing\n"
        "child = multiprocessing.get_context('spawn').Process(target=print, args=('C',)); child.start(); child.join()"
    ),
    "a worker of a pool": (
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(1) as pool: pool.apply(print, ('C',))"
    ),
    "!": "!echo C",
}


@pytest.mark.parametrize("way", WAYS_TO_STDOUT)
def test_k10_what_is_written_between_two_prints_shows_between_them(client: ProtocolClient, way: str) -> None:
    code = f"print('a')\n{WAYS_TO_STDOUT[way]};\nprint('b')"
    run(client, code, stdout(regex("a\nC\r?\nb\n")))


WAYS_TO_STDERR = {
    "os.write": ("import os; os.write(2, b'C\\n')", "C\n"),
    "os.system": ("import os; os.system('echo C >&2')", "C\n"),
    "sys.__stderr__": ("import sys; print('C', file=sys.__stderr__)", "C\n"),
    "perror": ("import ctypes; ctypes.set_errno(0); ctypes.CDLL(None).perror(b'C')", regex("^C: .*\n$")),
    "faulthandler": ("import faulthandler; faulthandler.dump_traceback(all_threads=False)", regex("most recent call")),
    "logging": ("import logging; logging.getLogger('here').error('C')", "C\n"),
    "warnings": ("import warnings; warnings.warn('C')", regex("UserWarning: C\n")),
}


@pytest.mark.parametrize("way", WAYS_TO_STDERR)
def test_k10_stderr_keeps_its_place_too(client: ProtocolClient, way: str) -> None:
    code, text = WAYS_TO_STDERR[way]
    run(client, f"print('a')\n{code};\nprint('b')", stdout("a\n"), stderr(text), stdout("b\n"))


def test_k10_cell_magics_show_both_streams_of_their_program(client: ProtocolClient) -> None:
    run(client, "%%bash\necho a; echo b > /dev/stdout; exec >&2; echo c", stdout("a\nb\n"), stderr("c\n"))


WRITE = "os.write(1, b'C\\n')"
FOLLOWED: dict[str, tuple[str, Sequence[Matcher]]] = {
    "a display": (f"{WRITE}; display(1)", [display("1")]),
    "a result": (f"{WRITE}; 1", [result("1")]),
    "an error": (f"{WRITE}; 1/0", [error("ZeroDivisionError")]),
    "a comm": (
        f"{WRITE}; c = comm.create_comm(target_name='t', data={{}}); {WRITE}; c.send({{}}); {WRITE}; c.close()",
        [comm_open("t"), stdout("C\n"), comm_msg({}), stdout("C\n"), comm_close()],
    ),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_k10_what_is_written_before_a_message_shows_before_it(client: ProtocolClient, what: str) -> None:
    code, shown = FOLLOWED[what]
    failed = execute_reply("error") if what == "an error" else None
    run(client, f"import comm, os; {code}", stdout("C\n"), *shown, replied=failed)


def test_k7_k10_what_is_written_before_a_prompt_shows_before_it(client: ProtocolClient) -> None:
    request = client.execute("import os; os.write(1, b'C\\n'); input('?')")
    client.iopub.expect(busy(), execute_input(), stdout("C\n"), parent=request)
    client.stdin.expect(input_request("?", parent=request))
    client.answer("x")
    client.iopub.expect(result("'x'"), idle(), parent=request)
    client.shell.expect(execute_reply(parent=request))


def test_k3_k10_a_flush_lets_out_what_was_written_to_the_descriptor(client: ProtocolClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    code = f"import os, sys; os.write(1, b'C'); sys.stdout.flush(); open({str(gate)!r}).read();"
    request = client.execute(code)
    client.iopub.expect(busy(), execute_input(), stdout("C"), parent=request)
    gate.write_text("")
    client.iopub.expect(idle(parent=request))
    client.shell.expect(execute_reply(parent=request))


def test_k10_what_c_and_python_keep_in_a_buffer_shows_before_the_idle(client: ProtocolClient) -> None:
    run(client, "import ctypes; ctypes.CDLL(None).printf(b'no end of line');", stdout("no end of line"))
    run(client, "import sys; print('here neither', end='', file=sys.__stdout__)", stdout("here neither"))


def test_k10_a_comm_message_is_such_a_request_too(client: ProtocolClient) -> None:
    code = (
        "import os\ndef opened(comm, message):\n    os.write(1, b'C\\n')\n"
        "get_ipython().kernel.comms.register_target('writes', opened)"
    )
    run(client, code)
    opening = client.send("comm_open", comm_id="one", target_name="writes", data={})
    client.iopub.expect(busy(), stdout("C\n"), idle(), parent=opening)
    closing = client.send("comm_close", comm_id="one", data={})
    client.iopub.expect(busy(), idle(), parent=closing)


def test_k3_a_character_that_comes_in_two_pieces_is_not_split(client: ProtocolClient) -> None:
    """The flush sees to it that the first piece is read before the second is written."""
    pieces = "import os, sys; os.write(1, b'caf\\xc3'); sys.stdout.flush(); os.write(1, b'\\xa9');"
    run(client, pieces, stdout("café"))
    run(client, "import sys; out = sys.stdout.buffer; out.write(b'caf\\xc3'); out.write(b'\\xa9');", stdout("café"))


def test_bytes_that_are_no_text_are_shown_as_what_they_are(client: ProtocolClient) -> None:
    run(client, r"import os; os.write(1, b'caf\xe9\n\x00');", stdout("caf\\xe9\n\x00"))
    run(client, r"import sys; sys.stdout.buffer.write(b'caf\xe9\n');", stdout("caf\\xe9\n"))


def test_k10_a_child_that_outlives_its_cell_goes_on_in_the_last_one(client: ProtocolClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    run(client, f"import subprocess; child = subprocess.Popen(['cat', {str(gate)!r}])")
    last = run(client, "pass").parent_id
    # A question is handled after it, and runs no code that could show anything.
    ask(client, "is_complete", {"code": "1"}, status="complete")
    gate.write_text("late\n")
    client.iopub.expect(stdout("late\n"), parent=last)
    run(client, "child.wait()", result("0"))


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_k10_a_kernel_that_is_started_with_closed_descriptors_has_them(tmp_path: Path, closed: str) -> None:
    """As some daemons start what they start. Else its first sockets had these numbers."""
    command = ("sh", "-c", f'exec "$0" "$@" {closed}', *PYTHON_KERNEL)
    with process(command, tmp_path, stdin=subprocess.DEVNULL) as (_, info, _), ProtocolClient(info) as client:
        run(client, "import os; os.system('echo a child')", stdout("a child\n"), result("0"))
        run(client, "os.write(2, b'to stderr\\n')", stderr("to stderr\n"), result("10"))
        run(client, "os.path.samestat(os.fstat(0), os.stat(os.devnull))", result("True"))


def test_a_forked_child_lets_go_of_the_reading_ends_whatever_the_thread_that_reads_was_doing(
    client: ProtocolClient,
) -> None:
    """Else it would fill a pipe that nobody reads and wait for ever, where it outlives the kernel."""
    code = (
        "import os, sys\n"
        # As the thread's own frame does in the child, where the fork has come while it read.
        "held = list(sys.stdout._descriptors._pipes)\n"
        "child = os.fork()\n"
        "if not child: os._exit(sum(os.path.exists(f'/dev/fd/{pipe.reading_end}') for pipe in held))\n"
        "del held\n"
        "os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])"
    )
    run(client, code, result("0"))


def test_k10_a_flood_comes_whole(client: ProtocolClient) -> None:
    """More than pipe and queue hold at once: who writes waits, and nothing else does."""
    lines = 400_000
    run(client, f"import os; os.system('seq {lines}');", stdout("".join(f"{n}\n" for n in range(1, lines + 1))))


def test_k10_c_code_that_keeps_the_interpreter_may_write_what_a_pipe_takes(client: ProtocolClient) -> None:
    """PyDLL does not let go of the interpreter, as many an extension does not: nobody can read meanwhile."""
    code = f"import ctypes; ctypes.PyDLL(None).write(1, b'x' * {PIPE_BYTES}, {PIPE_BYTES});"
    run(client, code, stdout("x" * PIPE_BYTES))


def test_k10_after_many_prints_what_is_written_is_looked_for_again(client: ProtocolClient) -> None:
    many = CHECKED_WRITES + 1
    code = (
        f"import os, sys\nfor n in range({many}): print(n)\n"
        "os.write(1, b'C\\n'); sys.stdout.flush()\nprint('a'); os.write(1, b'C\\n'); print('b')"
    )
    run(client, code, stdout("".join(f"{n}\n" for n in range(many)) + "C\na\nC\nb\n"))


def test_streams_are_what_programs_ask_for(client: ProtocolClient) -> None:
    code = """
import sys
out, err = sys.stdout, sys.stderr
out.reconfigure(encoding="utf-8", line_buffering=True)
out.close()
(out.isatty(), out.writable(), out.encoding, out.errors, out.fileno(), err.fileno(), out.buffer.fileno(), out.closed)
"""
    run(client, code, result("(False, True, 'utf-8', 'backslashreplace', 1, 2, 1, False)"))


# What needs a kernel of its own


def started_in(folder: Path, *options: str) -> tuple[str, ...]:
    """Return the command of a kernel whose stdout and stderr are files in `folder`."""
    kernel = f"{sys.executable} -m kernelbridge.python {' '.join(options)} -f"
    return "sh", "-c", f'exec {kernel} "$0" > {folder}/stdout 2> {folder}/stderr'


WRITES_BOTH = "import os, sys; os.write(1, b'to stdout\\n'); os.write(2, b'to stderr\\n'); print('as ever')"


@pytest.mark.parametrize("option", ["--no-capture-fd", "--IPKernelApp.capture_fd_output=False"])
def test_the_descriptors_can_be_left_alone(tmp_path: Path, option: str) -> None:
    with process(started_in(tmp_path, option), tmp_path) as (_, info, _), ProtocolClient(info) as client:
        run(client, WRITES_BOTH, stdout("as ever\n"))
    assert (tmp_path / "stdout").read_text() == "to stdout\n"
    assert (tmp_path / "stderr").read_text() == "to stderr\n"


def test_the_kernels_own_words_go_where_it_was_started_and_so_does_all_after_its_end(tmp_path: Path) -> None:
    log = "import logging; logging.getLogger('kernelbridge').warning('of the kernel')"
    with process(started_in(tmp_path), tmp_path) as (started, info, _):
        with ProtocolClient(info) as client:
            run(client, log)
            run(client, "import atexit, os; atexit.register(os.write, 1, b'after the end\\n');")
            run(client, WRITES_BOTH, stdout("to stdout\n"), stderr("to stderr\n"), stdout("as ever\n"))
            run(client, "exit()")
            client.expect_end()
        assert started.wait(DEADLINE) == 0
    assert (tmp_path / "stdout").read_text() == "after the end\n"
    assert (tmp_path / "stderr").read_text() == "of the kernel\n"


def test_a_crash_in_c_says_where_in_the_terminal(tmp_path: Path) -> None:
    """Also for who enables faulthandler by a habit: the kernel has no time left to show it."""
    with process(started_in(tmp_path), tmp_path) as (started, info, _):
        with ProtocolClient(info) as client:
            run(client, "import ctypes, faulthandler; faulthandler.enable()")
            client.execute("ctypes.string_at(0)")
            client.expect_end()
            # What it had shown may be lost with it.
            client.read_all()
        assert started.wait(DEADLINE) < 0
    assert "Segmentation fault" in (tmp_path / "stderr").read_text()
