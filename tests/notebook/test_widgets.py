"""The state of widgets as it is saved, and what Output widgets capture. No kernel."""

from __future__ import annotations

import base64
from typing import Any

from tests.notebook.messages import Scene, display, stream

SLIDER = {"_model_name": "IntSliderModel", "_model_module": "@jupyter-widgets/controls", "_model_module_version": "2.0"}


def outputs_of(scene: Scene, comm_id: str = "out") -> Any:
    return scene.notebook.widget_states()[comm_id]["state"]["outputs"]


class TestState:
    def test_is_what_open_and_the_updates_since_make(self) -> None:
        scene = Scene()
        scene.open_widget("w", {**SLIDER, "value": 1, "max": 10})
        scene.update_widget("w", {"value": 2})
        scene.update_widget("w", {"value": 3}, "echo_update")
        scene.update_widget("w", {"value": 9}, "custom")
        assert scene.notebook.widget_states() == {
            "w": {
                "model_name": "IntSliderModel",
                "model_module": "@jupyter-widgets/controls",
                "model_module_version": "2.0",
                "state": {**SLIDER, "value": 3, "max": 10},
            }
        }

    def test_a_closed_widget_is_not_saved(self) -> None:
        scene = Scene()
        scene.open_widget("w", SLIDER)
        scene.publish("comm_close", {"comm_id": "w", "data": {}})
        scene.update_widget("w", {"value": 1})
        assert scene.notebook.widget_states() == {}

    def test_a_comm_of_another_target_is_no_widget(self) -> None:
        scene = Scene()
        scene.publish("comm_open", {"comm_id": "c", "target_name": "mine", "data": {"state": {"a": 1}}})
        scene.update_widget("c", {"a": 2})
        assert scene.notebook.widget_states() == {}

    def test_buffers_are_saved_with_their_paths(self) -> None:
        scene = Scene()
        scene.open_widget(
            "w", {**SLIDER, "b": {}}, buffer_paths=[["a"], ["b", "x", 0]], buffers=[b"one", memoryview(b"two")]
        )
        scene.update_widget("w", {}, buffer_paths=[["a"]], buffers=[b"new"])
        saved = {tuple(entry["path"]): entry for entry in scene.notebook.widget_states()["w"]["buffers"]}
        assert {path: base64.b64decode(entry["data"]) for path, entry in saved.items()} == {
            ("a",): b"new",
            ("b", "x", 0): b"two",
        }
        assert {entry["encoding"] for entry in saved.values()} == {"base64"}

    def test_a_value_that_is_replaced_takes_its_buffers_with_it(self) -> None:
        scene = Scene()
        scene.open_widget("w", {**SLIDER, "b": {}}, buffer_paths=[["b", "x"]], buffers=[b"old"])
        scene.update_widget("w", {"b": None})
        assert "buffers" not in scene.notebook.widget_states()["w"]
        scene.update_widget("w", {}, buffer_paths=[["b"]], buffers=[b"now binary"])
        assert "b" not in scene.notebook.widget_states()["w"]["state"]

    def test_mistyped_data_breaks_nothing(self) -> None:
        scene = Scene()
        scene.open_widget("w", SLIDER)
        for data in ({}, {"method": "update", "state": 3}, {"method": "update", "buffer_paths": [[], 3, [None]]}):
            scene.publish("comm_msg", {"comm_id": "w", "data": data}, buffers=[b"1", b"2", b"3"])
        assert scene.notebook.widget_states()["w"]["state"] == SLIDER


class TestOutputWidget:
    def test_captures_while_its_msg_id_names_the_request(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.open_output()
        scene.print("before\n")
        scene.update_widget("out", {"msg_id": "c"})
        scene.print("in")
        scene.print("side")
        scene.display("x")
        scene.update_widget("out", {"msg_id": ""})
        scene.print("after\n")
        assert cell.outputs == [stream("before\nafter\n")]
        assert outputs_of(scene) == [stream("inside"), display("x")]

    def test_captures_nothing_of_another_request(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.open_output()
        scene.update_widget("out", {"msg_id": "another"})
        scene.print("mine")
        assert (cell.outputs, outputs_of(scene)) == ([stream("mine")], [])

    def test_clear_output_clears_the_widget_and_not_the_cell(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.open_output()
        scene.print("below")
        scene.update_widget("out", {"msg_id": "c"})
        scene.print("old")
        scene.clear(wait=True)
        assert outputs_of(scene) == [stream("old")]
        scene.print("new")
        assert outputs_of(scene) == [stream("new")]
        scene.clear()
        assert outputs_of(scene) == []
        assert cell.outputs == [stream("below")]

    def test_the_inner_of_two_captures(self) -> None:
        scene = Scene()
        scene.cell("c")
        for comm_id in ("outer", "inner"):
            scene.open_output(comm_id)
            scene.update_widget(comm_id, {"msg_id": "c"})
        scene.print("1")
        scene.update_widget("inner", {"msg_id": ""})
        scene.print("2")
        assert (outputs_of(scene, "outer"), outputs_of(scene, "inner")) == ([stream("2")], [stream("1")])

    def test_a_closed_one_captures_no_more(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.open_output()
        scene.update_widget("out", {"msg_id": "c"})
        scene.publish("comm_close", {"comm_id": "out", "data": {}})
        scene.print("free")
        assert cell.outputs == [stream("free")]

    def test_displays_in_it_are_updated_too(self) -> None:
        scene = Scene()
        scene.cell("c")
        scene.open_output()
        scene.update_widget("out", {"msg_id": "c"})
        scene.display("old", "d")
        scene.update_widget("out", {"msg_id": ""})
        scene.update("new", "d")
        assert outputs_of(scene) == [display("new")]

    def test_outputs_that_the_kernel_sets_replace_those_captured(self) -> None:
        scene = Scene()
        scene.cell("c")
        scene.open_output()
        scene.update_widget("out", {"msg_id": "c"})
        scene.print("captured")
        scene.update_widget("out", {"outputs": [stream("set")]})
        scene.print(" more")
        assert outputs_of(scene) == [stream("set more")]


class TestTellingTheKernel:
    def test_one_update_carries_all_that_was_captured_since_the_last(self) -> None:
        scene = Scene()
        scene.cell("c")
        scene.open_output()
        scene.update_widget("out", {"msg_id": "c"})
        assert scene.notebook.take_comm_update() is None
        scene.print("1")
        scene.display("2")
        update = {"method": "update", "state": {"outputs": [stream("1"), display("2")]}, "buffer_paths": []}
        assert scene.notebook.take_comm_update() == ("out", update)
        assert scene.notebook.take_comm_update() is None

    def test_an_echo_older_than_the_last_update_does_not_undo_it(self) -> None:
        scene = Scene()
        scene.cell("c")
        scene.open_output()
        scene.update_widget("out", {"msg_id": "c"})
        scene.print("1")
        assert scene.notebook.take_comm_update() is not None
        scene.print("2")
        scene.update_widget("out", {"outputs": [stream("1")]}, "echo_update")
        assert outputs_of(scene) == [stream("12")]

    def test_the_echo_of_the_last_update_decides(self) -> None:
        """The kernel set `outputs` while the frontend's update was on its way: the kernel's order is the true one."""
        scene = Scene()
        scene.cell("c")
        scene.open_output()
        scene.update_widget("out", {"msg_id": "c"})
        scene.print("captured")
        assert scene.notebook.take_comm_update() is not None
        scene.update_widget("out", {"outputs": [stream("set")]})
        scene.update_widget("out", {"outputs": [stream("captured")]}, "echo_update")
        assert outputs_of(scene) == [stream("captured")]

    def test_an_echo_keeps_the_cursor_of_a_progress_bar(self) -> None:
        scene = Scene()
        scene.cell("c")
        scene.open_output()
        scene.update_widget("out", {"msg_id": "c"})
        scene.print("10%\r")
        assert scene.notebook.take_comm_update() is not None
        scene.update_widget("out", {"outputs": [stream("10%")]}, "echo_update")
        scene.print("20%\r")
        assert outputs_of(scene) == [stream("20%")]
