"""Every snippet of the README works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = [
    (section.partition("\n")[0], snippet)
    for section in re.split(r"^###? ", README, flags=re.M)[1:]
    for snippet in re.findall(r"^```python\n(.*?)^```", section, re.S | re.M)
]


def test_the_readme_has_a_snippet_for_each_use() -> None:
    assert [title for title, _ in SNIPPETS] == [
        "Run a notebook",
        "Hold a kernel",
        "In asyncio",
        "What becomes of an execution",
        "Deaths and restarts",
        "The stream",
        "Outputs",
        "Which kernel, and where",
        "Claim a kernel that has started",
        "Run cells beside each other",
        "Give Jupyter's own tools a bridge",
        "Embed a kernel in your program",
        "Write a kernel",
        "Assert a protocol sequence",
        "Test a frontend",
    ]


@pytest.mark.parametrize(("title", "snippet"), SNIPPETS, ids=[title for title, _ in SNIPPETS])
def test_snippet(title: str, snippet: str, tmp_path: Path) -> None:
    if title == "Write a kernel":
        snippet = _used(snippet)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    script = tmp_path / "snippet.py"
    script.write_text(snippet, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    for expected in EXPECTED.get(title, ()):
        assert expected in ran.stdout


EXPECTED = {
    "Run a notebook": ["failure: None"],
    "Hold a kernel": ["one\n42\nok\n['"],
    "In asyncio": ["execute_input", "'text': '0\\n", "ok\n"],
    "What becomes of an execution": ["True aborted\ninterrupted aborted interrupted True\n"],
    "Deaths and restarts": ["kernel 'kernelbridge' ended with exit status 3\nok\n"],
    "The stream": [" stream\n", " status\nresync\nSnapshot(status='idle', running=(), comms=())\n"],
    "Outputs": ["""['a\\nb\\n', {'text/plain': "'d'"}]\n256 100002\n"""],
    "Which kernel, and where": ["seen by both 42\n[["],
    "Claim a kernel that has started": ["/ Ada\n"],
    "Run cells beside each other": ["ok\n"],
    "Give Jupyter's own tools a bridge": ["42\n"],
    "Embed a kernel in your program": ["the program's own: [3, 4, 5] 12\nin a cell: 12\n"],
    "Write a kernel": ["HELLO\n"],
    "Test a frontend": [
        "ok ['status', 'stream', 'status']\nok ['status', 'stream', 'status']\n",
        "{'iopub: replayed message': 1} False\n",
    ],
}


def _used(snippet: str) -> str:
    """Return the snippet of a kernel with a program behind it that starts the kernel and runs something in it."""
    return (
        snippet
        + """
import sys, json, pathlib
if len(sys.argv) > 1:
    main(sys.argv[1])
else:
    import os
    spec = pathlib.Path("kernels/shout")
    spec.mkdir(parents=True)
    argv = [sys.executable, os.path.abspath(__file__), "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Shout", "language": "shout"}))
    os.environ["JUPYTER_PATH"] = os.getcwd()
    from kernelbridge import launch
    with launch("shout") as bridge:
        for message in bridge.execute("hello"):
            print(message.content.get("text", ""), end="")
"""
    )
