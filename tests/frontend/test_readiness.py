"""When a kernel can be used (JEP 65): the decision with times that the test hands out, and a kernel."""

from __future__ import annotations

import threading

import pytest

from kernelbridge.frontend.bridge import launch
from kernelbridge.frontend.link import Link
from kernelbridge.frontend.readiness import Readiness, sends_welcome
from kernelbridge.testing import DEADLINE
from kernelbridge.wire.messages import Header, Message


def info(probe: str, protocol_version: str) -> Message:
    return Message(
        Header("reply", "kernel_info_reply"),
        {"protocol_version": protocol_version},
        Header(probe, "kernel_info_request"),
    )


def test_a_kernel_that_welcomes_gets_one_probe() -> None:
    readiness = Readiness(100.0, 60.0)
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
    readiness = Readiness(0.0, None)
    readiness.probed("p1")
    readiness.replied(info("p1", "5.5"), 0.0)
    readiness.heard(["somebody's"], 0.001)
    assert not readiness.ready
    readiness.heard(["p1"], 0.002)
    assert readiness.ready


def test_a_welcome_that_came_behind_the_idle_is_followed_by_another_probe_soon() -> None:
    readiness = Readiness(0.0, None)
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
    readiness = Readiness(0.0, None)
    readiness.probed("p1")
    readiness.replied(info("p1", "5.5"), 0.0)
    assert readiness.due() == 1.0
    assert not readiness.wants_probe(0.5)
    assert readiness.wants_probe(1.0)


def test_an_older_kernel_is_probed_until_something_comes_on_iopub() -> None:
    readiness = Readiness(0.0, None)
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
    readiness = Readiness(0.0, None)
    readiness.probed("p1")
    assert not readiness.replied(info("somebody's", "5.5"), 0.0)
    assert readiness.info is None


def test_the_answers_to_all_probes_have_been_seen_when_a_kernel_that_was_started_is_ready() -> None:
    """Its status would be busy, at a moment at which nobody has asked it for anything."""
    readiness = Readiness(0.0, 60.0)
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
    readiness = Readiness(0.0, None, may_be_busy=True)
    readiness.probed("p1")
    readiness.replied(info("p1", "5.3"), 0.0)
    readiness.probed("p2")
    readiness.heard(["p1"], 0.5)
    assert readiness.ready
    assert readiness.replied(info("p2", "5.3"), 1.0)


def test_it_gives_up_when_the_time_is_up() -> None:
    readiness = Readiness(10.0, 5.0)
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
