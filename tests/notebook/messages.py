"""What the tests of outputs speak in: a kernel that says things, and the notebook that hears them."""

from __future__ import annotations

from typing import Any

from kernelbridge.notebook.outputs import CellOutputs, NotebookOutputs
from kernelbridge.wire.messages import Buffer, Header, Message

DATE = "2026-03-01T12:00:00.000000Z"


class Scene:
    """A notebook and its kernel: `cell` starts a cell, every other method publishes one message in it.

    Without `cell=` a message belongs to the cell that was started last.
    """

    def __init__(self) -> None:
        self.notebook = NotebookOutputs()
        self.last = ""

    def cell(self, msg_id: str) -> CellOutputs:
        self.last = msg_id
        return self.notebook.start(msg_id)

    def publish(
        self,
        msg_type: str,
        content: dict[str, Any],
        *,
        cell: str | None = None,
        buffers: list[Buffer] | None = None,
        date: str = DATE,
    ) -> None:
        header = Header("m", msg_type, date=date)
        parent = Header(self.last if cell is None else cell, "execute_request")
        self.notebook.receive(Message(header, content, parent, buffers=buffers or []))

    def print(self, text: str, name: str = "stdout", *, cell: str | None = None) -> None:
        self.publish("stream", {"name": name, "text": text}, cell=cell)

    def display(self, text: str, display_id: str | None = None, *, cell: str | None = None) -> None:
        self.publish("display_data", _bundle(text, display_id), cell=cell)

    def update(self, text: str, display_id: str, *, cell: str | None = None) -> None:
        self.publish("update_display_data", _bundle(text, display_id), cell=cell)

    def result(self, text: str, count: int, display_id: str | None = None) -> None:
        self.publish("execute_result", {**_bundle(text, display_id), "execution_count": count})

    def clear(self, *, wait: bool = False) -> None:
        self.publish("clear_output", {"wait": wait})

    def reply(self, content: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        header = Header("r", "execute_reply", date=DATE)
        self.notebook.receive_reply(
            Message(header, content, Header(self.last, "execute_request"), metadata=metadata or {})
        )

    def open_widget(self, comm_id: str, state: dict[str, Any], **more: Any) -> None:
        data = {"state": state, "buffer_paths": more.pop("buffer_paths", [])}
        content = {"comm_id": comm_id, "target_name": "jupyter.widget", "data": data}
        self.publish("comm_open", content, **more)

    def open_output(self, comm_id: str = "out") -> None:
        self.open_widget(
            comm_id,
            {
                "_model_name": "OutputModel",
                "_model_module": "@jupyter-widgets/output",
                "_model_module_version": "1.0.0",
                "msg_id": "",
                "outputs": [],
            },
        )

    def update_widget(self, comm_id: str, state: dict[str, Any], method: str = "update", **more: Any) -> None:
        data = {"method": method, "state": state, "buffer_paths": more.pop("buffer_paths", [])}
        self.publish("comm_msg", {"comm_id": comm_id, "data": data}, **more)


def _bundle(text: str, display_id: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {"data": {"text/plain": text}, "metadata": {}}
    return content if display_id is None else {**content, "transient": {"display_id": display_id}}


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def display(text: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}
