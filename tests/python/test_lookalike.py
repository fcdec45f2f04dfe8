"""What libraries that were written for ipykernel call, beside what shows them that they are in a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelbridge.testing import (
    DEADLINE,
    ProtocolClient,
    busy,
    clear_output,
    comm_msg,
    display,
    error,
    execute_input,
    execute_reply,
    idle,
    regex,
    result,
    stdout,
)
from tests.support.exchange import run
from tests.support.kernels import PYTHON_KERNEL, process
from tests.support.subshells import create, delete, run_in

TEXT = {"data": {"text/plain": "x"}, "metadata": {}, "transient": {}}


@pytest.mark.parametrize("send", ["kernel.send_response", "kernel.session.send"])
def test_k1_messages_are_sent_by_hand_in_order(client: ProtocolClient, send: str) -> None:
    code = (
        "kernel = get_ipython().kernel; print('a')\n"
        f"{send}(kernel.iopub_socket, 'display_data', {TEXT});\n"
        "print('b')\n"
        f"{send}(kernel.iopub_socket, 'comm_msg', {{'comm_id': 'c', 'data': 1}}, buffers=[b'bytes'], ident=b'topic');\n"
        "print('c')"
    )
    sent = comm_msg(1, comm_id="c", buffers=[b"bytes"])
    run(client, code, stdout("a\n"), display("x"), stdout("b\n"), sent, stdout("c\n"))


def test_k4_a_message_that_is_sent_by_hand_has_the_parent_that_it_is_given(client: ProtocolClient) -> None:
    first = client.execute("parent = get_ipython().kernel.get_parent()")
    client.iopub.expect(busy(), execute_input(), idle(), parent=first)
    client.shell.expect(execute_reply(parent=first))
    request = client.execute(
        "kernel = get_ipython().kernel\n"
        "for given in (parent, parent['header'], None):\n"
        f"  kernel.session.send(kernel.iopub_socket, 'display_data', {TEXT}, given)"
    )
    client.iopub.of(request).expect(busy(), execute_input(), display("x"), idle())
    client.iopub.of(first).expect(display("x"), display("x"))
    client.shell.expect(execute_reply(parent=request))


def test_replies_are_not_sent_by_hand(client: ProtocolClient) -> None:
    refused = error("ValueError", regex("to the kernel's iopub_socket, not to None"))
    run(client, "get_ipython().kernel.send_response(None, 'x')", refused, replied=execute_reply("error"))


HOOKS = """
seen = []
def see(message):
    seen.append(message['header']['msg_type'])
    return message
def change(message):
    message['content'].setdefault('data', {})['text/plain'] = 'changed'
    return message
def take(message):
    seen.append('taken')
publisher, hook = get_ipython().display_pub, get_ipython().displayhook
"""


def test_hooks_see_change_and_take_what_is_displayed(client: ProtocolClient) -> None:
    run(client, HOOKS)
    run(
        client,
        "publisher.register_hook(see); display(1); clear_output = publisher.clear_output(); display(2)\nseen",
        display("1"),
        clear_output(False),
        display("2"),
        result("['display_data', 'clear_output', 'display_data']"),
    )
    run(
        client,
        "publisher.register_hook(change); print('a'); display(3); print('b')",
        stdout("a\n"),
        display("changed"),
        stdout("b\n"),
    )
    run(client, "seen.clear(); publisher.register_hook(take); display(4); seen", result("['display_data', 'taken']"))
    run(
        client,
        "[publisher.unregister_hook(each) for each in (see, change, take, take)]",
        result("[True, True, True, False]"),
    )
    run(client, "display(5)", display("5"))


def test_hooks_see_results(client: ProtocolClient) -> None:
    run(client, HOOKS)
    run(client, "hook.register_hook(change); 1", result("changed"))
    run(client, "hook.unregister_hook(change); 1", result("1"))


def test_hooks_are_a_threads_own(client: ProtocolClient) -> None:
    run(client, HOOKS)
    run(client, "publisher.register_hook(take)")
    shows = "import threading; thread = threading.Thread(target=display, args=(1,)); thread.start(); thread.join()"
    run(client, shows, display("1"))
    run(client, "publisher.unregister_hook(take);")


def test_k4_a_thread_is_given_the_parent_of_the_cell_that_started_it(client: ProtocolClient) -> None:
    """By what is documented in the README."""
    code = """
import threading
shell, go = get_ipython(), threading.Event()
parent = shell.get_parent()
def work():
    shell.set_parent(parent)
    go.wait()
    print('of the first')
thread = threading.Thread(target=work); thread.start()"""
    first = client.execute(code)
    client.iopub.expect(busy(), execute_input(), idle(), parent=first)
    second = client.execute("go.set(); thread.join(); print('of the second')")
    client.iopub.of(second).expect(busy(), execute_input(), stdout("of the second\n"), idle())
    client.iopub.of(first).expect(stdout("of the first\n"))
    client.shell.expect(execute_reply(parent=first), execute_reply(parent=second))


def test_a_subshell_says_which_one_it_is(client: ProtocolClient) -> None:
    run(client, "%subshell", stdout(regex("^subshell id: None\n(.*\n)+subshell list: \\[\\]\n$")))
    subshell = create(client)
    run_in(client, subshell, "%subshell", stdout(regex(f"^subshell id: {subshell}\n(.*\n)+.*\\['{subshell}'\\]\n$")))
    delete(client, subshell)


def test_do_shutdown_ends_the_kernel_after_the_cell(tmp_path: Path) -> None:
    """What many a notebook calls to be restarted by its server."""
    with process(PYTHON_KERNEL, tmp_path) as (started, info, _):
        with ProtocolClient(info) as client:
            run(client, "print(get_ipython().kernel.do_shutdown(True))", stdout("{'status': 'ok', 'restart': True}\n"))
            client.expect_end()
        assert started.wait(DEADLINE) == 0
