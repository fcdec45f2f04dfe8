"""jupyter_kernel_test's own tests of a kernel, with every optional attribute set, run on the installed kernelspec.

pytest collects them from the classes below.
"""

from __future__ import annotations

import json
import unittest
from collections.abc import Iterator

import jupyter_kernel_test
import pytest

from kernelbridge.python.install import KERNEL_NAME, kernel_spec


@pytest.fixture(scope="module", autouse=True)
def kernelspec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install the kernelspec in a folder of its own, where Jupyter finds it."""
    folder = tmp_path_factory.mktemp("jupyter")
    (spec := folder / "kernels" / KERNEL_NAME).mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps(kernel_spec()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        # A search of the history finds what these tests have run, and no other's.
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        yield


class TheKernel(jupyter_kernel_test.KernelTests):
    """Requests, outputs and replies, each checked against the message specification."""

    kernel_name = KERNEL_NAME
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = (
        {"text": "zi", "matches": {"zip"}},
        {"text": "import itertools as it; it.cou", "matches": {"count"}},
    )
    complete_code_samples = ("1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n")
    incomplete_code_samples = ("print('''hello", "def f(x):\n  x*2")
    invalid_code_samples = ("import = 7q",)
    code_page_something = "zip?"
    code_generate_error = "raise ValueError"
    code_execute_result = (
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {"code": "1+2+3", "result": "6"},
        {"code": "__import__('IPython').display.HTML('<b>x</b>')", "mime": "text/html", "result": "<b>x</b>"},
    )
    code_display_data = (
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    )
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class TheWelcome(jupyter_kernel_test.IopubWelcomeTests):
    """JEP 65: the first that a subscriber gets is its welcome."""

    kernel_name = KERNEL_NAME
    support_iopub_welcome = True


@pytest.mark.parametrize("tests", [TheKernel, TheWelcome])
def test_every_optional_attribute_is_set(tests: type[unittest.TestCase]) -> None:
    """Where one is not, the test that it is for skips itself."""
    theirs = tests.__mro__[1]
    optional = [name for name, value in vars(theirs).items() if name[0] != "_" and not value]
    assert optional
    assert [name for name in optional if not getattr(tests, name)] == []
