"""The clients that people have: jupyter_client's and nbclient run against the echo kernel and the Python kernel."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from nbclient import NotebookClient

from kernelbridge.testing import DEADLINE
from tests.support.kernels import ECHO_KERNEL, PYTHON_KERNEL, blocking_client, process

KERNELS = {"echo": (ECHO_KERNEL, "hello", "hello\n"), "python": (PYTHON_KERNEL, "print('hello')", "hello\n")}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_blocking_client_executes_and_asks(tmp_path: Path, kernel: str) -> None:
    command, code, text = KERNELS[kernel]
    with process(command, tmp_path) as (started, _, file), blocking_client(file) as client:
        outputs: list[dict[str, Any]] = []
        reply = client.execute_interactive(code, timeout=DEADLINE, output_hook=outputs.append)
        assert reply["content"]["status"] == "ok"
        shown = [message["content"].get("text") for message in outputs if message["msg_type"] == "stream"]
        assert shown == [text]
        assert outputs[-1]["content"] == {"execution_state": "idle"}
        assert client.kernel_info(reply=True, timeout=DEADLINE)["content"]["status"] == "ok"
        assert client.complete("f", reply=True, timeout=DEADLINE)["content"]["matches"]
        assert client.inspect("f", reply=True, timeout=DEADLINE)["content"]["status"] == "ok"
        assert client.history(reply=True, hist_access_type="tail", n=1, timeout=DEADLINE)["content"]["status"] == "ok"
        assert client.comm_info(reply=True, timeout=DEADLINE)["content"]["comms"] == {}
        assert client.is_alive()
        client.shutdown(reply=True, timeout=DEADLINE)
        assert started.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("kernel", "code"), [("echo", "ask name? "), ("python", "print('You said:', input('name? '))")]
)
def test_a_blocking_client_answers_a_prompt(tmp_path: Path, kernel: str, code: str) -> None:
    with process(KERNELS[kernel][0], tmp_path) as (_, _, file), blocking_client(file) as client:
        outputs: list[dict[str, Any]] = []

        def answer(message: dict[str, Any]) -> None:
            assert message["content"]["prompt"] == "name? "
            client.input("Ada")

        client.execute_interactive(
            code, timeout=DEADLINE, allow_stdin=True, stdin_hook=answer, output_hook=outputs.append
        )
        text = "".join(message["content"]["text"] for message in outputs if message["msg_type"] == "stream")
        assert text == "You said: Ada\n"


@pytest.mark.parametrize("kernel", KERNELS)
def test_nbclient_runs_a_notebook(tmp_path: Path, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, code, text = KERNELS[kernel]
    folder = tmp_path / "kernels" / f"test-{kernel}"
    folder.mkdir(parents=True)
    spec = {"argv": [*command, "{connection_file}"], "display_name": kernel, "language": kernel}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for _ in range(5)])
    NotebookClient(notebook, kernel_name=f"test-{kernel}", timeout=int(DEADLINE)).execute()
    for count, cell in enumerate(notebook.cells, 1):
        assert cell.execution_count == count
        assert cell.outputs[0] == {"output_type": "stream", "name": "stdout", "text": text}


def stalled(client: BlockingKernelClient, code: str, seconds: float) -> list[str]:
    """Execute, read nothing for `seconds`, and return the text of each stream message up to the idle."""
    msg_id = client.execute(code)
    # The stall itself is what is tested: nothing comes that could be waited for.
    threading.Event().wait(seconds)
    texts: list[str] = []
    while True:
        message = client.get_iopub_msg(timeout=DEADLINE)
        if message["parent_header"].get("msg_id") != msg_id:
            continue
        if message["msg_type"] == "stream":
            texts.append(message["content"]["text"])
        elif message["content"].get("execution_state") == "idle":
            return texts


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_k8_a_reader_that_stalls_for_30_s_loses_none_of_200000_flushed_lines(tmp_path: Path) -> None:
    lines = 200_000
    with process(PYTHON_KERNEL, tmp_path, transport="tcp") as (_, _, file), blocking_client(file) as client:
        # jupyter_client's own limit of 1,000 unread messages stands, as for everybody who uses it.
        texts = stalled(client, f"for n in range({lines}): print(n, flush=True)", 30)
    assert "".join(texts) == "".join(f"{n}\n" for n in range(lines))


def test_k8_a_short_stall_loses_none_of_20000_flushed_lines(tmp_path: Path) -> None:
    lines = 20_000
    with process(PYTHON_KERNEL, tmp_path) as (_, _, file), blocking_client(file) as client:
        texts = stalled(client, f"for n in range({lines}): print(n, flush=True)", 1)
    assert "".join(texts) == "".join(f"{n}\n" for n in range(lines))
