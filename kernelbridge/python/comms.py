"""The `comm` package's comms, over the kernel's own set of open comms: what ipywidgets and its like open and write."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import comm
from comm.base_comm import BaseComm, CommManager
from IPython.core.interactiveshell import InteractiveShell

from kernelbridge.kernel.comms import Comm
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.wire.messages import Message


class KernelComm(BaseComm):
    """A comm of the `comm` package whose messages go into the kernel's one queue."""

    kernel: Kernel

    def publish_msg(
        self,
        msg_type: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        buffers: list[bytes] | None = None,
        **keys: Any,
    ) -> None:
        content = {"data": data or {}, "comm_id": self.comm_id, **keys}
        self.kernel.publish(msg_type, content, metadata, buffers or ())

    def handle_msg(self, msg: dict[str, Any]) -> None:
        """Call back, and IPython's events around it, as the package does; but not while a cell runs.

        Else what hangs on ``post_execute`` - figures are shown there - would take what the cell is about to show, and
        give it to this message, whose output no frontend shows (ipykernel#1564). The cell's own end sees to it.
        """
        shell = InteractiveShell.instance()
        if self._msg_callback is None:
            return
        if not shell.cells.running:
            shell.events.trigger("pre_execute")
        self._msg_callback(msg)
        if not shell.cells.running:
            shell.events.trigger("post_execute")


class KernelCommManager(CommManager):
    """Keeps the kernel's set of open comms and targets, which Shell answers from, the same as the package's own."""

    def __init__(self, kernel: Kernel, make: type[KernelComm]) -> None:
        super().__init__()
        self._kernel = kernel
        self._make = make

    def register_comm(self, new: BaseComm) -> str:
        entry = Comm(self._kernel.comms, new.comm_id, new.target_name)
        entry.on_msg = lambda message: _shown(new.handle_msg, message.to_dict())
        entry.on_close = lambda message: _shown(self._closed, new, message)
        self._kernel.comms.add(entry)
        return str(super().register_comm(new))

    def unregister_comm(self, old: BaseComm) -> None:
        self._kernel.comms.remove(old.comm_id)
        super().unregister_comm(old)

    def register_target(self, target_name: str, f: Callable[..., Any] | str) -> None:
        super().register_target(target_name, f)
        callback = self.targets[target_name]

        def opened(entry: Comm, message: Message) -> None:
            new = self._make(comm_id=entry.comm_id, primary=False, target_name=target_name)
            self.register_comm(new)
            try:
                _shown(callback, new, message.to_dict())
            except BaseException:
                # The kernel refuses the comm in the frontend's sight; this takes it out of the package's own set.
                # Closed it is, too: else it would say so once more when it is collected.
                self.comms.pop(new.comm_id, None)
                new._closed = True
                raise

        self._kernel.comms.register_target(target_name, opened)

    def unregister_target(self, target_name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        self._kernel.comms.unregister_target(target_name)
        result: Callable[..., Any] = super().unregister_target(target_name, f)
        return result

    def _closed(self, old: BaseComm, message: Message) -> None:
        self.comms.pop(old.comm_id, None)
        # Said here because nobody else will: closing it again from this side must send nothing.
        old._closed = True
        old.handle_close(message.to_dict())


def _shown(callback: Callable[..., Any], *arguments: Any) -> None:
    """Call a program's own callback. What it raises goes to the program's stderr, as with ipykernel, and on.

    The kernel logs it too, where the user of a notebook never looks.
    """
    try:
        callback(*arguments)
    except BaseException:
        traceback.print_exc()
        raise


def install(kernel: Kernel) -> KernelCommManager:
    """Make the `comm` package open its comms in `kernel`."""
    make = type("Comm", (KernelComm,), {"kernel": kernel})
    manager = KernelCommManager(kernel, make)
    comm.create_comm = make
    comm.get_comm_manager = lambda: manager
    return manager
