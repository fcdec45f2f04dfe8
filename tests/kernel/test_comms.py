"""Comms: where the program puts them they show, and what goes wrong is answered in order (K6)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.testing import (
    Matcher,
    ProtocolClient,
    busy,
    comm_close,
    comm_msg,
    comm_open,
    error,
    execute_reply,
    idle,
    message,
    reply,
    stdout,
)
from kernelbridge.wire.messages import Buffer, Message
from tests.support.exchange import ask, run
from tests.support.kernels import Cells


@pytest.fixture
def handler() -> Cells:
    def open_one(kernel: Kernel) -> None:
        comm = kernel.comms.open("mine", {"n": 1})
        # In the set before the call returns: Shell, which answers while this runs, would find it.
        assert kernel.comms.get(comm.comm_id) is comm

    def fail_to_open(kernel: Kernel) -> None:
        kernel.comms.open("mine", {}, None, [memoryview(b"abcd")[::2]])

    return Cells(open_one=open_one, fail_to_open=fail_to_open)


@pytest.fixture
def client(handler: Cells) -> Iterator[ProtocolClient]:
    with ProtocolClient(handler) as client:
        yield client


def tell(client: ProtocolClient, name: str, *shown: Matcher, buffers: Sequence[Buffer] = (), **content: Any) -> None:
    """Send the message of this name (``open``) of the comm c1, and expect what it shows between its brackets."""
    said = client.send(f"comm_{name}", {"comm_id": "c1", "data": {}, **content}, buffers=buffers)
    client.iopub.expect(busy(), *shown, idle(), parent=said)


def open_comms(client: ProtocolClient, **content: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = ask(client, "comm_info", content).content["comms"]
    return found


def test_k6_a_comm_of_the_kernel_is_known_when_its_cell_has_run(handler: Cells, client: ProtocolClient) -> None:
    run(client, "open_one", comm_open("mine", {"n": 1}))
    (comm,) = handler.kernel.comms.all()
    assert open_comms(client) == {comm.comm_id: {"target_name": "mine"}}
    assert open_comms(client, target_name="mine") == {comm.comm_id: {"target_name": "mine"}}
    assert open_comms(client, target_name="other") == {}


def test_k6_what_a_comm_carries_besides_its_data_arrives_with_it() -> None:
    def cell(kernel: Kernel) -> None:
        comm = kernel.comms.open("mine", {"n": 1}, {"m": 1}, [b"one"], comm_id="given", target_module="module")
        comm.send({"n": 2}, {"m": 2}, [b"two", b""])
        comm.close({"n": 3}, {"m": 3}, [b"three"])

    opened = {"comm_id": "given", "target_name": "mine", "target_module": "module", "data": {"n": 1}}
    with ProtocolClient(Cells(cell=cell)) as client:
        run(
            client,
            "cell",
            message("comm_open", **opened, metadata={"m": 1}, buffers=[b"one"]),
            comm_msg({"n": 2}, comm_id="given", metadata={"m": 2}, buffers=[b"two", b""]),
            comm_close({"n": 3}, comm_id="given", metadata={"m": 3}, buffers=[b"three"]),
        )


def test_k6_a_comm_that_could_not_be_put_is_not_open(client: ProtocolClient) -> None:
    run(client, "fail_to_open", error("WireError"), replied=execute_reply("error", ename="WireError"))
    assert open_comms(client) == {}


def test_k6_a_frontends_comm_is_opened_spoken_to_and_closed(handler: Cells, client: ProtocolClient) -> None:
    heard: list[tuple[str, object, list[bytes]]] = []

    def opened(comm: Comm, message: Message) -> None:
        def hear(what: Message) -> None:
            heard.append((what.msg_type, what.content["data"], [bytes(buffer) for buffer in what.buffers]))
            handler.kernel.write("stdout", what.msg_type)
            comm.send({"echo": what.content["data"]}, buffers=what.buffers)

        heard.append((message.msg_type, message.content["data"], []))
        comm.on_msg = hear
        comm.on_close = lambda what: heard.append((what.msg_type, what.content["data"], []))
        comm.send({"hello": 1})

    handler.kernel.comms.register_target("theirs", opened)
    tell(client, "open", comm_msg({"hello": 1}, comm_id="c1"), target_name="theirs", data={"x": 1})
    assert open_comms(client) == {"c1": {"target_name": "theirs"}}
    buffers = [b"small", bytes(2**21)]
    echo = comm_msg({"echo": {"a": 1}}, comm_id="c1", buffers=buffers)
    tell(client, "msg", stdout("comm_msg"), echo, data={"a": 1}, buffers=buffers)
    tell(client, "close", data={"b": 2})
    assert heard == [
        ("comm_open", {"x": 1}, []),
        ("comm_msg", {"a": 1}, buffers),
        ("comm_close", {"b": 2}, []),
    ]
    assert open_comms(client) == {}


def test_k6_an_unknown_target_is_answered_with_comm_close(
    client: ProtocolClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "kernelbridge"):
        tell(client, "open", comm_close(comm_id="c1"), target_name="nonesuch")
    assert "'nonesuch'" in caplog.text
    assert open_comms(client) == {}


def test_k6_a_target_that_raises_refuses_in_order(
    handler: Cells, client: ProtocolClient, caplog: pytest.LogCaptureFixture
) -> None:
    def opened(comm: Comm, message: Message) -> None:
        handler.kernel.write("stdout", "before")
        comm.send({"partly": 1})
        raise ValueError("no")

    handler.kernel.comms.register_target("broken", opened)
    refused = [stdout("before"), comm_msg({"partly": 1}, comm_id="c1"), comm_close(comm_id="c1")]
    tell(client, "open", *refused, target_name="broken")
    assert "ValueError: no" in caplog.text
    assert open_comms(client) == {}


def test_targets_and_callbacks_may_be_coroutines(handler: Cells, client: ProtocolClient) -> None:
    async def opened(comm: Comm, message: Message) -> None:
        async def hear(what: Message) -> None:
            comm.send({"heard": what.content["data"]})

        comm.on_msg = hear

    handler.kernel.comms.register_target("later", opened)
    tell(client, "open", target_name="later")
    tell(client, "msg", comm_msg({"heard": {"n": 5}}), data={"n": 5})


def test_a_callback_that_raises_is_logged_and_the_kernel_goes_on(
    handler: Cells, client: ProtocolClient, caplog: pytest.LogCaptureFixture
) -> None:
    def opened(comm: Comm, message: Message) -> None:
        def hear(what: Message) -> None:
            raise ValueError("callback")

        comm.on_msg = hear

    handler.kernel.comms.register_target("broken", opened)
    tell(client, "open", target_name="broken")
    tell(client, "msg")
    assert "ValueError: callback" in caplog.text
    assert open_comms(client) == {"c1": {"target_name": "broken"}}


@pytest.mark.parametrize("name", ["msg", "close"])
def test_a_message_for_a_comm_that_is_not_open_is_logged_and_nothing_else(
    client: ProtocolClient, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with caplog.at_level(logging.WARNING, "kernelbridge"):
        tell(client, name)
    assert f"comm_{name} for comm 'c1', which is not open" in caplog.text


def test_closing_again_does_nothing(handler: Cells, client: ProtocolClient) -> None:
    opened = run(client, "open_one", comm_open("mine")).parent_id
    (comm,) = handler.kernel.comms.all()
    comm.close()
    comm.close()
    client.iopub.expect(comm_close(comm_id=comm.comm_id, parent=opened))


def test_an_unregistered_target_opens_no_more(handler: Cells, client: ProtocolClient) -> None:
    handler.kernel.comms.register_target("brief", lambda comm, message: None)
    handler.kernel.comms.unregister_target("brief")
    tell(client, "open", comm_close(comm_id="c1"), target_name="brief")
    with pytest.raises(KeyError):
        handler.kernel.comms.unregister_target("brief")


def test_many_comm_messages_and_requests_keep_their_order(handler: Cells, client: ProtocolClient) -> None:
    """Comms are dispatched in the order of arrival, together with the other requests, each with what it shows (K6)."""

    def opened(comm: Comm, message: Message) -> None:
        comm.on_msg = lambda what: comm.send({"heard": what.content["data"]["n"]})

    handler.kernel.comms.register_target("many", opened)
    tell(client, "open", target_name="many")
    sent: list[tuple[int, Message]] = []
    for number in range(500):
        sent.append((number, client.send("comm_msg", {"comm_id": "c1", "data": {"n": number}})))
        if number % 7 == 0:
            sent.append((number, client.send("complete_request", {"code": "", "cursor_pos": 0})))
    for number, request in sent:
        if request.msg_type == "comm_msg":
            client.iopub.expect(busy(), comm_msg({"heard": number}), idle(), parent=request)
        else:
            client.iopub.expect(busy(), idle(), parent=request)
            client.shell.expect(reply("complete", status="ok", parent=request))
