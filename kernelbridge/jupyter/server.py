"""jupyter_server on bridges: a manager for its kernels, and what connects its windows to them.

A window of jupyter_server's is a WebSocket. Its own connection class gives each window four sockets to the kernel,
reads them in whichever order they come, and asks the kernel again and again until its subscription is seen to work.
Here a window is one more reader of the bridge's stream: it is connected at once, has replies behind outputs, and goes
on when the kernel is restarted at other addresses.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, ClassVar, Literal
from weakref import WeakSet

import attrs
from jupyter_client.jsonutil import json_default
from jupyter_server.services.kernels.connection.abc import KernelWebsocketConnectionABC
from jupyter_server.services.kernels.connection.base import (
    BaseKernelWebsocketConnection,
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
    serialize_binary_message,
    serialize_msg_to_ws_v1,
)
from jupyter_server.services.kernels.kernelmanager import MappingKernelManager
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager as JupyterServerKernelManager
from tornado import web
from tornado.websocket import WebSocketClosedError
from traitlets import Integer, validate

from kernelbridge.bridges.clock import SystemClock
from kernelbridge.frontend.bridge import Bridge
from kernelbridge.frontend.errors import BridgeClosedError, BridgeError
from kernelbridge.frontend.liveness import RESTART_LIMIT, Restarts
from kernelbridge.frontend.subscribers import Subscription
from kernelbridge.jupyter.channels import Addressed, Correspondence, NoReply, from_jupyter
from kernelbridge.jupyter.manager import AsyncKernelManager
from kernelbridge.wire.errors import WireError
from kernelbridge.wire.frames import parent_json
from kernelbridge.wire.messages import Header, Message, Session
from kernelbridge.wire.packing import pack, unpack

__all__ = ["ServerKernelManager", "WebsocketConnection"]

V1 = "v1.kernel.websocket.jupyter.org"

Event = Literal["restart", "dead"]


@attrs.define
class Window:
    """What a window reads and writes, as long as its kernel is there, connected or not."""

    session: str
    letters: Correspondence
    stream: Subscription
    unwritten: Message | None = None
    """What was read when the connection broke."""


class ServerKernelManager(JupyterServerKernelManager, AsyncKernelManager):
    """jupyter_server's manager of a kernel, on a bridge. When a kernel dies it is restarted at once.

    The order of the bases matters: jupyter_server's methods tell of what they do, and call those of
    `AsyncKernelManager` to do it.
    """

    restart_limit = Integer(
        RESTART_LIMIT, config=True, help="How many restarts may follow one another when the kernel dies."
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # All of it is owned by the event loop.
        self._callbacks: dict[Event, list[Callable[[], object]]] = {"restart": [], "dead": []}
        self._restarts = Restarts(self.restart_limit)
        self._ready_since = 0.0
        self._server_loop: asyncio.AbstractEventLoop | None = None
        # Held here as long as it runs: the loop itself would let go of it.
        self._restarting: asyncio.Task[None] | None = None
        self._away: Window | None = None

    @validate("execution_state")
    def _state_when_started(self, proposal: dict[str, Any]) -> Any:
        # The server says so when it has started a kernel, which is ready by then and will not say anything by itself.
        said = proposal["value"]
        return "idle" if said == "starting" and self.has_kernel else said

    def add_restart_callback(self, callback: Callable[[], object], event: Event = "restart") -> None:
        """Have `callback` called when the kernel has died: when it is about to be restarted, or stays dead."""
        self._callbacks[event].append(callback)

    def remove_restart_callback(self, callback: Callable[[], object], event: Event = "restart") -> None:
        if callback in self._callbacks[event]:
            self._callbacks[event].remove(callback)

    def keep(self, window: Window) -> None:
        """Keep what is put for the last window that has gone away, in case that it comes back."""
        self.let_go()
        self._away = window

    def returned(self, session: str) -> Window | None:
        """Return what was kept, if it is this session's that has come back."""
        away = self._away
        if away is None or away.session != session or away.stream.closed:
            return None
        self._away = None
        return away

    def let_go(self) -> None:
        """Keep nothing any more."""
        away, self._away = self._away, None
        if away is not None:
            away.stream.close()

    def _launch(self, options: dict[str, Any]) -> Bridge:
        self._server_loop = asyncio.get_running_loop()
        return super()._launch(options)

    def _started(self, bridge: Bridge) -> None:
        super()._started(bridge)
        self._ready_since = asyncio.get_running_loop().time()

    def _failed(self, error: BaseException) -> None:
        # The server shows this kind to its user, and of others that something went wrong.
        super()._failed(web.HTTPError(500, str(error)) if isinstance(error, BridgeError) else error)

    def _died(self, bridge: Bridge) -> None:
        if self._server_loop is not None:
            self._server_loop.call_soon_threadsafe(self._decide, bridge)

    def _decide(self, bridge: Bridge) -> None:
        if bridge is not self.bridge:
            # It has been shut down meanwhile.
            return
        ready_seconds = asyncio.get_running_loop().time() - self._ready_since
        if self.autorestart and self._restarts.allows(ready_seconds):
            self.log.warning("kernel %s has died, and is restarted", self.kernel_id)
            self._tell("restart")
            self._restarting = asyncio.ensure_future(self._restart_dead(bridge))
        else:
            self.log.warning("kernel %s has died", self.kernel_id)
            self._tell("dead")

    async def _restart_dead(self, bridge: Bridge) -> None:
        try:
            await bridge.arestart(grace=0)
        except BridgeClosedError:
            return
        except BridgeError as error:
            self.log.error("kernel %s cannot be restarted: %s", self.kernel_id, error)
            self._tell("dead")
            return
        self._started(bridge)
        self.execution_state = "idle"
        server: Any = self.parent
        if isinstance(server, MappingKernelManager) and self.kernel_id in server:
            # At the new addresses.
            server.stop_watching_activity(self.kernel_id)
            server.start_watching_activity(self.kernel_id)

    def _tell(self, event: Event) -> None:
        if event == "dead":
            self.execution_state = "dead"
        for callback in self._callbacks[event].copy():
            try:
                callback()
            except Exception:
                self.log.exception("what was to be called when kernel %s has died has failed", self.kernel_id)


class WebsocketConnection(BaseKernelWebsocketConnection):
    """A window: reads the bridge's stream and sends it on; passes requests and answers to the bridge."""

    _open: ClassVar[WeakSet[WebsocketConnection]] = WeakSet()

    _window: Window | None = None
    _sending: asyncio.Task[None] | None = None

    # The life of a connection

    async def prepare(self) -> None:
        """Wait until there is a kernel. Raises `HTTPError` where there will be none."""
        manager = self.kernel_manager
        try:
            await (manager.ready if asyncio.isfuture(manager.ready) else asyncio.wrap_future(manager.ready))
        except Exception as error:
            raise web.HTTPError(500, str(error)) from error
        if not isinstance(manager, ServerKernelManager) or manager.bridge is None:
            raise web.HTTPError(503, f"kernel {self.kernel_id} has no bridge: it has ended, or is not of this manager")

    async def connect(self) -> None:
        """Read from now on, or from where this session's last connection broke. Nothing is waited for."""
        manager = self.kernel_manager
        if manager.bridge is None:
            self.websocket_handler.close()
            return
        self._window = manager.returned(self.session_id) or Window(
            self.session_id,
            Correspondence(manager.bridge, Session(SystemClock().now, self.session_id)),
            manager.bridge.subscribe(backlog=None),
        )
        manager.let_go()
        self.multi_kernel_manager.notify_connect(self.kernel_id)
        manager.add_restart_callback(self._on_restart)
        manager.add_restart_callback(self._on_death, "dead")
        self._open.add(self)
        self._sending = asyncio.ensure_future(self._send_on(self._window))

    def disconnect(self) -> None:
        """End the connection. Called when the WebSocket has been closed, and may be called again."""
        window, self._window = self._window, None
        if window is None:
            return
        if self._sending is not None:
            self._sending.cancel()
        self._open.discard(self)
        manager, server = self.kernel_manager, self.multi_kernel_manager
        server.notify_disconnect(self.kernel_id)
        manager.remove_restart_callback(self._on_restart)
        manager.remove_restart_callback(self._on_death, "dead")
        if server.buffer_offline_messages and not server._kernel_connections.get(self.kernel_id):
            manager.keep(window)
        else:
            window.stream.close()

    @classmethod
    async def close_all(cls) -> None:
        """End all connections, when the server ends."""
        for connection in list(cls._open):
            connection.disconnect()
            connection.kernel_manager.let_go()
            if connection._sending is not None:
                await asyncio.wait({connection._sending})

    # From the window

    def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        """Pass a message of the window's on, or refuse it with a line in the log."""
        if self._window is None:
            return
        letters, stream = self._window.letters, self._window.stream
        try:
            channel, message = self._read(incoming_msg)
        except (WireError, ValueError, KeyError, IndexError, TypeError) as error:
            self.log.warning("what a window sent is no message: %s", error)
            return
        allowed = self.multi_kernel_manager.allowed_message_types
        if allowed and message.msg_type not in allowed:
            self.log.warning("a window sent a message of type %s, which is not allowed", message.msg_type)
        elif channel == "stdin":
            letters.answer(message)
        elif channel == "shell" or channel == "control":
            letters.send(message, channel, stream, stream)
        else:
            self.log.warning("a window sent a message on channel %r", channel)

    def _read(self, given: str | bytes) -> tuple[Any, Message]:
        if self._speaks_v1:
            channel, parts = deserialize_msg_from_ws_v1(given)
            header, _, metadata, content, *buffers = parts
            return channel, Message(Header.from_dict(unpack(header)), unpack(content), None, unpack(metadata), buffers)
        message = deserialize_binary_message(given) if isinstance(given, bytes) else json.loads(given)
        return message.get("channel") or "shell", from_jupyter(message)

    # To the window

    def handle_outgoing_message(self, stream: str, outgoing_msg: list[Any]) -> None:
        """Not of use here: the connection reads by itself."""
        raise NotImplementedError

    async def _send_on(self, window: Window) -> None:
        if window.unwritten is not None:
            await self._write(window, window.unwritten)
        async for message in window.stream:
            if not isinstance(message, NoReply) and not _is_the_bridges_own(message):
                await self._write(window, message)

    async def _write(self, window: Window, message: Message) -> None:
        window.unwritten = message
        written, binary = self._written(message)
        try:
            await self.websocket_handler.write_message(written, binary=binary)
        except WebSocketClosedError:
            # The next connection writes it. This one is told that it is closed.
            await asyncio.get_running_loop().create_future()
        window.unwritten = None

    @property
    def _speaks_v1(self) -> bool:
        return getattr(self.websocket_handler, "selected_subprotocol", None) == V1

    def _written(self, message: Message) -> tuple[Any, bool]:
        """Return what is written to the WebSocket, and whether it is binary."""
        channel = message.channel if isinstance(message, Addressed) else "iopub"
        content = message.content
        if message.msg_type == "error" and not self.multi_kernel_manager.allow_tracebacks:
            replacement = self.kernel_manager.parent.traceback_replacement_message
            content = {"ename": "ExecutionError", "evalue": "Execution error", "traceback": [replacement]}
        if self._speaks_v1:
            head = message.header.to_json(), parent_json(message.parent), pack(message.metadata), pack(content)
            return serialize_msg_to_ws_v1([*head, *message.buffers], channel), True
        given = {**message.to_dict(), "content": content, "channel": channel}
        if message.buffers:
            return serialize_binary_message(given), True
        return json.dumps(given, default=json_default), False

    def _on_restart(self) -> None:
        self._say("restarting")

    def _on_death(self) -> None:
        self._say("dead")

    def _say(self, state: str) -> None:
        """Put a status behind all that the kernel has said."""
        if self._window is not None:
            header = self._window.letters.session.header("status")
            self._window.stream.hand([Addressed(header, {"execution_state": state}, channel="iopub")])


def _is_the_bridges_own(message: Message) -> bool:
    """Return whether this is a status that the bridge has put into the stream in its kernel's place.

    A window is told by the server's events instead. It gives a kernel up for good that is said to be dead, while that
    is about to be restarted; and one whose restart was asked for over HTTP expects no word of it.
    """
    state = message.content.get("execution_state")
    return message.msg_type == "status" and state in ("dead", "restarting") and not isinstance(message, Addressed)


KernelWebsocketConnectionABC.register(WebsocketConnection)
