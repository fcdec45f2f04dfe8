"""The real jupyter_server, in a process of its own, with bridges by configuration alone: over HTTP and WebSockets."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from kernelbridge.testing import DEADLINE

ROOT = Path(__file__).parents[2]
V1 = "v1.kernel.websocket.jupyter.org"

CONFIGURATION = """
c.AsyncMappingKernelManager.kernel_manager_class = "kernelbridge.jupyter.ServerKernelManager"
c.ServerApp.kernel_websocket_connection_class = "kernelbridge.jupyter.WebsocketConnection"
c.ServerKernelManager.restart_limit = 1
"""
THEIR_WINDOWS = CONFIGURATION.splitlines()[1]

# The server as its command starts it, which says where it listens when it does. By itself it says so before.
PROGRAM = """
from jupyter_server.serverapp import ServerApp

app = ServerApp()
app.initialize(find_extensions=False)
app.io_loop.add_callback(lambda: print(app.port, flush=True))
app.start()
"""


@attrs.frozen
class Server:
    """A server that runs: where it is, and the word that it lets in."""

    address: str
    token: str

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        """Make a request of its REST API, and return what the answer says."""
        request = HTTPRequest(
            f"http://{self.address}/api/{path}",
            method,
            {"Authorization": f"token {self.token}"},
            json.dumps(body) if method == "POST" else None,
            request_timeout=DEADLINE,
        )
        answer = await AsyncHTTPClient().fetch(request)
        return json.loads(answer.body) if answer.body else None

    @asynccontextmanager
    async def kernel(self, name: str = "kernelbridge") -> AsyncIterator[str]:
        """A kernel that was started over HTTP, by its id."""
        model = await self.ask("POST", "kernels", name=name)
        try:
            yield model["id"]
        finally:
            if model["id"] in [kernel["id"] for kernel in await self.ask("GET", "kernels")]:
                await self.ask("DELETE", f"kernels/{model['id']}")

    @asynccontextmanager
    async def window(self, kernel_id: str, session: str = "s", protocol: str = V1) -> AsyncIterator[Window]:
        request = HTTPRequest(
            f"ws://{self.address}/api/kernels/{kernel_id}/channels?session_id={session}",
            headers={"Authorization": f"token {self.token}"},
        )
        socket = await websocket_connect(request, subprotocols=[protocol] if protocol else None)
        try:
            yield Window(socket, protocol)
        finally:
            socket.close()
            while await socket.read_message() is not None:
                continue


@attrs.define
class Window:
    """A frontend's WebSocket, in either of jupyter_server's two protocols."""

    socket: WebSocketClientConnection
    protocol: str
    _sent: int = 0

    async def send(self, channel: str, msg_type: str, **content: Any) -> str:
        self._sent += 1
        msg_id = f"{id(self.socket)}-{self._sent}"
        header = {"msg_id": msg_id, "msg_type": msg_type, "session": "s", "username": "", "date": "", "version": "5.3"}
        if self.protocol == V1:
            parts = [json.dumps(part).encode() for part in (header, {}, {"cellId": "c"}, content)]
            await self.socket.write_message(serialize_msg_to_ws_v1(parts, channel), binary=True)
        else:
            fields = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel}
            await self.socket.write_message(json.dumps(fields))
        return msg_id

    async def execute(self, code: str) -> str:
        return await self.send("shell", "execute_request", code=code, silent=False, allow_stdin=True)

    async def read(self) -> dict[str, Any]:
        given = await self.socket.read_message()
        assert given is not None, "the server closed the connection"
        if self.protocol != V1:
            message: dict[str, Any]
            message = deserialize_binary_message(given) if isinstance(given, bytes) else json.loads(given)
            return message
        channel, parts = deserialize_msg_from_ws_v1(given)
        header, parent, _, content = (json.loads(part) for part in parts[:4])
        return {"channel": channel, "header": header, "parent_header": parent, "content": content}

    async def read_to(self, done: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        messages = [await self.read()]
        while not done(messages[-1]):
            messages.append(await self.read())
        return messages

    async def outcome(self, msg_id: str) -> list[dict[str, Any]]:
        """Everything with this request as parent, to its reply."""
        seen = await self.read_to(lambda one: one["channel"] == "shell" and one["parent_header"]["msg_id"] == msg_id)
        return [one for one in seen if one["parent_header"].get("msg_id") == msg_id]


def kind(message: dict[str, Any]) -> str:
    return str(message["content"].get("execution_state") or message["header"]["msg_type"])


def text(message: dict[str, Any]) -> str:
    return str(message["content"].get("text", ""))


@contextmanager
def server(configuration: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="kb") as name:
        folder = Path(name)
        (folder / "jupyter_server_config.py").write_text(configuration)
        broken = {"argv": [sys.executable, "-c", "import sys; sys.exit('no licence')"], "display_name": "broken"}
        (folder / "data" / "kernels" / "broken").mkdir(parents=True)
        (folder / "data" / "kernels" / "broken" / "kernel.json").write_text(json.dumps(broken))
        runtime = folder / "runtime"
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JUPYTER_CONFIG_DIR": name,
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        options = [
            "--allow-root",
            "--no-browser",
            "--ServerApp.port=0",
            f"--ServerApp.root_dir={name}",
            "--IdentityProvider.token=let-me-in",
        ]
        command = [sys.executable, "-c", PROGRAM, *options]
        process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            assert process.stdout is not None and process.stderr is not None
            said: deque[str] = deque(maxlen=100)
            reader = threading.Thread(target=said.extend, args=(process.stderr,))
            reader.start()
            try:
                port = process.stdout.readline()
                assert port, "the server has not started"
                yield Server(f"127.0.0.1:{port.strip()}", "let-me-in")
            finally:
                process.terminate()
                process.wait(DEADLINE)
                reader.join(DEADLINE)
                # Shown where a test has failed.
                print(*said, sep="")
        assert [file.name for file in runtime.iterdir() if "kernel" in file.name] == []


@pytest.fixture(scope="module")
def ours() -> Iterator[Server]:
    with server(CONFIGURATION) as running:
        yield running


def in_a_loop(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE):
            await test()

    asyncio.run(bounded())


@pytest.mark.parametrize("protocol", [V1, ""])
def test_a_cell_is_shown_in_one_order_and_its_reply_behind_it(ours: Server, protocol: str) -> None:
    """F1, F2, in both of the server's protocols."""

    async def test() -> None:
        async with ours.kernel() as kernel, ours.window(kernel, protocol=protocol) as window:
            assert (await ours.ask("GET", f"kernels/{kernel}"))["execution_state"] == "idle"
            code = "import comm; print('one'); c = comm.create_comm(target_name='t'); c.send(0, buffers=[b'x'])"
            seen = await window.outcome(await window.execute(code + "; print('two')"))
            shown = ["execute_input", "stream", "comm_open", "comm_msg", "stream"]
            assert [kind(one) for one in seen] == ["busy", *shown, "idle", "execute_reply"]
            assert text(seen[2]) == "one\n"

    in_a_loop(test)


def test_a_question_is_answered_and_a_cell_interrupted(ours: Server) -> None:
    """F7, F9."""

    async def test() -> None:
        async with ours.kernel("python3") as kernel, ours.window(kernel) as window:
            asking = await window.execute("print(input('who? '))")
            *_, question = await window.read_to(lambda one: one["header"]["msg_type"] == "input_request")
            assert (question["channel"], question["content"]["prompt"]) == ("stdin", "who? ")
            await window.send("stdin", "input_reply", value="Ada")
            assert "Ada\n" in [text(one) for one in await window.outcome(asking)]

            endless = await window.execute("print('waits', flush=True)\nwhile True: pass")
            await window.read_to(lambda one: text(one) == "waits\n")
            await ours.ask("POST", f"kernels/{kernel}/interrupt")
            assert (await window.outcome(endless))[-1]["content"]["ename"] == "KeyboardInterrupt"

    in_a_loop(test)


def test_a_restart_leaves_the_windows_connected(ours: Server) -> None:
    """F8: the new kernel has other addresses, of which a window does not hear."""

    async def test() -> None:
        async with ours.kernel() as kernel, ours.window(kernel) as window, ours.window(kernel, "other") as other:
            await window.outcome(await window.execute("here = 1"))
            await ours.ask("POST", f"kernels/{kernel}/restart")
            seen = await window.outcome(await window.execute("here"))
            assert seen[-1]["content"]["ename"] == "NameError"
            both = await other.read_to(lambda one: kind(one) == "error")
            assert not {"dead", "restarting"} & {kind(one) for one in both}

    in_a_loop(test)


def test_a_death_shows_at_once_and_leads_to_a_restart_or_the_end(ours: Server) -> None:
    """F6. jupyter_server's own manager looks every three seconds."""

    async def test() -> None:
        async with ours.kernel() as kernel, ours.window(kernel) as window:
            await window.execute("print('last words', flush=True)\ninput()\nimport os; os._exit(3)")
            # What has not left the process by then ends with it.
            await window.read_to(lambda one: kind(one) == "input_request")
            await window.send("stdin", "input_reply", value="")
            seen = await window.read_to(lambda one: kind(one) == "restarting")
            assert "dead" not in map(kind, seen)
            assert (await window.outcome(await window.execute("6 * 7")))[-1]["content"]["status"] == "ok"
            assert (await ours.ask("GET", f"kernels/{kernel}"))["connections"] == 1

            # The next one in a row: the server's configuration allows one.
            await window.execute("import os; os._exit(3)")
            await window.read_to(lambda one: kind(one) == "dead")
            with pytest.raises(HTTPError, match="404"):
                await ours.ask("GET", f"kernels/{kernel}")

    in_a_loop(test)


def test_a_window_that_comes_back_gets_what_it_missed(ours: Server) -> None:
    async def test() -> None:
        async with ours.kernel() as kernel:
            async with ours.window(kernel, "back") as window:
                msg_id = await window.execute("print('one', flush=True)\nprint(input())\nprint('two')")
                await window.read_to(lambda one: one["header"]["msg_type"] == "input_request")
            async with ours.window(kernel, "back") as window:
                await window.send("stdin", "input_reply", value="Ada")
                assert "".join(map(text, await window.outcome(msg_id))) == "Ada\ntwo\n"

    in_a_loop(test)


def test_a_kernel_that_does_not_start_says_why(ours: Server) -> None:
    async def test() -> None:
        with pytest.raises(HTTPError) as refused:
            async with ours.kernel("broken"):
                pytest.fail("it started")
        assert refused.value.response is not None
        assert "ended with exit status 1 while starting: no licence" in refused.value.response.body.decode()

    in_a_loop(test)


def test_the_manager_serves_the_servers_own_windows() -> None:
    """They connect sockets of their own, to the addresses that the manager tells."""

    async def test() -> None:
        with server(THEIR_WINDOWS) as theirs:
            async with theirs.kernel() as kernel, theirs.window(kernel) as window:
                seen = await window.outcome(await window.execute("print('one')"))
                assert seen[-1]["content"]["status"] == "ok"
                endless = await window.execute("print('waits', flush=True)\nwhile True: pass")
                await window.read_to(lambda one: text(one) == "waits\n")
                await theirs.ask("POST", f"kernels/{kernel}/interrupt")
                assert (await window.outcome(endless))[-1]["content"]["ename"] == "KeyboardInterrupt"
                await theirs.ask("POST", f"kernels/{kernel}/restart")
                async with theirs.window(kernel, "anew") as anew:
                    assert (await anew.outcome(await anew.execute("1")))[-1]["content"]["status"] == "ok"
                await window.execute("1")
                await theirs.ask("DELETE", f"kernels/{kernel}")

    in_a_loop(test)
