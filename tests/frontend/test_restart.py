"""F8: a restart keeps the bridge, its subscribers and its configuration, and shows nothing more of the old kernel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.errors import BridgeClosedError, BridgeError, KernelDiedError, KernelStartError
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.subscribers import Subscription
from kernelbridge.testing import (
    DEADLINE,
    comm_open,
    execute_request,
    handle,
    hang,
    on,
    request,
    scripted_kernelspec,
    stdout,
)
from kernelbridge.wire.messages import Message
from tests.support.bridges import played

KERNELS = ["python3", "kernelbridge"]


def output(bridge: Bridge, code: str) -> str:
    execution = bridge.execute(code)
    execution.result(DEADLINE)
    return "".join(message.content["text"] for message in execution.messages if message.msg_type == "stream")


def stdout_of(messages: Iterable[Message]) -> list[str]:
    """Return what was printed. On stderr ipykernel has something to say itself while it starts."""
    return [message.content["text"] for message in messages if message.content.get("name") == "stdout"]


def until(subscription: Subscription, state: str) -> list[Message]:
    """Read up to the status of this state, and return what came before."""
    found: list[Message] = []
    while (message := subscription.get(DEADLINE)).content.get("execution_state") != state:
        found.append(message)
    return found


@pytest.mark.parametrize(("name", "transport"), [("python3", "ipc"), ("kernelbridge", "tcp")])
def test_a_restart_keeps_the_bridge_its_subscribers_and_its_configuration(
    name: str, transport: Any, runtime: Path
) -> None:
    options: dict[str, Any] = {"transport": transport, "env": {"GIVEN": "yes"}, "cwd": "/"}
    with launch(name, **options) as bridge:
        subscription = bridge.subscribe()
        assert output(bridge, "x = 1; print('old')") == "old\n"
        bridge.restart()
        assert bridge.status == "idle"
        assert output(bridge, "import os; print('x' in globals(), os.environ['GIVEN'], os.getcwd())") == "False yes /\n"
        # One kernel's files, and not the old one's as well.
        assert len(list(runtime.glob("*.json"))) == 1
        assert bridge.connection is not None
        assert bridge.connection.transport == transport
        assert "old\n" in [message.content.get("text") for message in until(subscription, "restarting")]
    assert stdout_of(subscription) == ["False yes /\n"]


@pytest.mark.parametrize("name", KERNELS)
def test_what_runs_and_what_waits_ends_and_nothing_of_it_shows_afterwards(name: str) -> None:
    with launch(name) as bridge:
        subscription = bridge.subscribe()
        running = bridge.execute("while True: print('flood', flush=True)")
        waiting = bridge.execute("print('waiting')")
        next(message for message in running if message.msg_type == "stream")
        bridge.restart(grace=0)
        for ended in (running, waiting):
            with pytest.raises(KernelDiedError, match="was restarted"):
                ended.result(0)
        assert output(bridge, "print('new')") == "new\n"
        until(subscription, "restarting")
    assert stdout_of(subscription) == ["new\n"]


@pytest.mark.parametrize("end", ["restarting", "dead"])
def test_what_is_read_late_of_the_old_kernel_is_not_handed_out(end: str) -> None:
    """It had arrived, and was about to be handed out when the restart began, or when it was taken for dead."""
    with played() as (kernel, bridge):
        subscription = bridge.subscribe()
        old = bridge._link
        if end == "restarting":
            old.give_way(lambda: None)
        else:
            with old.ordering:
                old._say_last("dead")
        kernel.play(stdout("late"), parent=None)
        assert old.outbox.channels is not None
        read = threading.Event()
        old.outbox.channels.iopub.drained(read.set)
        assert read.wait(DEADLINE)
        old._published([])
        assert [message.msg_type for message in until(subscription, end)] == []
        bridge.close()
        assert list(subscription) == []


def test_open_comms_close_before_restarting() -> None:
    with played() as (kernel, bridge):
        subscription = bridge.subscribe()
        execution = bridge.execute("1")
        kernel.play(handle(comm_open("t", comm_id="c")), parent=kernel.take(execute_request("1")))
        execution.result(DEADLINE)
        bridge._link.give_way(lambda: None)
        *_, last = until(subscription, "restarting")
        assert (last.msg_type, last.content["comm_id"]) == ("comm_close", "c")


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_has_died_is_restarted(name: str) -> None:
    with launch(name) as bridge:
        with pytest.raises(KernelDiedError):
            bridge.execute("import os; os._exit(3)").result(DEADLINE)
        assert bridge.status == "dead"
        bridge.restart()
        assert output(bridge, "print(1)") == "1\n"


def test_a_kernel_that_does_not_obey_is_killed_when_its_grace_is_over() -> None:
    script = [on(execute_request("a"), handle()), on(request("shutdown", restart=True), hang())]
    # Each process plays the script from its beginning, and the last one has to play all of it.
    with scripted_kernelspec(*script) as name, launch(name) as bridge:
        bridge.execute("a").result(DEADLINE)
        bridge.restart(grace=0.1)
        bridge.execute("a").result(DEADLINE)
        bridge._link.told_to_end = True
        bridge.close(grace=0)


def test_what_is_asked_while_the_old_kernel_ends_is_for_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    close = Link.close

    def ask_and_close(link: Link, grace: float) -> None:
        if not asked:
            assert bridge.status == "restarting"
            asked.append(bridge.execute("print('new')"))
        close(link, grace)

    with launch() as bridge:
        monkeypatch.setattr(Link, "close", ask_and_close)
        bridge.restart()
        asked[0].result(DEADLINE)
        assert [one.content["text"] for one in asked[0].messages if one.msg_type == "stream"] == ["new\n"]


def test_a_restart_that_fails_leaves_a_dead_kernel_and_may_be_tried_again(
    kernel_that: Callable[..., str], folder: Path
) -> None:
    fails = folder / "fails"
    program = f"""
import pathlib, runpy, sys
if pathlib.Path({str(fails)!r}).exists():
    sys.exit("boom")
runpy.run_module("kernelbridge.python", run_name="__main__")
"""
    with launch(kernel_that(program), transport="ipc") as bridge:
        fails.touch()
        with pytest.raises(KernelStartError, match="ended with exit status 1 while starting: boom"):
            bridge.restart()
        assert bridge.status == "dead"
        with pytest.raises(KernelStartError, match="boom"):
            bridge.execute("1").result(0)
        fails.unlink()
        bridge.restart()
        assert output(bridge, "print(1)") == "1\n"


def test_a_start_that_cannot_even_begin_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_files(_: str) -> None:
        raise OSError(28, "No space left on device")

    with launch() as bridge:
        with monkeypatch.context() as patched:
            patched.setattr("kernelbridge.frontend.launch.new_files", no_files)
            with pytest.raises(KernelStartError, match="No space left on device"):
                bridge.restart()
        assert bridge.status == "dead"
        bridge.restart()
        assert bridge.status == "idle"


def test_an_event_loop() -> None:
    async def main() -> None:
        async with launch() as bridge:
            await bridge.execute("x = 1")
            await bridge.arestart()
            assert (await bridge.execute("x")).content["ename"] == "NameError"

    asyncio.run(main())


def test_a_kernel_that_was_connected_to_is_not_restarted() -> None:
    with played() as (_, bridge):
        with pytest.raises(BridgeError, match="was connected to: who launched it can restart it"):
            bridge.restart()
        assert bridge.status == "idle"


def test_a_closed_bridge_is_not_restarted() -> None:
    with launch() as bridge:
        bridge.close()
        with pytest.raises(BridgeClosedError):
            bridge.restart()


@pytest.mark.parametrize("when", ["the old kernel ends", "the new kernel starts"])
def test_a_bridge_that_is_closed_while_it_restarts(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """F11: the fixture finds what is left."""
    reached, closed = threading.Event(), threading.Event()
    close, open_channels, refuse = Link.close, Link.open, Link.refuse

    def wait() -> None:
        reached.set()
        assert closed.wait(DEADLINE)

    def close_late(link: Link, grace: float) -> None:
        if when == "the old kernel ends" and not reached.is_set():
            wait()
        close(link, grace)

    def open_late(link: Link, *arguments: Any) -> None:
        if when == "the new kernel starts":
            wait()
        open_channels(link, *arguments)

    def refuse_and_tell(link: Link) -> None:
        refuse(link)
        if reached.is_set():
            closed.set()

    with launch() as bridge:
        monkeypatch.setattr(Link, "close", close_late)
        monkeypatch.setattr(Link, "open", open_late)
        monkeypatch.setattr(Link, "refuse", refuse_and_tell)
        raised: list[BaseException] = []

        def restart() -> None:
            try:
                bridge.restart()
            except BridgeClosedError as error:
                raised.append(error)

        thread = threading.Thread(target=restart)
        thread.start()
        assert reached.wait(DEADLINE)
        bridge.close()
        thread.join(DEADLINE)
        assert len(raised) == 1
        assert bridge.status == "closed"


def test_two_restarts_at_once_are_two_restarts() -> None:
    """Both wait for the kernel that is there in the end, and so does whoever waited for the first one."""
    with closing(launch()) as bridge:
        subscription = bridge.subscribe()
        with ThreadPoolExecutor(3) as threads:
            waiting = [
                threads.submit(bridge.wait_ready),
                *(threads.submit(bridge.restart, grace=0) for _ in range(2)),
            ]
            for one in waiting:
                one.result(DEADLINE)
        assert output(bridge, "print(1)") == "1\n"
    states = [message.content.get("execution_state") for message in subscription]
    assert states.count("restarting") == 2
