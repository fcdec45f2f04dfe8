"""Kernel managers with jupyter_client's interface whose kernels are held by a bridge.

What jupyter_client's managers do with a provisioner, a connection file and a poll, the bridge does: these classes only
translate. They are subclasses because the tools ask for that.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

from jupyter_client.connect import port_names
from jupyter_client.kernelspec import KernelSpec, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager as JupyterAsyncKernelManager
from jupyter_client.manager import KernelManager as JupyterKernelManager
from traitlets import CaselessStrEnum, DottedObjectName, Float, Type

from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.launch import BUILT_IN, find_kernelspec
from kernelbridge.jupyter.channels import lives
from kernelbridge.wire.connection import ConnectionInfo

__all__ = ["AsyncKernelManager", "KernelManager"]

_TAKEN = {"cwd", "env", "extra_arguments", "kernel_id", "transport_encryption"}


class _Manager(JupyterKernelManager):
    """What all managers have in common."""

    transport = CaselessStrEnum(
        ["tcp", "ipc"],
        default_value=None,
        allow_none=True,
        config=True,
        help="The transport; by default ipc where the platform has it. It is known when the kernel has been started.",
    )

    start_timeout = Float(60.0, config=True, help="Seconds in which a kernel must prove ready.")

    bridge: Bridge | None = None
    """What holds the kernel; None before it is started and when it has been shut down."""

    _asked_transport: Any = None

    # What is said of the kernel

    @property
    def kernel_spec(self) -> KernelSpec | None:
        """The kernelspec; of the built-in kernel also where it is not installed."""
        try:
            return super().kernel_spec
        except NoSuchKernel:
            if self.kernel_name != BUILT_IN:
                raise
            self._kernel_spec = find_kernelspec(BUILT_IN)
            return self._kernel_spec

    @property
    def has_kernel(self) -> bool:
        """Whether there is a kernel that has not ended."""
        return self.bridge is not None and lives(self.bridge)

    @property
    def ports(self) -> list[Any]:
        """The kernel's addresses: what jupyter_server compares to see whether it must connect anew.

        With IPC, two kernels may have the same port numbers.
        """
        return [self._make_url(name.removesuffix("_port")) for name in port_names]

    async def _async_is_alive(self) -> bool:
        return self.has_kernel

    def resolve_path(self, path: str) -> str | None:
        """Return the absolute path of a file of the kernel's, whose folder is that of its start."""
        folder = (self._launch_args or {}).get("cwd")
        return str(Path(str(folder or Path.cwd()), path).resolve())

    # What both kinds do

    def _launch(self, options: dict[str, Any]) -> Bridge:
        """Start a kernel, which is not ready yet."""
        ignored = sorted(options.keys() - _TAKEN)
        if ignored:
            self.log.warning("options to start_kernel that a bridge does not take are ignored: %s", ", ".join(ignored))
        if not self._attempted_start:
            # From now on the trait says which one it is.
            self._asked_transport = self.transport
        if self.ready.done():
            self._ready = None
        self._attempted_start = True
        self.kernel_id = options.get("kernel_id") or self.kernel_id or str(uuid4())
        self._launch_args = {name: options[name] for name in options.keys() & _TAKEN}
        self.shutting_down = False
        given = options.get("env")
        env = None if given is None else {**dict.fromkeys(os.environ.keys() - given.keys()), **given}
        self.bridge = launch(
            self.kernel_name,
            kernelspec=self.kernel_spec,
            cwd=options.get("cwd"),
            env=env,
            extra_arguments=options.get("extra_arguments") or (),
            transport=self._asked_transport,
            curve=self._encrypts(options.get("transport_encryption")),
            timeout=self.start_timeout,
            on_death=self._died,
        )
        return self.bridge

    def _encrypts(self, asked: str | None) -> bool:
        policy = asked or getattr(self, "transport_encryption", "disabled")
        return policy == "required" or (policy == "auto" and self._kernel_supports_curve_encryption())

    def _died(self, bridge: Bridge) -> None:
        """Learn, on a thread for that, that the kernel has died. It stays dead."""
        self.log.warning("kernel %s has died", self.kernel_name)

    def _started(self, bridge: Bridge) -> None:
        """Say where the kernel is, and that it is ready."""
        info = bridge.connection
        if info is not None:
            self._adopt(info)
        if bridge.connection_file is not None:
            self.connection_file = str(bridge.connection_file)
        if not self.ready.done():
            self.ready.set_result(None)

    def _adopt(self, info: ConnectionInfo) -> None:
        for name in port_names:
            setattr(self, name, 0)
        self.load_connection_info(info.to_json())  # type: ignore[arg-type]

    def _failed(self, error: BaseException) -> None:
        self.bridge = None
        if not self.ready.done() and isinstance(error, Exception):
            self.ready.set_exception(error)
            # Who asks finds it, and nobody has to.
            self.ready.exception()

    def _grace(self, now: bool) -> float:
        return 0.0 if now else max(self.shutdown_wait_time, 0.0)

    def _running(self, what: str) -> Bridge:
        if self.bridge is None or not lives(self.bridge):
            raise RuntimeError(f"Cannot {what} kernel. No kernel is running!")
        return self.bridge

    def _warn_of_restart(self, options: dict[str, Any]) -> None:
        if options:
            self.log.warning("options to restart_kernel are ignored: %s", ", ".join(sorted(options)))

    def _interrupt(self) -> None:
        self._running("interrupt").interrupt()

    def _signal(self, signum: int) -> None:
        bridge = self._running("signal")
        if signum == signal.SIGINT:
            bridge.interrupt()
        else:
            bridge.signal(signum)

    def _forget_sockets(self, restart: bool) -> None:
        """Close what a tool has connected by itself, if this manager has made the context of it."""
        if self._created_context and not restart and not self.context.closed:
            self.context.destroy(linger=100)


class KernelManager(_Manager):
    """What jupyter_client's `KernelManager` is, on a bridge. It needs no event loop.

    `start_kernel` returns when the kernel is ready, and raises what `kernelbridge.launch` and entering a bridge raise.
    """

    client_class = DottedObjectName("kernelbridge.jupyter.client.KernelClient", config=True)
    client_factory = Type(klass="kernelbridge.jupyter.client.KernelClient", config=True)

    def start_kernel(self, **options: Any) -> None:
        self._end(0)
        try:
            bridge = self._launch(options)
            bridge.wait_ready()
            self._started(bridge)
        except BaseException as error:
            self._end(0)
            self._failed(error)
            raise

    def restart_kernel(self, now: bool = False, newports: bool = False, **options: Any) -> None:
        """Start the kernel again, as it was started, at addresses of its own. Its clients go on."""
        self._warn_of_restart(options)
        if self.bridge is None:
            raise RuntimeError("Cannot restart the kernel. No previous call to 'start_kernel'.")
        self.bridge.restart(grace=self._grace(now))
        self._started(self.bridge)

    def request_shutdown(self, restart: bool = False) -> None:
        self._running("shut down").shutdown(restart, grace=self._grace(now=False))

    def finish_shutdown(self, waittime: float | None = None, pollinterval: float = 0.1, restart: bool = False) -> None:
        """End the kernel, within `waittime` seconds if it does not by itself. Nothing is polled."""
        self._end(self._grace(now=False) if waittime is None else waittime)

    def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        """End the kernel, at once or when it has had time to. Nothing of it is left then."""
        self.shutting_down = True
        self._end(self._grace(now))
        self._forget_sockets(restart)

    def cleanup_resources(self, restart: bool = False) -> None:
        self._end(0)
        self._forget_sockets(restart)

    def interrupt_kernel(self) -> None:
        """Interrupt what runs and abort what waits (contract F7)."""
        self._interrupt()

    def signal_kernel(self, signum: int) -> None:
        self._signal(signum)

    def is_alive(self) -> bool:
        return self.has_kernel

    def _end(self, grace: float) -> None:
        bridge, self.bridge = self.bridge, None
        if bridge is not None:
            bridge.close(grace=grace)


class AsyncKernelManager(_Manager, JupyterAsyncKernelManager):
    """What jupyter_client's `AsyncKernelManager` is, on a bridge. See `KernelManager`."""

    client_class = DottedObjectName("kernelbridge.jupyter.client.AsyncKernelClient", config=True)
    client_factory = Type(klass="kernelbridge.jupyter.client.AsyncKernelClient", config=True)

    async def start_kernel(self, **options: Any) -> None:
        await self._end(0)
        try:
            bridge = self._launch(options)
            await bridge.ready()
            self._started(bridge)
        except BaseException as error:
            await self._end(0)
            self._failed(error)
            raise

    async def restart_kernel(self, now: bool = False, newports: bool = False, **options: Any) -> None:
        self._warn_of_restart(options)
        if self.bridge is None:
            raise RuntimeError("Cannot restart the kernel. No previous call to 'start_kernel'.")
        await self.bridge.arestart(grace=self._grace(now))
        self._started(self.bridge)

    async def request_shutdown(self, restart: bool = False) -> None:
        self._running("shut down").shutdown(restart, grace=self._grace(now=False))

    async def finish_shutdown(
        self, waittime: float | None = None, pollinterval: float = 0.1, restart: bool = False
    ) -> None:
        await self._end(self._grace(now=False) if waittime is None else waittime)

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        self.shutting_down = True
        await self._end(self._grace(now))
        self._forget_sockets(restart)

    async def cleanup_resources(self, restart: bool = False) -> None:
        await self._end(0)
        self._forget_sockets(restart)

    async def interrupt_kernel(self) -> None:
        self._interrupt()

    async def signal_kernel(self, signum: int) -> None:
        self._signal(signum)

    is_alive = _Manager._async_is_alive

    async def _end(self, grace: float) -> None:
        bridge, self.bridge = self.bridge, None
        if bridge is not None:
            await bridge.aclose(grace=grace)
