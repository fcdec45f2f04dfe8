"""Which cell a display and an adopted parent belong to in the Python kernel (K4)."""

from __future__ import annotations

from kernelbridge.testing import ProtocolClient, busy, display, execute_input, execute_reply, idle, stdout
from kernelbridge.testing.matchers import Matcher
from kernelbridge.wire.messages import Message

LATE = """
import asyncio
gate = asyncio.Event()
async def later():
    await gate.wait()
    display("late")
task = asyncio.ensure_future(later())
"""
ADOPT = """
import threading
get_ipython().set_parent(first)
print("here")
thread = threading.Thread(target=print, args=("there",))
thread.start()
thread.join()
"""


def run(client: ProtocolClient, code: str) -> Message:
    """Run a cell that shows nothing."""
    return shown(client, code)[0]


def shown(client: ProtocolClient, code: str, *matchers: Matcher) -> tuple[Message, list[Message]]:
    """Run a cell, and return its request and what the matchers, which have a parent each, have matched."""
    request = client.execute(code)
    client.iopub.expect(busy(), execute_input(code), parent=request)
    found = client.iopub.expect(*matchers)
    client.iopub.expect(idle(parent=request))
    client.shell.expect(execute_reply("ok", parent=request))
    return request, found


def test_k4_a_task_displays_into_the_cell_that_started_it() -> None:
    with ProtocolClient("kernelbridge") as client:
        first = run(client, LATE)
        shown(client, "gate.set(); await task", display("'late'", parent=first))


def test_k4_an_adopted_parent_is_that_of_its_context_alone() -> None:
    """As ipywidgets' Output does it: what other threads print belongs to the cell that runs."""
    with ProtocolClient("kernelbridge") as client:
        first = run(client, "first = get_ipython().get_parent()")
        second, (_, there) = shown(client, ADOPT, stdout("here\n", parent=first), stdout("there\n"))
        assert there.parent_id == second.msg_id
