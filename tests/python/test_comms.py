"""Comms in the Python kernel: of the comm package, and of ipywidgets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernelbridge.testing import (
    ANY,
    ProtocolClient,
    busy,
    capture,
    comm_close,
    comm_msg,
    comm_open,
    display,
    error,
    execute_input,
    execute_reply,
    idle,
    regex,
    result,
    stderr,
    stdout,
)
from tests.support.exchange import ask, run

ECHO = """
import comm
def opened(c, message):
    global mine
    mine = c
    print('opened', message['content']['data'])
    def heard(m):
        print('heard', m['content']['data'])
        c.send({'echo': m['content']['data']}, buffers=m['buffers'])
    c.on_msg(heard)
    c.on_close(lambda m: print('closed'))
comm.get_comm_manager().register_target('echo', opened)
"""


def test_comms_that_the_frontend_opens(client: ProtocolClient) -> None:
    run(client, ECHO)
    opening = client.send("comm_open", comm_id="c", target_name="echo", data={"n": 0})
    client.iopub.expect(busy(), stdout("opened {'n': 0}\n"), idle(), parent=opening)
    message = client.send("comm_msg", comm_id="c", data={"n": 1}, buffers=[b"\x00\xff"])
    echo = comm_msg({"echo": {"n": 1}}, comm_id="c", buffers=[b"\x00\xff"])
    client.iopub.expect(busy(), stdout("heard {'n': 1}\n"), echo, idle(), parent=message)
    ask(client, "comm_info", comms={"c": {"target_name": "echo"}})
    closing = client.send("comm_close", comm_id="c", data={})
    client.iopub.expect(busy(), stdout("closed\n"), idle(), parent=closing)
    assert "c" not in ask(client, "comm_info").content["comms"]
    # It is closed already: nothing is sent.
    run(client, "mine.close()")


def test_k6_comms_show_where_the_program_puts_them(client: ProtocolClient) -> None:
    code = """
import comm
print('one')
c = comm.create_comm(target_name='t', data={'n': 1})
print('two')
c.send({'n': 2})
print('three')
c.close({'n': 3})
print('four')
"""
    mine = capture("mine")
    run(
        client,
        code,
        stdout("one\n"),
        comm_open("t", {"n": 1}, comm_id=mine),
        stdout("two\n"),
        comm_msg({"n": 2}, comm_id=mine),
        stdout("three\n"),
        comm_close({"n": 3}, comm_id=mine),
        stdout("four\n"),
    )


def test_k6_a_thousand_prints_and_messages_alternate(client: ProtocolClient) -> None:
    """While other threads keep the interpreter busy, so that whatever takes another way than the prints is late."""
    mine = capture("mine")
    code = """
import comm, threading
c = comm.create_comm(target_name='t')
busy = True
def work():
    while busy: pass
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for n in range(1000):
    print(n)
    c.send({'n': n})
busy = False
for thread in threads: thread.join()
c.close()
"""
    turns = [one for n in range(1000) for one in (stdout(f"{n}\n"), comm_msg({"n": n}, comm_id=mine))]
    run(client, code, comm_open("t", comm_id=mine), *turns, comm_close(comm_id=mine))


def test_k6_a_comm_that_a_cell_opens_can_be_asked_for_and_answered_at_once(client: ProtocolClient) -> None:
    mine = capture("mine")
    code = (
        "import comm\nc = comm.create_comm(target_name='t'); c.on_msg(lambda m: print('heard', m['content']['data']))"
    )
    run(client, code, comm_open("t", comm_id=mine))
    info = ask(client, "comm_info", {"target_name": "t"})
    assert mine.value in info.content["comms"]
    answer = client.send("comm_msg", comm_id=mine.value, data={"n": 1})
    client.iopub.expect(busy(), stdout("heard {'n': 1}\n"), idle(), parent=answer)
    run(client, "c.close()", comm_close(comm_id=mine))
    assert mine.value not in ask(client, "comm_info").content["comms"]


@pytest.mark.parametrize("target", ["nonesuch", "failing", "closing"])
def test_k6_an_open_that_fails_is_closed_once(client: ProtocolClient, target: str) -> None:
    code = """
import comm, gc
manager = comm.get_comm_manager()
manager.register_target('failing', lambda c, m: 1/0)
manager.register_target('closing', lambda c, m: c.close({'why': 'not wanted'}))
"""
    run(client, code)
    opening = client.send("comm_open", comm_id="refused", target_name=target, data={})
    shown = [stderr(regex("ZeroDivisionError"))] if target == "failing" else []
    client.iopub.expect(busy(), *shown, comm_close(comm_id="refused"), idle(), parent=opening)
    # A comm that nobody holds would close itself once more.
    run(client, "gc.collect();")
    assert "refused" not in ask(client, "comm_info").content["comms"]
    run(client, "'refused' in manager.comms", result("False"))


def test_what_a_callback_raises_is_shown_and_the_comm_stays_open(client: ProtocolClient) -> None:
    mine = capture("mine")
    code = "import comm\nc = comm.create_comm(target_name='t'); c.on_msg(lambda m: 1/0); c.on_close(lambda m: [][0])"
    run(client, code, comm_open("t", comm_id=mine))
    for _ in range(2):
        request = client.send("comm_msg", comm_id=mine.value, data={})
        client.iopub.expect(busy(), stderr(regex("ZeroDivisionError")), idle(), parent=request)
    request = client.send("comm_close", comm_id=mine.value, data={})
    client.iopub.expect(busy(), stderr(regex("IndexError")), idle(), parent=request)


# ipywidgets


@pytest.fixture
def slider(client: ProtocolClient) -> Iterator[str]:
    """The id of a slider that is shown, with the value 3, and called s. It is closed after the test."""
    model, state = capture("model"), {"_model_name": "IntSliderModel", "value": 3}
    run(
        client,
        "import ipywidgets as w\ns = w.IntSlider(value=3); display(s)",
        *[
            comm_open("jupyter.widget", {"state": {"_model_name": name}})
            for name in ("LayoutModel", "SliderStyleModel")
        ],
        comm_open("jupyter.widget", {"state": state}, comm_id=model, metadata={"version": ANY}),
        display({"application/vnd.jupyter.widget-view+json": {"model_id": model}, "text/plain": ANY}),
    )
    yield model.value
    run(client, "s.close()", comm_close(comm_id=model))


def update(value: int) -> dict[str, object]:
    return {"method": "update", "state": {"value": value}, "buffer_paths": []}


def test_a_widget_is_updated_between_two_prints(client: ProtocolClient, slider: str) -> None:
    moved = comm_msg(update(5), comm_id=slider)
    run(client, "print('before'); s.value = 5; print('after')", stdout("before\n"), moved, stdout("after\n"))


def test_a_widget_hears_the_frontend_and_tells_it_what_it_made_of_it(client: ProtocolClient, slider: str) -> None:
    run(client, "s.observe(lambda change: print('now', change.new), 'value')")
    request = client.send("comm_msg", comm_id=slider, data=update(9))
    echo = comm_msg({**update(9), "method": "echo_update"}, comm_id=slider)
    client.iopub.expect(busy(), echo, stdout("now 9\n"), idle(), parent=request)
    run(client, "s.value", result("9"))


def test_what_a_widgets_callback_raises_is_shown(client: ProtocolClient, slider: str) -> None:
    run(client, "s.observe(lambda change: 1/0, 'value')")
    request = client.send("comm_msg", comm_id=slider, data=update(9))
    client.iopub.expect(busy(), comm_msg(comm_id=slider), error("ZeroDivisionError"), idle(), parent=request)


def test_an_output_widget_takes_what_its_block_shows(client: ProtocolClient) -> None:
    """It names the request whose output it takes, before the first and after the last of it; the frontend takes it."""
    out = capture("out")
    run(
        client,
        "import ipywidgets as w\no = w.Output()",
        comm_open("jupyter.widget"),
        comm_open("jupyter.widget", {"state": {"_model_name": "OutputModel"}}, comm_id=out),
    )
    code = "print('before')\nwith o: print('inside'); 1/0\nprint('after')"
    request = client.execute(code)
    begin, end = ({"method": "update", "state": {"msg_id": taken}} for taken in (request.msg_id, ""))
    inside = comm_msg(begin, comm_id=out), stdout("inside\n"), error("ZeroDivisionError"), comm_msg(end, comm_id=out)
    shown = execute_input(code), stdout("before\n"), *inside, stdout("after\n")
    client.iopub.expect(busy(), *shown, idle(), parent=request)
    client.shell.expect(execute_reply("ok"))
    run(client, "o.close()", comm_close(comm_id=out))
