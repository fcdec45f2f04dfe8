"""The `comm` package and the kernel agree on which comms are open (K6), whoever closes or refuses them."""

from __future__ import annotations

from kernelbridge.testing import (
    ProtocolClient,
    busy,
    comm_close,
    comm_open,
    execute_input,
    execute_reply,
    idle,
    reply,
    stdout,
)
from kernelbridge.testing.matchers import Matcher

TARGETS = """
import comm
opened = []
def fails(new, message):
    raise ValueError("no")
comm.get_comm_manager().register_target("takes", lambda new, message: opened.append(new))
comm.get_comm_manager().register_target("fails", fails)
"""


def run(client: ProtocolClient, code: str, *shown: Matcher) -> None:
    request = client.execute(code)
    client.iopub.expect(busy(), execute_input(code), *shown, idle(), parent=request)
    client.shell.expect(execute_reply("ok", parent=request))


def open_comms(client: ProtocolClient) -> dict[str, object]:
    request = client.send("comm_info_request")
    (answer,) = client.shell.expect(reply("comm_info", parent=request))
    client.iopub.expect(busy(), idle(), parent=request)
    comms: dict[str, object] = answer.content["comms"]
    return comms


def test_k6_what_the_program_closes_is_closed() -> None:
    with ProtocolClient("kernelbridge") as client:
        run(client, "import comm; c = comm.create_comm(target_name='t', comm_id='c')", comm_open("t", comm_id="c"))
        assert open_comms(client) == {"c": {"target_name": "t"}}
        run(client, "c.close()", comm_close(comm_id="c"))
        assert open_comms(client) == {}


def test_k6_what_the_frontend_has_closed_is_not_closed_again() -> None:
    with ProtocolClient("kernelbridge") as client:
        run(client, TARGETS)
        request = client.send("comm_open", comm_id="c", target_name="takes", data={})
        client.iopub.expect(busy(), idle(), parent=request)
        request = client.send("comm_close", comm_id="c", data={})
        client.iopub.expect(busy(), idle(), parent=request)
        run(client, "opened[0].close()")


def test_k6_what_a_target_refuses_is_open_for_nobody() -> None:
    with ProtocolClient("kernelbridge") as client:
        run(client, TARGETS)
        request = client.send("comm_open", comm_id="c", target_name="fails", data={})
        client.iopub.expect(busy(), comm_close(comm_id="c"), idle(), parent=request)
        assert open_comms(client) == {}
        run(client, "print(comm.get_comm_manager().comms)", stdout("{}\n"))
