"""What is saved below a cell, message by message, as JupyterLab saves it. No kernel."""

from __future__ import annotations

import logging

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelbridge.frontend.stream_text import StreamText
from kernelbridge.notebook.outputs import NotebookOutputs
from tests.notebook.messages import DATE, Scene, display, stream


class TestStreams:
    def test_neighbours_of_one_name_are_one_output(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        for text in ("a", "b\n", "c"):
            scene.print(text)
        assert cell.outputs == [stream("ab\nc")]

    def test_another_stream_and_another_output_part_them(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.print("1")
        scene.print("2", "stderr")
        scene.print("3")
        scene.display("x")
        scene.print("4")
        assert cell.outputs == [stream("1"), stream("2", "stderr"), stream("3"), display("x"), stream("4")]

    def test_output_after_the_end_goes_to_the_cell_that_started_it(self) -> None:
        scene = Scene()
        first, second = scene.cell("1"), scene.cell("2")
        scene.print("of a thread\n", cell="1")
        assert (first.outputs, second.outputs) == ([stream("of a thread\n")], [])

    def test_output_of_no_cell_is_not_shown(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.print("stray", cell="elsewhere")
        assert cell.outputs == []


class TestTerminalControls:
    @pytest.mark.parametrize(
        ("written", "saved"),
        [
            ("10%\r20%\r30%\n", "30%\n"),
            ("long line\rshort", "shortline"),
            ("abc\b\bX", "aXc"),
            ("abc\b", "abc"),
            ("a\b\b\bX", "X"),
            ("first\n\b\rsecond", "first\nsecond"),
            ("dos\r\nlines\r\n", "dos\nlines\n"),
            ("ab\rX\ncd", "Xb\ncd"),
        ],
    )
    def test_are_carried_out(self, written: str, saved: str) -> None:
        assert StreamText(written).text == saved

    def test_the_cursor_lasts_from_message_to_message(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        for text in ("10%", "\r", "20", "\r3"):
            scene.print(text)
        assert cell.outputs == [stream("30%")]

    @given(st.lists(st.text(alphabet="ab\n\r\b", max_size=6), max_size=6), st.booleans())
    def test_how_text_is_cut_into_messages_makes_no_difference(self, pieces: list[str], look: bool) -> None:
        text = StreamText()
        for piece in pieces:
            text.write(piece)
            if look:
                _ = text.text
        assert text.text == StreamText("".join(pieces)).text

    @given(st.text(alphabet="ab\n\r\b", max_size=20))
    def test_a_character_at_a_time_on_a_screen_gives_the_same(self, written: str) -> None:
        lines, column = [""], 0
        for char in written:
            line = lines[-1]
            if char == "\n":
                lines.append("")
                column = 0
            elif char == "\r":
                column = 0
            elif char == "\b":
                column = max(0, column - 1)
            else:
                lines[-1] = line[:column] + char + line[column + 1 :]
                column += 1
        assert StreamText(written).text == "\n".join(lines)


class TestClearOutput:
    def test_at_once(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.print("old")
        scene.clear()
        assert cell.outputs == []

    def test_with_wait_it_clears_when_the_next_output_comes(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.print("old")
        scene.clear(wait=True)
        assert cell.outputs == [stream("old")]
        scene.print("new")
        assert cell.outputs == [stream("new")]
        scene.print(" more")
        assert cell.outputs == [stream("new more")]

    def test_only_its_own_cell(self) -> None:
        scene = Scene()
        first = scene.cell("1")
        scene.print("stays")
        second = scene.cell("2")
        scene.print("goes")
        scene.clear()
        assert (first.outputs, second.outputs) == ([stream("stays")], [])

    def test_a_cleared_display_is_not_updated_into_what_follows(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.display("old", "d")
        scene.clear()
        scene.display("new")
        scene.update("updated", "d")
        assert cell.outputs == [display("new")]


class TestDisplayUpdates:
    def test_reach_every_output_with_the_id_in_every_cell(self) -> None:
        scene = Scene()
        first = scene.cell("1")
        scene.display("a", "d")
        scene.display("b", "other")
        scene.display("c", "d")
        second = scene.cell("2")
        scene.display("d", "d")
        scene.update("new", "d")
        assert first.outputs == [display("new"), display("b"), display("new")]
        assert second.outputs == [display("new")]

    def test_of_an_unknown_id_show_nothing(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.update("new", "nobody")
        assert cell.outputs == []

    def test_a_result_stays_a_result(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.result("old", 3, "d")
        scene.update("new", "d")
        [output] = cell.outputs
        assert (output["output_type"], output["execution_count"]) == ("execute_result", 3)
        assert output["data"] == {"text/plain": "new"}

    def test_what_was_taken_out_before_stays_as_it_was(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.display("old", "d")
        before = cell.outputs
        scene.update("new", "d")
        assert before == [display("old")]

    def test_the_id_is_not_saved(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.display("x", "d")
        assert cell.outputs == [display("x")]


class TestExecution:
    def test_result_error_and_count(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.publish("execute_input", {"code": "1/0", "execution_count": 7})
        scene.result("6", 7)
        scene.publish("error", {"ename": "E", "evalue": "v", "traceback": ["t"]})
        assert cell.execution_count == 7
        assert cell.outputs == [
            {"output_type": "execute_result", "execution_count": 7, "data": {"text/plain": "6"}, "metadata": {}},
            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
        ]

    def test_times_are_those_of_the_messages(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.publish("status", {"execution_state": "busy"}, date="t1")
        scene.publish("execute_input", {"code": "", "execution_count": 1}, date="t2")
        scene.publish("status", {"execution_state": "idle"}, date="t3")
        scene.reply({"status": "ok", "execution_count": 1}, {"started": "t0"})
        assert cell.timing == {
            "iopub.status.busy": "t1",
            "iopub.execute_input": "t2",
            "iopub.status.idle": "t3",
            "shell.execute_reply.started": "t0",
            "shell.execute_reply": DATE,
        }

    def test_a_page_in_the_reply_is_shown(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        page = {"source": "page", "data": {"text/plain": "help"}, "start": 0}
        scene.reply({"status": "ok", "payload": [{"source": "set_next_input", "text": "x"}, page]})
        assert cell.outputs == [display("help")]

    def test_content_that_is_not_what_its_type_says_is_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        scene = Scene()
        cell = scene.cell("c")
        with caplog.at_level(logging.WARNING):
            scene.publish("stream", {"name": "stdout", "text": 3})
            scene.publish("no_such_type", {"x": 1})
        assert cell.outputs == []
        assert "'text'" in caplog.text

    def test_what_is_saved_is_valid(self) -> None:
        scene = Scene()
        cell = scene.cell("c")
        scene.print("a")
        scene.display("b", "d")
        scene.result("c", 1)
        scene.publish("error", {"ename": "E", "evalue": "v", "traceback": ["t"]})
        code_cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.from_dict(output) for output in cell.outputs])
        nbformat.validate(nbformat.v4.new_notebook(cells=[code_cell]))


def test_a_notebook_without_widgets_has_nothing_to_tell_the_kernel() -> None:
    notebook = NotebookOutputs()
    assert notebook.take_comm_update() is None
    assert notebook.widget_states() == {}
