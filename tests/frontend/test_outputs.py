"""What an execution has shown, as a notebook keeps it; what a late reader is told; where large payloads go."""

from __future__ import annotations

import gc
import os
import stat
from pathlib import Path

import nbformat
import pytest

from kernelbridge.frontend.bridge import Bridge, launch
from kernelbridge.frontend.execution import Execution
from kernelbridge.frontend.execution_states import State
from kernelbridge.frontend.output_store import REFERENCE_MIME, OutputStore
from kernelbridge.frontend.subscribers import Backlog, Resync
from kernelbridge.testing import (
    DEADLINE,
    ManualKernel,
    busy,
    clear_output,
    comm_close,
    comm_open,
    display,
    error,
    execute_input,
    execute_request,
    handle,
    idle,
    message,
    reply,
    result,
    stderr,
    stdout,
    update_display,
)
from kernelbridge.testing.steps import Scriptable
from tests.support.bridges import played


def run(kernel: ManualKernel, bridge: Bridge, *shown: Scriptable) -> Execution:
    """An execution that shows this."""
    execution = bridge.execute("1")
    kernel.play(handle(*shown), parent=kernel.take(execute_request("1")))
    assert execution.wait(DEADLINE) is State.OK
    return execution


class TestOutputs:
    def test_they_are_those_of_a_notebook(self) -> None:
        with played() as (kernel, bridge):
            shown = run(
                kernel,
                bridge,
                stdout("a"),
                stdout("b\n"),
                stderr("c"),
                display({"text/plain": "d"}),
                result({"text/plain": "e"}, execution_count=1),
                error("F", "f", ["g"]),
            ).outputs
        assert shown == [
            {"output_type": "stream", "name": "stdout", "text": "ab\n"},
            {"output_type": "stream", "name": "stderr", "text": "c"},
            {"output_type": "display_data", "data": {"text/plain": "d"}, "metadata": {}},
            {"output_type": "execute_result", "execution_count": 1, "data": {"text/plain": "e"}, "metadata": {}},
            {"output_type": "error", "ename": "F", "evalue": "f", "traceback": ["g"]},
        ]
        cell = nbformat.v4.new_code_cell("1", outputs=shown)
        nbformat.validate(nbformat.from_dict(nbformat.v4.new_notebook(cells=[cell])))

    def test_clear_output_clears_at_once_or_with_the_next_output(self) -> None:
        with played() as (kernel, bridge):
            waits = run(kernel, bridge, stdout("old"), clear_output(wait=True))
            assert [output["text"] for output in waits.outputs] == ["old"]
            cleared = run(kernel, bridge, stdout("old"), clear_output(wait=True), stdout("new"))
            assert [output["text"] for output in cleared.outputs] == ["new"]
            assert run(kernel, bridge, stdout("old"), clear_output(wait=False)).outputs == []

    def test_a_display_is_as_it_was_last_updated_also_by_a_later_execution(self) -> None:
        with played() as (kernel, bridge):
            first = run(kernel, bridge, display({"text/plain": "1"}, display_id="d"))
            again = run(kernel, bridge, display({"text/plain": "1"}, display_id="d"))
            other = run(kernel, bridge, display({"text/plain": "other"}, display_id="e"))
            run(kernel, bridge, update_display({"text/plain": "2"}, display_id="d"))
            data = [execution.outputs[0]["data"]["text/plain"] for execution in (first, again, other)]
            assert data == ["2", "2", "other"]

    def test_they_can_be_asked_for_while_the_code_runs(self) -> None:
        with played() as (kernel, bridge):
            execution = bridge.execute("1")
            asked = kernel.take(execute_request("1"))
            kernel.play(busy(), stdout("so far"), parent=asked)
            next(read for read in execution if read.msg_type == "stream")
            assert [output["text"] for output in execution.outputs] == ["so far"]
            kernel.play(stdout(", and on"), reply(), idle(), parent=asked)
            assert execution.wait(DEADLINE) is State.OK
            assert [output["text"] for output in execution.outputs] == ["so far, and on"]

    def test_f10_what_is_no_output_is_counted_and_left_out(self) -> None:
        with played() as (kernel, bridge):
            broken = message("display_data", data=7)
            assert run(kernel, bridge, broken, stdout("x")).outputs[0]["text"] == "x"
            assert bridge.counters == {"iopub: malformed output": 1}

    def test_many_messages_make_the_same_outputs_as_few(self) -> None:
        with played() as (kernel, bridge):
            lines = [stdout(f"{number}\n") for number in range(3000)]
            shown = run(kernel, bridge, *lines, display({}), *lines).outputs
            text = "".join(f"{number}\n" for number in range(3000))
            assert [output.get("text") for output in shown] == [text, None, text]


class TestSnapshots:
    """F3: a late reader is told the status, what runs and what it has shown, and the open comms."""

    def test_a_late_reader_begins_with_what_still_holds(self) -> None:
        with played() as (kernel, bridge):
            execution = bridge.execute("1")
            asked = kernel.take(execute_request("1"))
            opened = [comm_open("t", comm_id="c"), comm_open("t", comm_id="d"), comm_close(comm_id="c")]
            kernel.play(busy(), execute_input("1"), *opened, stdout("before"), parent=asked)
            next(read for read in execution if read.msg_type == "stream")
            late = bridge.subscribe(snapshot=True)
            kernel.play(stdout("after"), reply(), idle(), parent=asked)
            resync = late.get(DEADLINE)
            assert isinstance(resync, Resync)
            assert resync.snapshot.status == "busy"
            (running,) = resync.snapshot.running
            assert (running.header, running.code) == (execution.header, "1")
            assert [output["text"] for output in running.outputs] == ["before"]
            assert [(comm.comm_id, comm.target_name) for comm in resync.snapshot.comms] == [("d", "t")]
            assert [late.get(DEADLINE).msg_type for _ in range(2)] == ["stream", "status"]

    def test_when_nothing_runs_there_is_nothing_but_the_status(self) -> None:
        with played() as (kernel, bridge):
            run(kernel, bridge, stdout("x"))
            resync = bridge.subscribe(snapshot=True).get(DEADLINE)
            assert isinstance(resync, Resync)
            assert (resync.snapshot.status, resync.snapshot.running) == ("idle", ())

    def test_a_reader_of_one_request_and_a_callback(self) -> None:
        called: list[str] = []
        with played() as (kernel, bridge):
            first, second = bridge.execute("1"), bridge.execute("2")
            reader = bridge.subscribe(request=second)
            bridge.subscribe(lambda read: called.append(read.msg_type), types=["stream"])
            for code in ("1", "2"):
                kernel.play(handle(stdout(code)), parent=kernel.take(execute_request(code)))
            assert [first.wait(DEADLINE), second.wait(DEADLINE)] == [State.OK, State.OK]
            assert [reader.get(0).msg_type for _ in range(3)] == ["status", "stream", "status"]
        assert called == ["stream", "stream"]


@pytest.mark.slow
def test_f5_one_that_never_reads_200000_lines_gets_one_resync_and_nobody_else_notices() -> None:
    """With the kernel that prints each by itself, and a hundred other readers, of which one is counted."""
    with launch("kernelbridge") as bridge:
        never = bridge.subscribe()
        quick = bridge.subscribe(backlog=None, types=["stream", "status"])
        others = [bridge.subscribe(backlog=Backlog(messages=100)) for _ in range(98)]
        execution = bridge.execute("for number in range(200_000): print(number, flush=True)")
        numbers, done = 0, False
        while not done:
            read = quick.get(DEADLINE)
            if read.msg_type == "stream":
                for line in read.content["text"].splitlines():
                    assert line == str(numbers)
                    numbers += 1
            done = read.parent_id == execution.msg_id and read.content.get("execution_state") == "idle"
        assert numbers == 200_000
        assert execution.wait(DEADLINE) is State.OK
        for reader in (never, *others):
            resync = reader.get(0)
            assert isinstance(resync, Resync)
            assert resync.snapshot.running == ()
            with pytest.raises(TimeoutError):
                reader.get(0)


class TestStore:
    """Payloads past the limit are files, once for each content, as long as somebody refers to them."""

    def test_files_are_the_users_alone_and_the_folder_goes_with_the_store(self, runtime: Path) -> None:
        with OutputStore() as store:
            reference = store.put(b"payload", "text")
            (folder,) = runtime.iterdir()
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
            assert store.read(reference) == "payload"
        with pytest.raises(FileNotFoundError):
            store.read(reference)
        with pytest.raises(OSError, match="closed"):
            store.put(b"", "text")

    def test_the_same_is_kept_once_and_goes_with_its_last_reference(self, folder: Path) -> None:
        with OutputStore(folder / "given") as store:
            first, second, other = store.put(b"1", "json"), store.put(b"1", "json"), store.put(b"2", "json")
            assert first == second
            assert len(list((folder / "given").iterdir())) == 2
            del first
            assert store.read(second) == 1
            del second
            assert [file.name for file in (folder / "given").iterdir()] == [other["sha256"]]

    def test_what_a_killed_process_has_left_is_removed_and_what_is_in_use_is_not(self, runtime: Path) -> None:
        left = runtime / "kernelbridge-outputs-left"
        left.mkdir(parents=True)
        (left / "owner").touch()
        with OutputStore() as used, OutputStore() as another:
            reference = used.put(b"x", "text")
            kept = another.put(b"y", "text")
            assert not left.exists()
            assert (used.read(reference), another.read(kept)) == ("x", "y")

    def test_large_displays_are_references_for_everybody_and_can_be_restored(self) -> None:
        image, tree = "i" * 2000, {"leaves": ["l" * 2000]}
        with OutputStore(limit=1000) as store, played(output_store=store) as (kernel, bridge):
            reader = bridge.subscribe(types=["display_data"])
            bundle = {"image/png": image, "application/json": tree, "text/plain": "small"}
            execution = run(kernel, bridge, display(bundle), display({"text/plain": "small"}), display({"a/b": image}))
            large, small, again = (reader.get(0).content["data"] for _ in range(3))
            assert small == {"text/plain": "small"}
            assert large["text/plain"] == "small"
            assert set(large) == {"text/plain", REFERENCE_MIME}
            reference = large[REFERENCE_MIME]["image/png"]
            assert again[REFERENCE_MIME]["a/b"] == reference
            assert (reference["size"], reference["kind"]) == (2000, "text")
            assert [output["data"] for output in execution.outputs] == [large, small, again]
            assert store.restored(execution.outputs)[0]["data"] == bundle
            cell = nbformat.v4.new_code_cell("1", outputs=execution.outputs)
            nbformat.validate(nbformat.from_dict(nbformat.v4.new_notebook(cells=[cell])))

    def test_long_text_is_kept_in_pieces_and_comes_back_as_one(self) -> None:
        line = "x" * 99 + "\n"
        with OutputStore(limit=10_000) as store, played(output_store=store) as (kernel, bridge):
            execution = run(kernel, bridge, *[stdout(line)] * 1500, stdout("half a line\rHALF"), stderr("x"))
            outputs = execution.outputs
            assert sum(len(output.get("text", "")) for output in outputs) < 10_000
            assert [output["output_type"] for output in outputs][-3:] == ["display_data", "stream", "stream"]
            whole = store.restored(outputs)
            assert [(output["name"], output["text"]) for output in whole] == [
                ("stdout", line * 1500 + "HALF a line"),
                ("stderr", "x"),
            ]

    def test_the_outputs_keep_the_files_alive_and_nothing_else_does(self, folder: Path) -> None:
        kept = folder / "kept"
        with OutputStore(kept, limit=1000) as store, played(output_store=store) as (kernel, bridge):
            execution = run(kernel, bridge, display({"image/png": "i" * 2000}), clear_output(wait=False))
            outputs = run(kernel, bridge, display({"image/png": "j" * 2000})).outputs
            assert len(list(kept.iterdir())) == 2
            del execution
            gc.collect()
            assert [store.restored(outputs)[0]["data"], len(list(kept.iterdir()))] == [{"image/png": "j" * 2000}, 1]

    def test_a_forked_child_removes_nothing(self) -> None:
        """It has copies of the references, and lets go of them."""
        with OutputStore() as store:
            reference = store.put(b"x", "text")
            child = os.fork()
            if child == 0:
                try:
                    del reference
                    gc.collect()
                    store.close()
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            assert store.read(reference) == "x"

    def test_what_a_process_has_left_that_was_killed_before_it_owned_it_is_removed(self, runtime: Path) -> None:
        runtime.mkdir()
        left = runtime / "kernelbridge-outputs-left"
        left.mkdir()
        os.utime(left, (0, 0))
        with OutputStore() as store:
            kept = store.put(b"x", "text")
            assert not left.exists()
            assert store.read(kept) == "x"

    def test_a_payload_that_is_stored_does_not_count_as_a_readers_backlog(self) -> None:
        with OutputStore(limit=1000) as store, played(output_store=store) as (kernel, bridge):
            reader = bridge.subscribe(types=["display_data"], backlog=Backlog(size=10_000))
            for _ in range(2):
                run(kernel, bridge, display({"image/png": "i" * 20_000}))
            assert [reader.get(0).msg_type for _ in range(2)] == ["display_data"] * 2

    def test_what_cannot_be_written_stays_in_memory(self, caplog: pytest.LogCaptureFixture) -> None:
        store = OutputStore(limit=1000)
        store.close()
        with played(output_store=store) as (kernel, bridge):
            execution = run(kernel, bridge, display({"image/png": "i" * 2000}))
            assert execution.outputs[0]["data"] == {"image/png": "i" * 2000}
        assert "stays in memory" in caplog.text
