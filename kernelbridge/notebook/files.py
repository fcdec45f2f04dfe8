"""Notebook files: read with one line of complaint for what is none, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import warnings
from pathlib import Path
from typing import Any

import nbformat

from kernelbridge.wire.errors import short_repr
from kernelbridge.wire.packing import pack, unpack

_OLDEST, _NEWEST = 3, 4
_LONGEST_REASON = 200


class NotebookFileError(Exception):
    """A notebook cannot be read or written. Its text is one line that names the file."""

    def __init__(self, file: str | os.PathLike[str], problem: str) -> None:
        super().__init__(file, problem)
        self.file = os.fspath(file)
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def read_notebook(path: str | os.PathLike[str]) -> Any:
    """Return the notebook in the file at `path` as an `nbformat.NotebookNode` of format 4; format 3 is upgraded.

    Raises NotebookFileError for a file that cannot be read, is no JSON, is no notebook, or is of another format.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        fields = json.loads(text)
    except OSError as error:
        raise NotebookFileError(path, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise NotebookFileError(path, "is no notebook: it is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise NotebookFileError(path, f"is no notebook: it is not JSON ({error})") from None
    if not isinstance(fields, dict) or "nbformat" not in fields:
        raise NotebookFileError(path, "is no notebook: it is JSON, but has no field nbformat")
    version = fields["nbformat"]
    if not isinstance(version, int) or not _OLDEST <= version <= _NEWEST:
        raise NotebookFileError(
            path, f"is of notebook format {short_repr(version)}; formats {_OLDEST} and {_NEWEST} are supported"
        )
    # nbformat repairs what it can (a missing cell id) and says so by warnings, which are no concern of a run.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _, notebook = nbformat.validator.normalize(nbformat.convert(nbformat.reader.reads(text), _NEWEST))
            nbformat.validate(notebook)
        except nbformat.ValidationError as error:
            raise NotebookFileError(path, f"is no valid notebook: {_reason(error)}") from None
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            # What an upgrade raises when a part that it converts is missing, of another type, or nests too deep.
            raise NotebookFileError(path, f"is no valid notebook: {type(error).__name__}: {error}") from None
    return notebook


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise NotebookFileError if `write_notebook` could not write to `path`: better before a run than after it."""
    try:
        problem = _obstacle(resolved(path))
    except OSError as error:
        # A folder above it that may not be entered, or a name that is too long.
        problem = error.strerror or str(error)
    if problem:
        raise NotebookFileError(path, f"cannot be written: {problem}")


def _obstacle(target: Path) -> str:
    """Return what stands in the way of writing to `target`, or nothing."""
    if target.is_dir():
        return "it is a directory"
    if target.exists():
        if not target.is_file():
            # A device or a pipe would be replaced by a file.
            return "it is no regular file"
        if not os.access(target, os.W_OK):
            # It could be replaced, but that is not what its owner wants.
            return "it is read-only"
    if not target.parent.is_dir():
        return f"there is no directory {target.parent}"
    if not os.access(target.parent, os.W_OK | os.X_OK):
        return f"no permission to write in {target.parent}"
    return ""


def write_notebook(notebook: Any, path: str | os.PathLike[str]) -> None:
    """Write `notebook` to the file at `path`, which at each moment is the whole old or the whole new one.

    A file that is there keeps its mode; a symbolic link stays and the file that it names is replaced. Raises
    NotebookFileError, and leaves the old file as it is, if that cannot be done.
    """
    try:
        text = nbformat.v4.writes_json(notebook, allow_nan=False)
    except (ValueError, RecursionError):
        # Some kernels publish NaN, which is no JSON, or what nests deeper than nbformat can follow.
        text = nbformat.v4.writes_json(nbformat.from_dict(unpack(pack(notebook))))
    # A lone surrogate in an output is no UTF-8, but within a JSON string its escape is the same character.
    data = (text + "\n").encode("utf-8", "backslashreplace")
    target = resolved(path)
    # Not named after the target, whose name may be as long as names can be.
    temporary = target.with_name(f".kernelbridge-{os.urandom(8).hex()}.tmp")
    try:
        with contextlib.ExitStack() as undo:
            # Created with the mode that the user's umask gives to new files, which tempfile would not.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            undo.callback(temporary.unlink)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            temporary.replace(target)
            undo.pop_all()
    except OSError as error:
        raise NotebookFileError(path, f"cannot be written: {error.strerror or error}") from None


def to_node(value: Any) -> Any:
    """Return JSON as nbformat's nodes; what nests deeper than nbformat can follow as `pack` substitutes it."""
    try:
        return nbformat.from_dict(value)
    except RecursionError:
        return nbformat.from_dict(unpack(pack(value)))


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return the file that `path` names behind all symbolic links, whether it is there or not.

    Raises NotebookFileError if the links lead nowhere but to each other.
    """
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError):
        # Which of the two depends on the version of Python.
        raise NotebookFileError(path, "is a symbolic link that leads in a circle") from None


def _reason(error: Exception) -> str:
    """Return the first line of a validation error, which goes on with the whole offending part of the notebook."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_LONGEST_REASON]
