"""Notebook files: what is refused and in which words, and what a write leaves behind."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kernelbridge.notebook.files import NotebookFileError, check_writable, read_notebook, to_node, write_notebook

VALID = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def written(path: Path, content: bytes | dict[str, Any]) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


BAD: list[tuple[bytes | dict[str, Any], str]] = [
    (b"", "is not JSON"),
    (b"print(1)\n", "is not JSON"),
    (b'{"cells": [', "is not JSON"),
    (b"\xff\xfe\x00", "is not UTF-8"),
    (b"[" * 100_000, "is not JSON"),
    (b"[1, 2]", "no field nbformat"),
    (b"3", "no field nbformat"),
    ({"cells": []}, "no field nbformat"),
    ({**VALID, "nbformat": 5}, "format 5"),
    ({**VALID, "nbformat": 2}, "format 2"),
    ({**VALID, "nbformat": "4"}, "format '4'"),
    ({**VALID, "nbformat": None}, "format None"),
    ({**VALID, "nbformat_minor": "x"}, "no valid notebook"),
    ({**VALID, "cells": 3}, "no valid notebook"),
    ({**VALID, "cells": [3]}, "no valid notebook"),
    ({**VALID, "cells": [{"cell_type": "code"}]}, "no valid notebook"),
    ({"nbformat": 4, "nbformat_minor": 5}, "no valid notebook"),
    ({**VALID, "metadata": []}, "no valid notebook"),
    ({"nbformat": 3, "nbformat_minor": 0, "worksheets": 7}, "no valid notebook"),
    (b'{"cells": [], "nbformat": 4, "nbformat_minor": 5, "metadata": {"x": %b}}' % nested(900), "no valid notebook"),
]


class TestReading:
    @pytest.mark.parametrize(("content", "reason"), BAD, ids=[f"{reason}-{i}" for i, (_, reason) in enumerate(BAD)])
    def test_what_is_no_notebook_is_refused_in_one_line(
        self, tmp_path: Path, content: bytes | dict[str, Any], reason: str
    ) -> None:
        path = written(tmp_path / "bad.ipynb", content)
        before = path.read_bytes()
        with pytest.raises(NotebookFileError) as refusal:
            read_notebook(path)
        text = str(refusal.value)
        assert text.startswith(str(path)) and reason.removeprefix("is ") in text
        assert len(text.splitlines()) == 1 and len(text) < 500
        assert path.read_bytes() == before

    def test_a_missing_file_and_a_directory_are_named(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.ipynb", tmp_path):
            with pytest.raises(NotebookFileError, match=f"^{path}: cannot be read: "):
                read_notebook(path)

    def test_format_3_is_upgraded(self, tmp_path: Path) -> None:
        cell = {"cell_type": "code", "input": ["1+1"], "outputs": [], "language": "python", "metadata": {}}
        old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": [cell]}]}
        notebook = read_notebook(written(tmp_path / "old.ipynb", old))
        assert (notebook.nbformat, notebook.cells[0].source) == (4, "1+1")

    def test_a_minor_version_is_kept(self, tmp_path: Path) -> None:
        notebook = read_notebook(written(tmp_path / "n.ipynb", {**VALID, "nbformat_minor": 2}))
        assert notebook.nbformat_minor == 2

    def test_cells_without_ids_get_some(self, tmp_path: Path) -> None:
        cell = {"cell_type": "markdown", "source": "x", "metadata": {}}
        notebook = read_notebook(written(tmp_path / "n.ipynb", {**VALID, "cells": [cell, cell]}))
        assert len({cell.id for cell in notebook.cells}) == 2


class TestWriting:
    def test_reads_back_and_ends_with_a_newline(self, tmp_path: Path) -> None:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a\nb")])
        write_notebook(notebook, tmp_path / "n.ipynb")
        assert (tmp_path / "n.ipynb").read_bytes().endswith(b"}\n")
        assert read_notebook(tmp_path / "n.ipynb") == notebook
        assert [path.name for path in tmp_path.iterdir()] == ["n.ipynb"]

    def test_keeps_the_mode_of_the_file_that_is_there(self, tmp_path: Path) -> None:
        path = written(tmp_path / "n.ipynb", VALID)
        path.chmod(0o640)
        write_notebook(nbformat.from_dict(VALID), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_gives_a_new_file_the_mode_that_new_files_have(self, tmp_path: Path) -> None:
        (tmp_path / "other").touch()
        write_notebook(nbformat.from_dict(VALID), tmp_path / "n.ipynb")
        assert (tmp_path / "n.ipynb").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_writes_through_a_symbolic_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        link = tmp_path / "link.ipynb"
        link.symlink_to(written(tmp_path / "real" / "n.ipynb", b"old"))
        write_notebook(nbformat.from_dict(VALID), link)
        assert link.is_symlink()
        assert read_notebook(tmp_path / "real" / "n.ipynb") == VALID

    def test_a_write_that_fails_leaves_the_old_file_and_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = written(tmp_path / "n.ipynb", b"old")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(NotebookFileError, match="cannot be written: No space left"):
            write_notebook(nbformat.from_dict(VALID), path)
        assert path.read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["n.ipynb"]

    def test_what_is_no_unicode_and_no_json_number_is_written_as_json(self, tmp_path: Path) -> None:
        data = {"application/json": {"a": float("nan")}, "text/plain": "x"}
        outputs = [
            nbformat.v4.new_output("stream", text="lone \udc80 \\ é"),
            nbformat.v4.new_output("display_data", data=data),
        ]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs[:1])])
        write_notebook(notebook, tmp_path / "n.ipynb")
        assert read_notebook(tmp_path / "n.ipynb").cells[0].outputs[0].text == "lone \udc80 \\ é"
        notebook.cells[0].outputs = outputs[1:]
        write_notebook(notebook, tmp_path / "n.ipynb")
        assert read_notebook(tmp_path / "n.ipynb").cells[0].outputs[0].data["application/json"] == {"a": None}

    def test_what_cannot_be_written_is_known_before_the_run(self, tmp_path: Path) -> None:
        check_writable(tmp_path / "new.ipynb")
        with pytest.raises(NotebookFileError, match="is a directory"):
            check_writable(tmp_path)
        with pytest.raises(NotebookFileError, match="no directory"):
            check_writable(tmp_path / "none" / "n.ipynb")
        with pytest.raises(NotebookFileError, match="File name too long"):
            check_writable(tmp_path / ("n" * 256))

    def test_a_name_may_be_as_long_as_names_can_be(self, tmp_path: Path) -> None:
        write_notebook(nbformat.from_dict(VALID), tmp_path / ("n" * 255))
        assert read_notebook(tmp_path / ("n" * 255)) == VALID

    def test_a_device_is_not_replaced_by_a_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(NotebookFileError, match="no regular file"):
            check_writable(tmp_path / "pipe")

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_read_only_file_is_left_alone(self, tmp_path: Path) -> None:
        path = written(tmp_path / "n.ipynb", VALID)
        path.chmod(0o400)
        with pytest.raises(NotebookFileError, match="is read-only"):
            check_writable(path)

    def test_links_in_a_circle_are_refused_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "n.ipynb").symlink_to(tmp_path / "n.ipynb")
        for refusing in (check_writable, read_notebook, lambda path: write_notebook(nbformat.from_dict(VALID), path)):
            with pytest.raises(NotebookFileError, match="symbolic link"):
                refusing(tmp_path / "n.ipynb")

    def test_what_nests_too_deep_is_shown_and_all_else_is_kept(self, tmp_path: Path) -> None:
        """A kernel may send what nbformat cannot follow; the other cells must not be lost for it."""
        data = {"application/json": json.loads(nested(600)), "text/plain": "x"}
        output = {"output_type": "display_data", "data": data, "metadata": {}}
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "", "execution_count": 1}
        notebook = to_node({**VALID, "cells": [{**cell, "outputs": [output]}]})
        write_notebook(notebook, tmp_path / "n.ipynb")
        saved = read_notebook(tmp_path / "n.ipynb").cells[0].outputs[0].data
        assert saved["text/plain"] == "x"
        assert json.dumps(saved["application/json"]).startswith("[[[[")
