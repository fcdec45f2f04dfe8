"""Whose frames are neither shown nor stopped in: what a cell is run by, and what that calls.

Between two statements of a cell IPython's code runs, and what it calls; so does a lot when an error is shown. Whoever
steps from one statement to the next does not want to see it. The standard library is part of it. And what holds a lock
must not be stopped: the thread that sends would wait for it.
"""

from __future__ import annotations

import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "kernelbridge",
    "IPython",
    # What these two call.
    "asttokens",
    "attr",
    "attrs",
    "cattrs",
    "comm",
    "debugpy",
    "executing",
    "ipython_pygments_lexers",
    "janus",
    "jedi",
    "matplotlib_inline",
    "parso",
    "pure_eval",
    "pygments",
    "stack_data",
    "traitlets",
    "zmq",
)


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """Return the rules of pydevd that hide them. Of several that apply to a file, pydevd takes the longest path."""
    found = [_rule(sysconfig.get_path("stdlib"), False), _rule(sysconfig.get_path("platstdlib"), False)]
    # They may lie in the standard library's folder.
    found += [_rule(sysconfig.get_path("purelib"), True), _rule(sysconfig.get_path("platlib"), True)]
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is not None:
            places = spec.submodule_search_locations or [str(spec.origin)]
            found += [_rule(place, False) for place in places]
    return tuple(found)


def is_hidden(file: str) -> bool:
    """Return whether `file` is one of theirs."""
    matching = [rule for rule in rules() if Path(file).is_relative_to(rule["path"])]
    return bool(matching) and not max(matching, key=lambda rule: len(rule["path"]))["include"]


def _rule(place: str, include: bool) -> dict[str, Any]:
    return {"path": place, "include": include}
