"""When a kernel can be used (JEP 65): the decision with times that the test hands out, and a kernel."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
import zmq

from kernelbridge.frontend.bridge import connect, launch
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.readiness import Readiness, sends_welcome
from kernelbridge.testing import DEADLINE, ManualKernel
from kernelbridge.wire.messages import Header, Message


def info(probe: str, protocol_version: str) -> Message:
    return Message(
        Header("reply", "kernel_info_reply"),
        {"protocol_version": protocol_version},
        Header(probe, "kernel_info_request"),
    )


def connected(readiness: Readiness) -> Readiness:
    readiness.can_ask()
    return readiness


def test_a_kernel_that_welcomes_gets_one_probe() -> None:
    readiness = connected(Readiness(100.0, 60.0))
    assert readiness.wants_probe(100.0)
    readiness.probed("p1")
    assert not readiness.wants_probe(159.0)
    readiness.heard([], 100.1)
    assert not readiness.wants_probe(159.0)
    readiness.heard(["p1"], 100.2)
    assert not readiness.ready
    assert readiness.replied(info("p1", "5.5"), 101.0)
    assert readiness.ready
    assert readiness.due() is None


def test_the_idle_may_come_behind_the_reply_and_that_of_another_request_does_not_count() -> None:
    readiness = connected(Readiness(0.0, None))
    readiness.probed("p1")
    readiness.replied(info("p1", "5.5"), 0.0)
    readiness.heard(["somebody's"], 0.001)
    assert not readiness.ready
    readiness.heard(["p1"], 0.002)
    assert readiness.ready


def test_a_welcome_that_came_behind_the_idle_is_followed_by_another_probe_soon() -> None:
    readiness = connected(Readiness(0.0, None))
    readiness.probed("p1")
    readiness.replied(info("p1", "5.5"), 0.0)
    readiness.heard([], 0.5)
    assert readiness.due() == 0.502
    readiness.probed("p2")
    readiness.heard(["p2"], 0.52)
    assert not readiness.ready
    readiness.replied(info("p2", "5.5"), 0.53)
    assert readiness.ready


def test_a_promised_welcome_is_waited_for_and_then_asked_for() -> None:
    readiness = connected(Readiness(0.0, None))
    readiness.probed("p1")
    readiness.replied(info("p1", "5.5"), 0.0)
    assert readiness.due() == 1.0
    assert not readiness.wants_probe(0.5)
    assert readiness.wants_probe(1.0)


def test_an_older_kernel_is_probed_until_something_comes_on_iopub() -> None:
    readiness = connected(Readiness(0.0, None))
    waits = []
    now = 0.0
    for number in range(8):
        readiness.probed(f"p{number}")
        assert readiness.due() is None, "the next probe waits for the reply"
        readiness.replied(info(f"p{number}", "5.3"), now)
        due = readiness.due()
        assert due is not None
        waits.append(round(due - now, 3))
        now = due
    assert waits == [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1, 0.1]
    readiness.probed("p8")
    readiness.replied(info("p8", "5.3"), now)
    readiness.heard(["p8"], now)
    assert readiness.ready


def test_replies_to_others_are_not_its_own() -> None:
    readiness = connected(Readiness(0.0, None))
    readiness.probed("p1")
    assert not readiness.replied(info("somebody's", "5.5"), 0.0)
    assert readiness.info is None


def test_the_answers_to_all_probes_have_been_seen_when_a_kernel_that_was_started_is_ready() -> None:
    """Its status would be busy, at a moment at which nobody has asked it for anything."""
    readiness = connected(Readiness(0.0, 60.0))
    readiness.probed("p1")
    readiness.replied(info("p1", "5.5"), 0.0)
    readiness.heard([], 0.5)
    assert readiness.wants_probe(0.51)
    readiness.probed("p2")
    readiness.heard(["p1"], 0.52)
    assert not readiness.ready
    readiness.replied(info("p2", "5.5"), 0.53)
    # Only to wait: what is known needs no third probe, however late the second one's idle comes.
    assert (readiness.due(), readiness.wants_probe(59.0)) == (60.0, False)
    readiness.heard(["p2"], 0.54)
    assert readiness.ready


def test_late_answers_to_probes_are_still_known_for_what_they_are() -> None:
    """Of a kernel that was there before, which others may have made busy meanwhile."""
    readiness = connected(Readiness(0.0, None, may_be_busy=True))
    readiness.probed("p1")
    readiness.replied(info("p1", "5.3"), 0.0)
    readiness.probed("p2")
    readiness.heard(["p1"], 0.5)
    assert readiness.ready
    assert readiness.replied(info("p2", "5.3"), 1.0)


def test_f9_a_kernel_that_cannot_ask_yet_is_not_ready() -> None:
    readiness = Readiness(10.0, 5.0)
    readiness.probed("p1")
    readiness.heard(["p1"], 11.0)
    readiness.replied(info("p1", "5.5"), 12.0)
    assert not readiness.ready
    assert readiness.due() == 15.0
    assert "Stdin cannot be connected to" in readiness.missing()
    readiness.can_ask()
    assert readiness.ready


def test_f9_stdin_is_connected_when_the_kernel_is_ready() -> None:
    """What a kernel asks before that is lost, and the cell waits for an answer for ever."""
    with ManualKernel(transport="ipc") as kernel:
        elsewhere = kernel.connection.with_ports({**kernel.connection.ports, "stdin": 99})
        with closing(connect(elsewhere)) as bridge:
            kernel.become_ready()
            channels, read = bridge._link.outbox.channels, threading.Event()
            assert channels is not None
            channels.when_read(read.set)
            assert read.wait(DEADLINE)
            assert bridge.status == "starting"
            with zmq.Context() as context, context.socket(zmq.ROUTER) as late:
                late.bind(elsewhere.endpoint("stdin"))
                bridge.wait_ready(DEADLINE)


def test_it_gives_up_when_the_time_is_up() -> None:
    readiness = connected(Readiness(10.0, 5.0))
    readiness.probed("p1")
    assert readiness.due() == 15.0
    assert not readiness.gives_up(14.9)
    assert readiness.gives_up(15.0)
    assert "not answered" in readiness.missing()
    readiness.replied(info("p1", "5.3"), 14.0)
    assert "nothing came on IOPub" in readiness.missing()


@pytest.mark.parametrize(
    ("version", "welcomes"),
    [
        ("5.5", True),
        ("5.10", True),
        ("6.0", True),
        ("5.4", False),
        ("5", False),
        (None, False),
        (5.5, False),
        ("x", False),
    ],
)
def test_which_versions_send_a_welcome(version: object, welcomes: bool) -> None:
    assert sends_welcome(version) is welcomes


def test_a_kernel_that_is_ready_says_nothing_more_of_its_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its IOPub is read so late that it is probed twice."""
    published, probed, probed_twice = Link._published, Readiness.probed, threading.Event()

    def published_late(link: Link, batch: list[Message]) -> None:
        for message in batch:
            if message.content.get("execution_state") == "idle":
                assert probed_twice.wait(DEADLINE)
            published(link, [message])

    def probed_and_counted(readiness: Readiness, msg_id: str) -> None:
        probed(readiness, msg_id)
        if len(readiness._sent) == 2:
            probed_twice.set()

    monkeypatch.setattr(Link, "_published", published_late)
    monkeypatch.setattr(Readiness, "probed", probed_and_counted)
    with launch() as bridge, bridge.subscribe() as subscription:
        assert bridge.status == "idle"
        execution = bridge.execute("1")
        assert subscription.get(DEADLINE).parent == execution.header
        execution.result(DEADLINE)
