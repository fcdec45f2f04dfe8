"""The state of a notebook's widgets, kept from their comm messages as JupyterLab's widget manager keeps it.

Widget messages ("Jupyter widgets messaging protocol", version 2.1): a widget is a comm on the target `jupyter.widget`.
Its `comm_open` carries the whole state, `update` some of it, `echo_update` what a frontend has set; binary values
travel as buffers beside the state, each with the path where it belongs.

An Output widget is the one whose state the frontend makes: while its `msg_id` names a request, that request's outputs
go into the widget instead of below the cell, and the frontend tells the kernel of the widget's new `outputs`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from kernelbridge.frontend.output_area import OutputArea
from kernelbridge.wire.messages import Buffer

WIDGET_TARGET = "jupyter.widget"
WIDGET_STATE_MIME = "application/vnd.jupyter.widget-state+json"

# The key of a top-level value, and the way down into that value.
_Path = tuple[str, *tuple[str | int, ...]]


@define(eq=False)
class WidgetModel:
    """One widget's state, without its binary values, which are in `buffers` by their path in the state."""

    comm_id: str
    state: dict[str, Any] = field(factory=dict)
    buffers: dict[_Path, bytes] = field(factory=dict)

    def merge(self, state: Mapping[str, Any], buffers: Mapping[_Path, bytes]) -> None:
        """Take new values. A top-level value is replaced whole, with the buffers inside it."""
        replaced = set(state) | {path[0] for path in buffers}
        for path in [path for path in self.buffers if path[0] in replaced]:
            del self.buffers[path]
        for key in replaced & self.state.keys():
            del self.state[key]
        self.state.update(state)
        self.buffers.update(buffers)

    def to_json(self) -> dict[str, Any]:
        """Return the widget as it is saved in a notebook (the schema of @jupyter-widgets/schema, version 2.0)."""
        saved = {
            "model_name": self.state.get("_model_name"),
            "model_module": self.state.get("_model_module"),
            "model_module_version": self.state.get("_model_module_version"),
            "state": dict(self.state),
        }
        if self.buffers:
            saved["buffers"] = [
                {"encoding": "base64", "path": list(path), "data": base64.b64encode(data).decode("ascii")}
                for path, data in self.buffers.items()
            ]
        return saved


@define(eq=False)
class OutputWidget:
    """What an Output widget is beside its state: an output area, and how far the kernel knows of it.

    `dirty` says that the kernel has not been told of the area's last change; `echoes` counts the updates that were
    sent and not yet echoed.
    """

    model: WidgetModel
    area: OutputArea = field(factory=OutputArea)
    dirty: bool = False
    echoes: int = 0

    def changed(self) -> None:
        """Note that the frontend changed the area."""
        self.model.state["outputs"] = self.area.outputs
        self.dirty = True


class WidgetStates:
    """All open widgets of a kernel, and which request's outputs which Output widget captures."""

    def __init__(self) -> None:
        self._models: dict[str, WidgetModel] = {}
        self._output_widgets: dict[str, OutputWidget] = {}
        # The last widget that was told to capture a request does it: `with` blocks nest.
        self._captures: dict[str, list[OutputWidget]] = {}

    def open(self, comm_id: str, data: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> None:
        """Take a widget's `comm_open`."""
        model = self._models[comm_id] = WidgetModel(comm_id)
        state = _state(data)
        model.merge(state, _placed(data, buffers))
        if state.get("_model_name") == "OutputModel":
            widget = self._output_widgets[comm_id] = OutputWidget(model)
            widget.area.replace(_outputs(state))
            self._capture(widget, None, state.get("msg_id"))

    def update(self, comm_id: str, data: Mapping[str, Any], buffers: Sequence[Buffer] = ()) -> None:
        """Take a widget's `comm_msg`. Custom messages, and those of comms that are no open widget, change nothing."""
        model = self._models.get(comm_id)
        if model is None or data.get("method") not in ("update", "echo_update"):
            return
        state = _state(data)
        widget = self._output_widgets.get(comm_id)
        if widget is None:
            model.merge(state, _placed(data, buffers))
            return
        if data["method"] == "echo_update" and "outputs" in state:
            widget.echoes = max(0, widget.echoes - 1)
            # The echo of anything but the last update is older than what this side has.
            if widget.dirty or widget.echoes:
                del state["outputs"]
        before = model.state.get("msg_id")
        model.merge(state, _placed(data, buffers))
        if "outputs" in state:
            widget.area.replace(_outputs(state))
        if "msg_id" in state:
            self._capture(widget, before, state["msg_id"])

    def close(self, comm_id: str) -> None:
        """Take a widget's `comm_close`: a widget that the kernel has closed is not saved."""
        self._models.pop(comm_id, None)
        widget = self._output_widgets.pop(comm_id, None)
        if widget is not None:
            self._capture(widget, widget.model.state.get("msg_id"), None)

    def capturing(self, msg_id: str | None) -> OutputWidget | None:
        """Return the Output widget that takes the outputs of the request `msg_id`, if one does."""
        stack = self._captures.get(msg_id or "")
        return stack[-1] if stack else None

    def output_widgets(self) -> list[OutputWidget]:
        """Return the open Output widgets."""
        return list(self._output_widgets.values())

    def take_update(self) -> tuple[str, dict[str, Any]] | None:
        """Return the comm id and the data of one `comm_msg` that the kernel has to be sent now, or None.

        One update carries all changes since the widget's last, so a frontend that waits until the kernel has taken
        one before it asks for the next (as JupyterLab does) sends few, whatever is captured.
        """
        for comm_id, widget in self._output_widgets.items():
            if widget.dirty:
                widget.dirty = False
                widget.echoes += 1
                state = {"outputs": widget.area.outputs}
                return comm_id, {"method": "update", "state": state, "buffer_paths": []}
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the saved form of every widget by its comm id."""
        return {comm_id: model.to_json() for comm_id, model in self._models.items()}

    def _capture(self, widget: OutputWidget, before: object, after: object) -> None:
        if isinstance(before, str) and widget in (stack := self._captures.get(before, [])):
            stack.remove(widget)
            if not stack:
                del self._captures[before]
        if isinstance(after, str) and after:
            self._captures.setdefault(after, []).append(widget)


def _state(data: Mapping[str, Any]) -> dict[str, Any]:
    state = data.get("state")
    return dict(state) if isinstance(state, dict) else {}


def _outputs(state: Mapping[str, Any]) -> Sequence[object]:
    outputs = state.get("outputs")
    return outputs if isinstance(outputs, list) else ()


def _placed(data: Mapping[str, Any], buffers: Sequence[Buffer]) -> dict[_Path, bytes]:
    """Return the buffers by their paths; a path that is none, or that has no buffer, is left out."""
    paths = data.get("buffer_paths")
    if not isinstance(paths, list):
        return {}
    placed: dict[_Path, bytes] = {}
    for path, buffer in zip(paths, buffers, strict=False):
        match path:
            case [str(key), *steps] if all(isinstance(step, str | int) for step in steps):
                placed[(key, *steps)] = bytes(buffer)
    return placed
