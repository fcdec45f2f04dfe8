"""What programs of a language look like: the statements of which the rules make their cells.

Whatever a statement shows holds a numbered mark, ``<7>``, so that a rule can see in what order things were shown,
whatever they are: text, a display, a result, an error, a comm message. A language, or its kernel, that has no means to
do a thing has no statement for it, and the rules that need one do not apply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final, Literal

import attrs

from kernelbridge.testing.check.failures import NotApplicable
from kernelbridge.wire.messages import Message

__all__ = ["Samples", "Statement", "marks", "samples_for"]

Statement = Literal[
    "setup",
    "print",
    "stderr",
    "display",
    "result",
    "error",
    "comm",
    "input",
    "sleep",
    "loop",
    "hold",
    "many",
    "big",
    "comment",
]
"""``setup``: run once, before the others. ``print``, ``stderr``: a line with the mark. ``comm``: sends the mark on a
comm that the setup has opened. ``input``: asks for a line, under a prompt with the mark, and prints it. ``sleep``: that
many milliseconds, without computing. ``loop``: computes for ever. ``hold``: holds the interpreter's lock for that many
milliseconds. ``many``: that many lines, each flushed where that costs little, marked from 1. ``big``: one line of that
many letters x.
``comment``: what makes the rest of a line a comment."""


@attrs.frozen
class Samples:
    """The statements of one language. ``{n}`` in them stands for the number."""

    language: str
    statements: Mapping[Statement, str] = attrs.field(factory=dict)

    def knows(self, *statements: Statement) -> bool:
        return all(statement in self.statements for statement in statements)

    def cell(self, *steps: tuple[Statement, int] | Statement) -> str:
        """Return a cell that does these things, one after the other: each a statement, or one with its number.

        Raises `NotApplicable` when the language has no such statement.
        """
        return "\n".join(self._line(step) for step in steps)

    def _line(self, step: tuple[Statement, int] | Statement) -> str:
        statement, number = (step, 0) if isinstance(step, str) else step
        if statement not in self.statements:
            language = self.language or "this language"
            raise NotApplicable(f"no sample of {language} for {_NAMES[statement]}")
        # The languages have braces of their own.
        return self.statements[statement].replace("{n}", str(number))


_NAMES: Final[Mapping[Statement, str]] = {
    "setup": "what has to be there first",
    "print": "a printed line",
    "stderr": "a line on stderr",
    "display": "a display",
    "result": "a result",
    "error": "an error",
    "comm": "a comm message",
    "input": "asking for input",
    "sleep": "a pause",
    "loop": "an endless loop",
    "hold": "holding the interpreter's lock",
    "many": "many lines",
    "big": "a big output",
    "comment": "a comment",
}

_PYTHON = Samples(
    "Python",
    {
        "setup": (
            "import ctypes, sys, time\n"
            "from IPython.display import display\n"
            "import comm\n"
            "check_comm = comm.create_comm(target_name='kernelbridge.check')"
        ),
        "print": "print('<{n}>')",
        "stderr": "print('<{n}>', file=sys.stderr)",
        "display": "display({'text/plain': '<{n}>'}, raw=True)",
        "result": "'<{n}>'",
        "error": "raise ValueError('<{n}>')",
        "comm": "check_comm.send({'mark': '<{n}>'})",
        "input": "print(input('<{n}>'))",
        "sleep": "time.sleep({n} / 1000)",
        "loop": "while True: pass",
        # PyDLL calls C with the interpreter's lock held.
        "hold": "_ = ctypes.PyDLL(None).usleep({n} * 1000)",
        "many": "for number in range(1, {n} + 1): print(f'<{number}>', flush=True)",
        "big": "print('x' * {n})",
        "comment": "#",
    },
)

_R = Samples(
    "R",
    {
        "print": "cat('<{n}>\\n')",
        "stderr": "message('<{n}>')",
        "display": "IRdisplay::publish_mimebundle(list('text/plain' = '<{n}>'))",
        "result": "'<{n}>'",
        "error": "stop('<{n}>')",
        "input": "cat(readline('<{n}>'), '\\n')",
        "sleep": "Sys.sleep({n} / 1000)",
        "loop": "while (TRUE) {}",
        "many": "for (number in 1:{n}) cat(paste0('<', number, '>\\n'))",
        "big": "cat(strrep('x', {n}), '\\n')",
        "comment": "#",
    },
)

_DENO = Samples(
    "TypeScript (Deno)",
    {
        "print": "console.log('<{n}>');",
        "stderr": "console.error('<{n}>');",
        "display": "await Deno.jupyter.display({'text/plain': '<{n}>'}, {raw: true});",
        "result": "'<{n}>'",
        "error": "throw new Error('<{n}>');",
        "comm": "await Deno.jupyter.broadcast('comm_msg', {comm_id: 'kernelbridge.check', data: {mark: '<{n}>'}});",
        "input": "console.log(prompt('<{n}>'));",
        "sleep": "await new Promise((done) => setTimeout(done, {n}));",
        "loop": "while (true) {}",
        "many": "for (let number = 1; number <= {n}; number++) console.log('<' + number + '>');",
        "big": "console.log('x'.repeat({n}));",
        "comment": "//",
    },
)

_NODE = Samples(
    "JavaScript",
    {
        "print": "console.log('<{n}>');",
        "stderr": "console.error('<{n}>');",
        "result": "'<{n}>'",
        "error": "throw new Error('<{n}>');",
        "loop": "while (true) {}",
        "many": "for (var number = 1; number <= {n}; number++) console.log('<' + number + '>');",
        "big": "console.log('x'.repeat({n}));",
        "comment": "//",
    },
)

_BASH = Samples(
    "Bash",
    {
        "print": "echo '<{n}>'",
        # A subshell: the shell itself has to live on.
        "error": "(exit {n})",
        "sleep": "sleep $(printf '%d.%03d' $(({n} / 1000)) $(({n} % 1000)))",
        "loop": "while true; do :; done",
        "many": 'for number in $(seq {n}); do echo "<$number>"; done',
        "big": "head -c {n} /dev/zero | tr '\\0' x; echo",
        "comment": "#",
    },
)

_OF_LANGUAGE: Final[Mapping[str, Samples]] = {
    "python": _PYTHON,
    "r": _R,
    "typescript": _DENO,
    "javascript": _NODE,
    "bash": _BASH,
}


def samples_for(language: str) -> Samples:
    """Return the samples for the `name` in a kernel's language_info; none for a language that is not known here."""
    return _OF_LANGUAGE.get(language.lower(), Samples(language))


_MARK: Final = re.compile(r"<(\d+)>")


def marks(messages: Iterable[Message]) -> list[tuple[str, int]]:
    """Return what the messages show, in their order: the kind and the number of each mark.

    The kind is the message's type, of a stream its name. A mark may be split between stream messages.
    """
    found: list[tuple[str, int]] = []
    for kind, group in groupby(messages, _kind):
        texts = [_shown(message.content) for message in group]
        # Only streams go on in the next message.
        joined = ("" if kind in ("stdout", "stderr") else " ").join(texts)
        found += [(kind, int(number)) for number in _MARK.findall(joined)]
    return found


def _kind(message: Message) -> str:
    return str(message.content.get("name")) if message.msg_type == "stream" else message.msg_type


def _shown(content: Mapping[str, Any]) -> str:
    """Return the text that a person would see: not the other forms of the same thing, nor the source in a traceback."""
    data = content.get("data")
    shown = data if isinstance(data, Mapping) else {}
    value = content.get("evalue")
    if isinstance(value, str) and value.isdigit():
        # An exit status, which is all that an error of a shell has.
        return f"<{value}>"
    texts = (content.get("text"), shown.get("text/plain"), shown.get("mark"), value, content.get("prompt"))
    return " ".join(text for text in texts if isinstance(text, str))
