"""The contract of the frontend end, line by line, with kernels that run: the built-in one and ipykernel.

Each line has more tests, with kernels whose part is played, where it is decided: a stopped kernel and one that computes
without letting go of the GIL are in test_liveness.py (F6), crashed frontends in test_files.py (F11), and what happens
by chance in tests/chaos. The mirror of widgets' state (F4) is to come: here comms are known to be open in one order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from jupyter_client.kernelspec import KernelSpecManager

from kernelbridge.frontend.bridge import Bridge, connect, launch
from kernelbridge.frontend.errors import KernelDiedError
from kernelbridge.frontend.execution import Execution
from kernelbridge.frontend.execution_states import State
from kernelbridge.frontend.files import new_files
from kernelbridge.frontend.subscribers import Backlog, Resync, Subscription
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.messages import Message
from tests.chaos.room import MARK, processes, waiting_for_end
from tests.support.running import install_deno, running

KERNELS = ["kernelbridge", "python3"]
ROOT = Path(__file__).parents[2]

SLEEPS = "import time; print('here', flush=True); time.sleep(10_000)"
STRAY = "k = get_ipython().kernel; k.session.send(k.iopub_socket, 'of_my_own', {}, parent=k.get_parent())"
MIXED = """
import sys
from comm import create_comm
from IPython.display import clear_output, display
for number in range(5):
    print('out', number, flush=True)
    print('err', number, file=sys.stderr, flush=True)
    create_comm(target_name='t', comm_id=f'c{number}').close()
    display(number)
number
"""


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a kernel, and folders for all that is launched of it for longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("i")))
        yield request.param


@pytest.fixture(scope="module")
def bridge(kernel: str) -> Iterator[Bridge]:
    """A kernel that lives on."""
    with running(kernel) as bridge:
        yield bridge


def other_frontend(bridge: Bridge, **changes: Any) -> Bridge:
    """Return another frontend's bridge to the same kernel."""
    assert bridge.connection is not None
    return connect(attrs.evolve(bridge.connection, **changes), timeout=DEADLINE)


def until_idle(subscription: Subscription, execution: Execution) -> list[Message]:
    """Read up to the `idle` of an execution, and return what belongs to it."""
    found: list[Message] = []
    while not found or found[-1].content.get("execution_state") != "idle":
        message = subscription.get(DEADLINE)
        if message.parent == execution.header:
            found.append(message)
    return found


def text(messages: list[Message], name: str = "stdout") -> str:
    return "".join(message.content["text"] for message in messages if message.content.get("name") == name)


def kill(bridge: Bridge) -> None:
    process = bridge._link.process
    assert process is not None
    assert process._group is not None
    os.kill(process._group, signal.SIGKILL)


def begin(execution: Execution) -> None:
    """Wait until it has printed something."""
    next(message for message in execution if message.msg_type == "stream")


def test_f1_every_subscriber_sees_the_same_messages_in_the_same_order(bridge: Bridge) -> None:
    with bridge.subscribe() as first, bridge.subscribe() as second, other_frontend(bridge) as other:
        elsewhere = other.subscribe()
        execution = bridge.execute(MIXED)
        seen = [until_idle(one, execution) for one in (first, second, elsewhere)]
    assert seen[0] == seen[1] == execution.messages
    assert [one.msg_id for one in seen[2]] == [one.msg_id for one in seen[0]]
    shown = {"stream", "comm_open", "comm_close", "display_data", "execute_result"}
    assert {one.msg_type for one in seen[0]} == {"status", "execute_input", *shown}


def test_f2_an_execution_is_done_when_its_reply_and_its_idle_and_all_outputs_have_come(bridge: Bridge) -> None:
    for number in range(20):
        execution = bridge.execute(f"print('x' * {number + 1}); {number}")
        assert execution.result(DEADLINE).content["status"] == "ok"
        # Not waited for: they are there.
        *_, shown, idle = execution.messages
        assert (shown.content["data"]["text/plain"], idle.content) == (str(number), {"execution_state": "idle"})
        assert [output["output_type"] for output in execution.outputs] == ["stream", "execute_result"]


def test_f3_a_late_reader_gets_a_snapshot_and_then_all_that_is_new(bridge: Bridge) -> None:
    late: list[Subscription] = []

    def come_late(prompt: str, password: bool) -> str:
        late.append(bridge.subscribe(snapshot=True))
        return ""

    execution = bridge.execute("print('before', flush=True); input(); print('after')", on_input=come_late)
    execution.result(DEADLINE)
    first = late[0].get(DEADLINE)
    assert isinstance(first, Resync)
    (code,) = first.snapshot.running
    assert (first.snapshot.status, code.header) == ("busy", execution.header)
    assert [output["text"] for output in code.outputs] == ["before\n"]
    assert text(until_idle(late[0], execution)) == "after\n"
    late[0].close()


def test_f4_all_windows_know_the_same_comms_to_be_open_in_the_same_order(bridge: Bridge) -> None:
    code = "from comm import create_comm; a, b = (create_comm(target_name='t', comm_id=name) for name in 'ab')"
    with other_frontend(bridge) as other:
        stream = other.subscribe()
        opening = bridge.execute(code)
        until_idle(stream, opening)
        opening.result(DEADLINE)
        assert [comm.comm_id for comm in bridge.open_comms] == ["a", "b"]
        assert bridge.open_comms == other.open_comms
        # Closed by one frontend, and by the kernel.
        other.send_comm("comm_close", {"comm_id": "a", "data": {}}).result(DEADLINE)
        for window in (bridge, other):
            window.comm_info().result(DEADLINE)
            assert [comm.comm_id for comm in window.open_comms] == ["b"]
        closing = bridge.execute("b.close()")
        until_idle(stream, closing)
        closing.result(DEADLINE)
        assert bridge.open_comms == other.open_comms == ()


def test_f5_a_reader_that_does_not_keep_up_gets_one_resync_and_nobody_else_notices(bridge: Bridge) -> None:
    with bridge.subscribe(backlog=Backlog(messages=20)) as slow, bridge.subscribe() as quick:
        execution = bridge.execute("for number in range(300): print(number, flush=True)")
        assert text(until_idle(quick, execution)) == "".join(f"{number}\n" for number in range(300))
        execution.result(DEADLINE)
        assert isinstance(slow.get(DEADLINE), Resync)
        following = bridge.execute("print('on')")
        seen = until_idle(slow, following)
        assert (seen, text(seen)) == (following.messages, "on\n")


def test_f6_a_death_is_seen_and_has_its_consequences_once(kernel: str) -> None:
    with launch(kernel) as mortal:
        mortal.execute("from comm import create_comm; c = create_comm(target_name='t', comm_id='c')").result(DEADLINE)
        subscription = mortal.subscribe()
        executing, waiting = mortal.execute(SLEEPS), mortal.execute("1")
        begin(executing)
        kill(mortal)
        for execution in (executing, waiting):
            assert execution.wait(DEADLINE) is State.DIED
            with pytest.raises(KernelDiedError, match="was ended by SIGKILL"):
                execution.result(0)
        assert (mortal.status, mortal.open_comms) == ("dead", ())
        assert mortal.execute("1").wait(DEADLINE) is State.DIED
        mortal.restart()
        assert mortal.execute("1").wait(DEADLINE) is State.OK
    said = list(subscription)
    (place,) = (at for at, message in enumerate(said) if message.content.get("execution_state") == "dead")
    assert (said[place - 1].msg_type, said[place - 1].content["comm_id"]) == ("comm_close", "c")


def test_f7_an_interrupt_ends_what_runs_aborts_what_waits_and_what_follows_runs(bridge: Bridge) -> None:
    executing, before = bridge.execute(SLEEPS), bridge.execute("1")
    begin(executing)
    bridge.interrupt()
    after = bridge.execute("1")
    states = [execution.wait(DEADLINE) for execution in (executing, before, after)]
    assert states == [State.INTERRUPTED, State.ABORTED, State.OK]


def test_f8_a_restart_keeps_the_bridge_and_shows_nothing_more_of_the_old_kernel(kernel: str) -> None:
    with launch(kernel) as mortal, mortal.subscribe() as subscription:
        flooding, waiting = mortal.execute("while True: print('old', flush=True)"), mortal.execute("print('waiting')")
        begin(flooding)
        mortal.restart(grace=0)
        assert {flooding.wait(DEADLINE), waiting.wait(DEADLINE)} == {State.DIED}
        while subscription.get(DEADLINE).content.get("execution_state") != "restarting":
            pass
        new = mortal.execute("print('new')")
        assert text(until_idle(subscription, new)) == "new\n"
        assert mortal.status == "idle"


def test_f9_an_input_request_reaches_who_sent_the_execution_after_the_output_before_it(bridge: Bridge) -> None:
    shown: list[str] = []

    def answer(prompt: str, password: bool) -> str:
        shown.append(text(execution.messages))
        return "Ada"

    with other_frontend(bridge) as other:
        execution = bridge.execute("print('before', flush=True); name = input('? ')", on_input=answer)
        begin(execution)
        # The other one has an execution that waits, and could answer, too.
        theirs = other.execute("print(name)", on_input=lambda prompt, password: "not asked")
        assert execution.wait(DEADLINE) is theirs.wait(DEADLINE) is State.OK
        assert text(theirs.messages) == "Ada\n"
    assert shown == ["before\n"]


def test_f10_a_message_of_another_frontend_or_of_no_known_type_is_counted_and_harms_nobody(bridge: Bridge) -> None:
    before = dict(bridge.counters)
    with other_frontend(bridge) as other:
        theirs = other.execute("print('theirs')")
        assert theirs.wait(DEADLINE) is State.OK
        ours = bridge.execute(f"print('ours'); {STRAY}")
        assert ours.wait(DEADLINE) is State.OK
        assert (text(theirs.messages), text(ours.messages)) == ("theirs\n", "ours\n")
        assert [one.msg_type for one in ours.messages if one.msg_type == "of_my_own"] == ["of_my_own"]
    counted = bridge.counters
    assert counted["iopub: unknown type"] == before.get("iopub: unknown type", 0) + 1
    assert counted["iopub: unknown parent"] > before.get("iopub: unknown parent", 0)


def test_f11_a_kernel_notices_that_its_frontend_is_gone_and_the_next_launch_removes_what_is_left(
    kernel: str, runtime: Path
) -> None:
    """That a close leaves nothing is held by the fixture, for this test as for all."""
    mark = {MARK: str(runtime)}
    command = [sys.executable, "-m", "tests.chaos.victim", kernel, "ipc", "idle"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | mark, stdout=subprocess.PIPE, text=True) as frontend:
        try:
            assert frontend.stdout is not None
            assert frontend.stdout.readline() == "idle\n"
            kernels = [pid for pid in processes(mark) if pid != frontend.pid]
            assert kernels
            with waiting_for_end(kernels):
                frontend.kill()
        finally:
            frontend.kill()
    new_files("ipc").remove()
    assert list(runtime.iterdir()) == []


@attrs.frozen
class Language:
    """What a kernel that is not Python is asked to do."""

    name: str
    prints: str
    printed: str
    computes: str
    waits: str
    dies: str


LANGUAGES = [
    # In JavaScript nothing can be interrupted that waits for a promise.
    Language(
        "deno",
        "console.log(6 * 7)",
        "42\n",
        "console.log(1); while (true) {}",
        "await new Promise(() => {})",
        "Deno.exit(3)",
    ),
    Language(
        "ir",
        "cat(6 * 7)",
        "42",
        "cat(1); while (TRUE) {}",
        "Sys.sleep(10000)",
        "tools::pskill(Sys.getpid(), tools::SIGKILL)",
    ),
]


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_a_kernel_that_is_not_python_is_launched_executes_is_interrupted_and_restarted_and_dies(
    language: Language, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F2, F6, F7, F8."""
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    monkeypatch.setenv("DENO_DIR", str(folder / "deno"))
    if language.name == "deno" and not install_deno(folder / "jupyter" / "kernels"):
        pytest.skip("deno is not installed: `pip install deno`")
    if language.name not in KernelSpecManager().find_kernel_specs():
        pytest.skip(f"there is no kernel {language.name!r}: `IRkernel::installspec()` makes R's known")
    # R that is killed leaves its temporary folder.
    with launch(language.name, beat_seconds=None, env={"TMPDIR": str(folder)}) as bridge:
        stream = bridge.subscribe()

        def prints() -> None:
            execution = bridge.execute(language.prints)
            assert execution.wait(DEADLINE) is State.OK
            # Read from the stream: Deno may publish outputs behind the idle that is to end them.
            while stream.get(DEADLINE).content.get("text") != language.printed:
                pass

        prints()
        computing, before = bridge.execute(language.computes), bridge.execute(language.prints)
        # R takes an interrupt while it computes, and dies of one that comes before.
        begin(computing)
        bridge.interrupt()
        assert [computing.wait(DEADLINE), before.wait(DEADLINE)] == [State.INTERRUPTED, State.ABORTED]
        prints()
        waiting, queued = bridge.execute(language.waits), bridge.execute(language.prints)
        bridge.restart(grace=0.2)
        assert {waiting.wait(DEADLINE), queued.wait(DEADLINE)} == {State.DIED}
        prints()
        dying, behind = bridge.execute(language.dies), bridge.execute(language.prints)
        assert {dying.wait(DEADLINE), behind.wait(DEADLINE)} == {State.DIED}
        assert bridge.status == "dead"
        bridge.restart()
        prints()
