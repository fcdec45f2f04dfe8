"""The kernel under check: launched when it is needed, and anew after it has died or hung."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

import zmq

from kernelbridge.bridges.socket_bridge import Context
from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.errors import BridgeError
from kernelbridge.testing.check.failures import KernelDied, KernelHung
from kernelbridge.testing.check.observer import Observer
from kernelbridge.testing.check.samples import Samples, samples_for
from kernelbridge.wire.connection import ConnectionInfo

__all__ = ["Launched"]

_START_SECONDS: Final = 30.0
_REST_SECONDS: Final = 5.0
_GRACE: Final = 1.0
_FATE_SECONDS: Final = 2.0


class Launched:
    """An installed kernel. Nothing of it is left when the `with` block ends.

    All kernels are launched on TCP, as JupyterLab does, so that they can be compared. Used by one thread at a time;
    only `give_up` may be called by another.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.context: Context = zmq.Context()
        self.info: Mapping[str, Any] = {}
        self.samples = Samples("")
        self.setup_problem = ""
        """Why the setup of the samples does not run."""
        self.given_up = False
        """Whether `give_up` was called."""
        self._lock = threading.Lock()
        self._bridge: Bridge | None = None
        self._observer: Observer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.end()
        finally:
            self.context.destroy(0)

    @property
    def connection(self) -> ConnectionInfo:
        if self._bridge is None or self._bridge.connection is None:
            raise RuntimeError("the kernel does not run")
        return self._bridge.connection

    def interrupt(self) -> None:
        if self._bridge is not None:
            self._bridge.interrupt()

    def ready(self) -> Observer:
        """Return the observer of a kernel that runs and is at rest, which is launched if there is none.

        Raises `BridgeError` when it cannot be launched, `KernelDied` and `KernelHung` when a new one does not come to
        rest.
        """
        if self._observer is not None:
            try:
                return self._at_rest(self._observer)
            except (KernelDied, KernelHung):
                self.end()
        try:
            return self._start()
        except BaseException:
            self.end()
            raise

    def give_up(self) -> None:
        """End the kernel at once, whatever is being tried on it, and launch no other."""
        with self._lock:
            self.given_up = True
            bridge = self._bridge
        if bridge is not None:
            bridge.close(grace=0)

    def end(self) -> None:
        """End the kernel. The next one that is needed is a new one."""
        self._observer = self._bridge = None
        self._stack.close()

    def _start(self) -> Observer:
        with self._lock:
            if self.given_up:
                raise KernelDied("the check was ended")
            self._bridge = bridge = launch(self.name, transport="tcp", timeout=_START_SECONDS)
        self._stack.callback(bridge.close, grace=_GRACE)
        bridge.wait_ready()
        self.info = bridge.kernel_info_reply
        language = self.info.get("language_info")
        self.samples = samples_for(str(language.get("name")) if isinstance(language, Mapping) else "")
        observer = self._stack.enter_context(Observer(self.connection, self.context, self._fate))
        # What a kernel does behind its first answer belongs to its start.
        self._at_rest(observer, _START_SECONDS)
        if self.samples.knows("setup"):
            observer.begin(_START_SECONDS)
            content = observer.run(self.samples.cell("setup")).reply.content
            if content.get("status") != "ok":
                self.setup_problem = f"{content.get('ename')}: {content.get('evalue')}"
        self._observer = observer
        return observer

    @staticmethod
    def _at_rest(observer: Observer, seconds: float = _REST_SECONDS) -> Observer:
        observer.begin(seconds)
        observer.settle()
        return observer

    def _fate(self) -> str:
        """Return how the kernel ended, as far as the bridge that launched it knows."""
        if self._bridge is None:
            return ""
        try:
            self._bridge.kernel_info().result(_FATE_SECONDS)
        except BridgeError as death:
            return str(death)
        except TimeoutError:
            return f"kernel {self.name!r} closed its connections and does not answer"
        return ""
