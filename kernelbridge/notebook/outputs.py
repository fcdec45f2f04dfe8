"""What a kernel's messages make of a notebook: the outputs of its cells, and the state of its widgets.

Pure: `NotebookOutputs` is given messages and can be asked what would be saved. It holds no kernel, no file and no
clock. The results are those that JupyterLab saves:

* neighbouring streams of one name are one output; `clear_output` clears at once or at the next output;
* `update_display_data` reaches every output that shows the id, in whichever cell;
* output belongs to the cell that started it, also when it comes after that cell is done (a thread that prints);
* a page that a reply carries (``obj?``) is shown as a display;
* what an Output widget captures is in the widget's state and not below the cell.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from kernelbridge.frontend.output_area import Output, OutputArea
from kernelbridge.notebook.widgets import WIDGET_TARGET, OutputWidget, WidgetStates
from kernelbridge.wire.contents import (
    ClearOutput,
    CommClose,
    CommMsg,
    CommOpen,
    DisplayData,
    Error,
    ExecuteInput,
    ExecuteResult,
    Status,
    Stream,
    UpdateDisplayData,
    structure,
)
from kernelbridge.wire.errors import ContentError
from kernelbridge.wire.messages import Message

_log = logging.getLogger(__name__)


@define(eq=False)
class CellOutputs:
    """What one execution has made of its cell.

    `timing` is what JupyterLab records in the cell's `metadata.execution`: dates by message, such as
    "iopub.status.busy" and "shell.execute_reply".
    """

    area: OutputArea = field(factory=OutputArea)
    execution_count: int | None = None
    timing: dict[str, str] = field(factory=dict)

    @property
    def outputs(self) -> list[Output]:
        """The outputs in nbformat's JSON form (version 4)."""
        return self.area.outputs


class NotebookOutputs:
    """Takes the messages of a notebook's executions, in order, and holds what they show."""

    def __init__(self) -> None:
        self._cells: dict[str, CellOutputs] = {}
        self._widgets = WidgetStates()
        self._areas_by_display: dict[str, list[OutputArea]] = {}

    def start(self, msg_id: str) -> CellOutputs:
        """Return the outputs, empty yet, of the execution whose request is `msg_id`."""
        cell = self._cells[msg_id] = CellOutputs()
        return cell

    def receive(self, message: Message) -> None:
        """Take one message from IOPub.

        A message without a known cell still updates displays and widgets. One whose content is not what its type
        says is logged and left out.
        """
        try:
            content = structure(message.msg_type, message.content)
        except ContentError as error:
            _log.warning("left out of the notebook: %s", error)
            return
        cell = self._cells.get(message.parent_id or "")
        match content:
            case CommOpen() if content.target_name == WIDGET_TARGET:
                self._widgets.open(content.comm_id, content.data, message.buffers)
            case CommMsg():
                self._widgets.update(content.comm_id, content.data, message.buffers)
            case CommClose():
                self._widgets.close(content.comm_id)
            case UpdateDisplayData():
                self._update_display(content)
            case Status() if cell is not None:
                self._note_time(cell, f"iopub.status.{content.execution_state}", message.header.date)
            case ExecuteInput() if cell is not None:
                cell.execution_count = content.execution_count
                self._note_time(cell, "iopub.execute_input", message.header.date)
            case Stream() | DisplayData() | ExecuteResult() | Error() | ClearOutput():
                self._show(content, cell, self._widgets.capturing(message.parent_id))

    def receive_reply(self, message: Message) -> None:
        """Take an execution's reply from Shell: its times, its execution count and its pages."""
        cell = self._cells.get(message.parent_id or "")
        if cell is None:
            return
        started, count = message.metadata.get("started"), message.content.get("execution_count")
        self._note_time(cell, "shell.execute_reply.started", started if isinstance(started, str) else "")
        self._note_time(cell, "shell.execute_reply", message.header.date)
        if isinstance(count, int):
            cell.execution_count = count
        for page in _pages(message.content):
            self._show(page, cell, None)

    def take_comm_update(self) -> tuple[str, dict[str, Any]] | None:
        """Return the comm id and data of one `comm_msg` that is to be sent to the kernel now, or None.

        The kernel has to be told of the outputs that its Output widgets have captured. Sending the next only when the
        kernel has taken the last keeps their number small; one carries all changes of its widget.
        """
        return self._widgets.take_update()

    def widget_states(self) -> dict[str, Any]:
        """Return the saved form of each open widget by its model id (its comm id)."""
        return self._widgets.to_json()

    def _show(
        self,
        content: Stream | DisplayData | ExecuteResult | Error | ClearOutput,
        cell: CellOutputs | None,
        capture: OutputWidget | None,
    ) -> None:
        if capture is not None:
            area = capture.area
        elif cell is not None:
            area = cell.area
        else:
            return
        if isinstance(content, ClearOutput):
            area.clear(wait=content.wait)
        else:
            area.add(content)
        if isinstance(content, DisplayData | ExecuteResult) and content.display_id is not None:
            areas = self._areas_by_display.setdefault(content.display_id, [])
            if area not in areas:
                areas.append(area)
        if capture is not None:
            capture.changed()

    def _update_display(self, content: UpdateDisplayData) -> None:
        areas = [
            area for area in self._areas_by_display.get(content.display_id or "", ()) if area.update_display(content)
        ]
        for widget in self._widgets.output_widgets():
            if widget.area in areas:
                widget.changed()

    @staticmethod
    def _note_time(cell: CellOutputs, event: str, date: str) -> None:
        if date:
            cell.timing[event] = date


def _pages(content: Mapping[str, Any]) -> list[DisplayData]:
    """Return what a reply's payloads ask to be shown in a pager ("Payloads": deprecated, and what IPython does)."""
    payloads = content.get("payload")
    return [
        DisplayData(data=payload["data"])
        for payload in (payloads if isinstance(payloads, list) else ())
        if isinstance(payload, dict) and payload.get("source") == "page" and isinstance(payload.get("data"), dict)
    ]
