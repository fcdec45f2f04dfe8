"""Comms: where the program puts them they show, and what goes wrong is answered in order (K6)."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.wire.messages import Message
from tests.support.client import Client, lines
from tests.support.kernels import Cells, serving

Served = tuple[Kernel, Client]


@pytest.fixture
def served() -> Iterator[Served]:
    def open_one(kernel: Kernel) -> None:
        comm = kernel.comms.open("mine", {"n": 1})
        # In the set before the call returns: Shell, which answers while this runs, would find it.
        assert kernel.comms.get(comm.comm_id) is comm

    def fail_to_open(kernel: Kernel) -> None:
        kernel.comms.open("mine", {}, None, [memoryview(b"abcd")[::2]])

    with (
        serving(Cells(open_one=open_one, fail_to_open=fail_to_open)) as kernel,
        Client(kernel.connection) as client,
    ):
        yield kernel, client


def opening(client: Client, target: str, comm_id: str = "c1") -> list[str]:
    request = client.send("comm_open", {"comm_id": comm_id, "target_name": target, "data": {"x": 1}})
    return lines(client.until_idle(request))


def open_comms(client: Client, **content: str) -> dict[str, dict[str, str]]:
    reply, messages = client.ask("comm_info_request", dict(content))
    assert lines(messages) == ["busy", "idle"]
    found: dict[str, dict[str, str]] = reply.content["comms"]
    return found


def test_k6_a_comm_of_the_kernel_is_known_when_its_cell_has_run(served: Served) -> None:
    kernel, client = served
    assert lines(client.run("open_one")[1]) == ["busy", "execute_input open_one", "comm_open {'n': 1}", "idle"]
    (comm,) = kernel.comms.all()
    assert open_comms(client) == {comm.comm_id: {"target_name": "mine"}}
    assert open_comms(client, target_name="mine") == {comm.comm_id: {"target_name": "mine"}}
    assert open_comms(client, target_name="other") == {}


def test_k6_a_comm_that_could_not_be_put_is_not_open(served: Served) -> None:
    _, client = served
    assert client.run("fail_to_open")[0].content["ename"] == "WireError"
    assert open_comms(client) == {}


def test_k6_a_frontends_comm_is_opened_spoken_to_and_closed(served: Served) -> None:
    kernel, client = served
    heard: list[tuple[str, object, list[bytes]]] = []

    def opened(comm: Comm, message: Message) -> None:
        def hear(what: Message) -> None:
            heard.append((what.msg_type, what.content["data"], [bytes(buffer) for buffer in what.buffers]))
            kernel.write("stdout", what.msg_type)
            comm.send({"echo": what.content["data"]}, buffers=what.buffers)

        heard.append((message.msg_type, message.content["data"], []))
        comm.on_msg = hear
        comm.on_close = lambda what: heard.append((what.msg_type, what.content["data"], []))
        comm.send({"hello": 1})

    kernel.comms.register_target("theirs", opened)
    assert opening(client, "theirs") == ["busy", "comm_msg {'hello': 1}", "idle"]
    assert open_comms(client) == {"c1": {"target_name": "theirs"}}
    large = bytes(2**21)
    request = client.send("comm_msg", {"comm_id": "c1", "data": {"a": 1}}, buffers=[b"small", large])
    messages = client.until_idle(request)
    assert lines(messages) == ["busy", "stdout 'comm_msg'", "comm_msg {'echo': {'a': 1}}", "idle"]
    assert [bytes(buffer) for buffer in messages[2].buffers] == [b"small", large]
    assert {message.parent_id for message in messages} == {request.msg_id}
    assert lines(client.until_idle(client.send("comm_close", {"comm_id": "c1", "data": {"b": 2}}))) == ["busy", "idle"]
    assert heard == [
        ("comm_open", {"x": 1}, []),
        ("comm_msg", {"a": 1}, [b"small", large]),
        ("comm_close", {"b": 2}, []),
    ]
    assert open_comms(client) == {}


def test_k6_an_unknown_target_is_answered_with_comm_close(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    _, client = served
    with caplog.at_level(logging.WARNING, "kernelbridge"):
        assert opening(client, "nonesuch") == ["busy", "comm_close {}", "idle"]
    assert "'nonesuch'" in caplog.text
    assert open_comms(client) == {}


def test_k6_a_target_that_raises_refuses_in_order(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    kernel, client = served

    def opened(comm: Comm, message: Message) -> None:
        kernel.write("stdout", "before")
        comm.send({"partly": 1})
        raise ValueError("no")

    kernel.comms.register_target("broken", opened)
    assert opening(client, "broken") == ["busy", "stdout 'before'", "comm_msg {'partly': 1}", "comm_close {}", "idle"]
    assert "ValueError: no" in caplog.text
    assert open_comms(client) == {}


def test_targets_and_callbacks_may_be_coroutines(served: Served) -> None:
    kernel, client = served

    async def opened(comm: Comm, message: Message) -> None:
        async def hear(what: Message) -> None:
            comm.send({"heard": what.content["data"]})

        comm.on_msg = hear

    kernel.comms.register_target("later", opened)
    opening(client, "later")
    messages = client.until_idle(client.send("comm_msg", {"comm_id": "c1", "data": {"n": 5}}))
    assert lines(messages) == ["busy", "comm_msg {'heard': {'n': 5}}", "idle"]


def test_a_callback_that_raises_is_logged_and_the_kernel_goes_on(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    kernel, client = served

    def opened(comm: Comm, message: Message) -> None:
        def hear(what: Message) -> None:
            raise ValueError("callback")

        comm.on_msg = hear

    kernel.comms.register_target("broken", opened)
    opening(client, "broken")
    assert lines(client.until_idle(client.send("comm_msg", {"comm_id": "c1", "data": {}}))) == ["busy", "idle"]
    assert "ValueError: callback" in caplog.text
    assert open_comms(client) == {"c1": {"target_name": "broken"}}


def test_a_message_for_a_comm_that_is_not_open_is_logged_and_nothing_else(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = served
    for msg_type in ("comm_msg", "comm_close"):
        with caplog.at_level(logging.WARNING, "kernelbridge"):
            request = client.send(msg_type, {"comm_id": "gone", "data": {}})
            assert lines(client.until_idle(request)) == ["busy", "idle"]
        assert f"{msg_type} for comm 'gone', which is not open" in caplog.text
    assert client.nothing_more("shell")


def test_closing_again_does_nothing(served: Served) -> None:
    kernel, client = served
    client.run("open_one")
    (comm,) = kernel.comms.all()
    comm.close()
    comm.close()
    probe = client.send("kernel_info_request", channel="control")
    assert lines(client.until_idle(probe)) == ["comm_close {}", "busy", "idle"]


def test_an_unregistered_target_opens_no_more(served: Served) -> None:
    kernel, client = served
    kernel.comms.register_target("brief", lambda comm, message: None)
    kernel.comms.unregister_target("brief")
    assert opening(client, "brief") == ["busy", "comm_close {}", "idle"]
    with pytest.raises(KeyError):
        kernel.comms.unregister_target("brief")


def test_many_comm_messages_and_requests_keep_their_order(served: Served) -> None:
    """Comms are dispatched in the order of arrival, together with the other requests (K6)."""
    kernel, client = served
    heard: list[int] = []

    def opened(comm: Comm, message: Message) -> None:
        comm.on_msg = lambda what: heard.append(what.content["data"]["n"])

    kernel.comms.register_target("many", opened)
    opening(client, "many")
    sent: list[Message] = []
    for number in range(500):
        sent.append(client.send("comm_msg", {"comm_id": "c1", "data": {"n": number}}))
        if number % 7 == 0:
            sent.append(client.send("complete_request", {"code": "", "cursor_pos": 0}))
    brackets = [client.receive("iopub") for _ in range(2 * len(sent))]
    assert [message.parent_id for message in brackets] == [one.msg_id for one in sent for _ in range(2)]
    assert lines(brackets) == ["busy", "idle"] * len(sent)
    assert heard == list(range(500))
