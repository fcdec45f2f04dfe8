"""Libraries that ask whether they are in a notebook take the Python kernel for one: how each decides, what it shows.

All in one kernel that only these tests have, because what they import costs seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelbridge.testing import (
    ANY,
    DEADLINE,
    ProtocolClient,
    busy,
    capture,
    comm_msg,
    comm_open,
    display,
    error,
    execute_input,
    execute_reply,
    message,
    regex,
    result,
    stdout,
)
from kernelbridge.wire.messages import Message
from tests.python.conftest import Shared
from tests.support.exchange import run
from tests.support.kernels import PYTHON_KERNEL, process

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
FIGURE = {"image/png": regex("^iVBORw0K"), "text/plain": regex("^<Figure")}


@pytest.fixture(scope="module")
def kernel() -> Iterator[Shared]:
    own = Shared()
    yield own
    own.end()


@pytest.fixture
def client(kernel: Shared) -> Iterator[ProtocolClient]:
    with kernel.client() as connected:
        yield connected


def shown(client: ProtocolClient, code: str) -> list[Message]:
    """Execute, and return all that the cell shows: for what opens a dozen comms that nobody wants to spell out."""
    request = client.execute(code)
    client.iopub.expect(busy(), execute_input(), parent=request)
    found: list[Message] = []
    while not found or found[-1].msg_type != "status":
        found += client.iopub.expect(message(ANY), parent=request)
    client.shell.expect(execute_reply(parent=request))
    return found[:-1]


def opened(messages: list[Message]) -> list[str]:
    """Return the models of the widgets that were opened, in order."""
    return [one.content["data"]["state"]["_model_name"] for one in messages if one.msg_type == "comm_open"]


# What is looked at


def test_the_names_that_programs_know_a_notebook_by(client: ProtocolClient) -> None:
    looks = (
        "type(get_ipython()).__name__",
        "'IPKernelApp' in get_ipython().config",
        "'ipykernel.zmqshell' in sys.modules",
        "type(get_ipython()).__module__",
        "get_ipython().kernel is not None",
        "get_ipython().kernel.shell is get_ipython()",
        "get_ipython().kernel.get_parent()['header']['msg_type']",
        "get_ipython().kernel._parent_header == get_ipython().kernel.get_parent()",
        "comm.get_comm_manager() is get_ipython().kernel.comm_manager",
    )
    answers = "('ZMQInteractiveShell', True, True, 'ipykernel.zmqshell', True, True, 'execute_request', True, True)"
    run(client, f"import comm, sys\nprint(({', '.join(looks)}))", stdout(f"{answers}\n"))
    same = "from ipykernel.zmqshell import ZMQInteractiveShell; isinstance(get_ipython(), ZMQInteractiveShell)"
    run(client, same, result("True"))


def test_the_connection_file_is_found_as_in_ipykernel(client: ProtocolClient) -> None:
    """Many a notebook learns its own name by it."""
    found = "import ipykernel, sys; ipykernel.get_connection_file() == sys.argv[sys.argv.index('-f') + 1]"
    run(client, found, result("True"))


def test_comms_of_ipykernel_are_the_kernels_own(client: ProtocolClient) -> None:
    """Ipykernel, whose own would reach nobody here, is installed beside the kernel, and may be imported whole."""
    run(client, "import ipykernel.ipkernel, comm\nfrom ipykernel.comm import Comm")
    run(client, "print('before'); c = Comm('target', {'n': 1})", stdout("before\n"), comm_open("target", {"n": 1}))
    mine = capture("comm")
    run(client, "d = comm.create_comm(target_name='other')", comm_open("other", comm_id=mine))
    run(client, "d.send({'n': 2}); print('after')", comm_msg({"n": 2}, comm_id=mine), stdout("after\n"))


@pytest.mark.parametrize("code", ["import ipykernel.comm", "from ipykernel.comm import Comm"])
def test_who_needs_ipykernel_where_it_is_not_is_told_what_to_do(client: ProtocolClient, code: str) -> None:
    lines = capture("traceback")
    absent = "import sys\nfrom unittest import mock\n"
    absent += f"with mock.patch.dict(sys.modules, {{'ipykernel': None, 'ipykernel.comm': None}}):\n    {code}"
    run(client, absent, error("ModuleNotFoundError", traceback=lines), replied=execute_reply("error"))
    assert "comm.create_comm()" in lines.value[-1]
    others = capture("traceback of another")
    failed = error("ModuleNotFoundError", "No module named 'nonesuch'", others)
    run(client, "import nonesuch", failed, replied=execute_reply("error"))
    assert "comm.create_comm()" not in "".join(others.value)


# matplotlib: by the environment's MPLBACKEND, which the kernel sets where the user has not


def test_a_figure_is_shown_at_the_end_of_its_cell(client: ProtocolClient) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint('after');"
    run(client, code, stdout("after\n"), display(FIGURE))
    run(client, "print('nothing is left of it')", stdout("nothing is left of it\n"))


@pytest.mark.parametrize("magic", ["", "%matplotlib inline\n"], ids=["by default", "inline"])
def test_a_figure_is_shown_where_it_is_told_to(client: ProtocolClient, magic: str) -> None:
    code = "plt.plot([1]); print('a'); plt.show(); print('b'); plt.plot([2]); plt.show(); print('c')"
    texts = [stdout(f"{text}\n") for text in "abc"]
    code = f"{magic}import matplotlib.pyplot as plt\n{code}"
    run(client, code, texts[0], display(FIGURE), texts[1], display(FIGURE), texts[2])


def test_a_figure_is_a_value(client: ProtocolClient) -> None:
    code = "import matplotlib.pyplot as plt\nfigure = plt.figure(); figure.add_subplot(); plt.close(); figure"
    run(client, code, result(FIGURE))


@pytest.fixture
def last(kernel: Shared) -> Iterator[None]:
    """For a test that does not leave the kernel at rest. Comes before its client, so that it ends after that."""
    yield
    kernel.end()


def test_an_interactive_figure_is_a_widget(last: None, client: ProtocolClient) -> None:
    """Such a figure goes on telling its frontend of each cell."""
    code = "%matplotlib widget\nimport matplotlib.pyplot as plt\nprint('a'); figure, axes = plt.subplots(); print('b')"
    messages = shown(client, code)
    assert "MPLCanvasModel" in opened(messages)
    texts = [place for place, one in enumerate(messages) if one.msg_type == "stream"]
    opens = [place for place, one in enumerate(messages) if one.msg_type == "comm_open"]
    assert texts[0] < opens[0] < opens[-1] < texts[-1]
    (figure,) = [place for place, one in enumerate(messages) if one.msg_type == "display_data"]
    assert figure > texts[-1]
    assert messages[figure].content["data"].keys() >= {WIDGET_VIEW, "image/png"}


# What the others show


def test_rich_shows_html(client: ProtocolClient) -> None:
    """Decides by the name of the shell's class."""
    html = {"text/html": regex("<pre.*hello"), "text/plain": ANY}
    run(client, "import rich; rich.print('[bold]hello[/bold]')", display(html))


def test_tqdm_shows_widgets(client: ProtocolClient) -> None:
    """Decides by the module ipykernel.zmqshell."""
    messages = shown(client, "from tqdm.auto import tqdm\nfor n in tqdm(range(2)): print(n)")
    assert opened(messages)[-1] == "HBoxModel"
    (bar,) = [one for one in messages if one.msg_type == "display_data"]
    assert WIDGET_VIEW in bar.content["data"]
    assert "".join(one.content["text"] for one in messages if one.msg_type == "stream") == "0\n1\n"


def test_pandas_shows_tables(client: ProtocolClient) -> None:
    """Looks for "zmq" in the name of the shell's class."""
    code = "import pandas\nfrom pandas.io.formats.console import in_ipython_frontend as decided\n"
    table = {"text/html": regex('<table border="1" class="dataframe">'), "text/plain": regex("^ +a\n0 +1$")}
    run(client, f"{code}print(decided()); pandas.DataFrame({{'a': [1]}})", stdout("True\n"), result(table))


def test_plotly_leaves_the_drawing_to_the_frontend(client: ProtocolClient) -> None:
    """Decides by the name and the module of the shell's class. Else it would put its own 5 MB into each notebook."""
    code = "import plotly.io\nplotly.io.show({'data': [{'y': [1, 2]}]}, validate=False)"
    (figure,) = shown(client, code)
    assert figure.msg_type == "display_data"
    assert list(figure.content["data"]) == ["application/vnd.plotly.v1+json"]


def test_altair_shows_its_charts(client: ProtocolClient) -> None:
    """Does not look: it shows what IPython displays."""
    code = "import altair\naltair.Chart(altair.Data(values=[{'a': 1}])).mark_point().encode(x='a:Q')"
    run(client, code, result({"text/html": regex("vegaEmbed"), "text/plain": ANY}))
    mimetype = {"application/vnd.vegalite.v6.json": ANY}
    run(client, f"altair.renderers.enable('mimetype');\n{code}", result({**mimetype, "text/plain": ANY}))


def test_bokeh_shows_and_updates_its_figures(client: ProtocolClient) -> None:
    """Is told, and asks ipykernel.comm for the comm of its updates."""
    load = {"application/vnd.bokehjs_load.v0+json": ANY}
    run(client, "import bokeh.io, bokeh.plotting\nbokeh.io.output_notebook(hide_banner=True)", display(load))
    code = "figure = bokeh.plotting.figure(); dots = figure.scatter([1], [2])\n"
    code += "print('before'); handle = bokeh.io.show(figure, notebook_handle=True); print('after')"
    updates = capture("updates")
    parts = display({"text/html": ANY}), display({"application/vnd.bokehjs_exec.v0+json": ""})
    run(client, code, stdout("before\n"), *parts, comm_open(comm_id=updates), stdout("after\n"))
    code = "dots.data_source.data = {'x': [3], 'y': [4]}\nbokeh.io.push_notebook(handle=handle); print('pushed')"
    run(client, code, *[comm_msg(comm_id=updates) for _ in range(3)], stdout("pushed\n"))


@pytest.mark.parametrize(
    ("value", "mime"),
    [
        ("HTML('<b>x</b>')", "text/html"),
        ("Markdown('# x')", "text/markdown"),
        ("Latex('$x$')", "text/latex"),
        ("Math('x')", "text/latex"),
        ("SVG('<svg/>')", "image/svg+xml"),
        ("JSON({'a': 1})", "application/json"),
        ("GeoJSON({})", "application/geo+json"),
        ("Javascript('1')", "application/javascript"),
        ("Image(data=b'\\x89PNG', format='png')", "image/png"),
        ("Audio(data=b'x', rate=8000)", "text/html"),
        ("IFrame('a', 1, 1)", "text/html"),
        ("Code('x = 1', language='python')", "text/html"),
        ("type('Picture', (), {'_repr_png_': lambda self: b'\\x89PNG'})()", "image/png"),
    ],
)
def test_what_ipython_displays(client: ProtocolClient, value: str, mime: str) -> None:
    data = {mime: "iVBORw==" if mime == "image/png" else ANY, "text/plain": ANY}
    run(client, f"from IPython.display import *\ndisplay({value})", display(data))


def test_widgets_are_shown_where_they_are_displayed(client: ProtocolClient) -> None:
    messages = shown(client, "import ipywidgets\nprint('before'); slider = ipywidgets.IntSlider(); slider")
    assert opened(messages) == ["LayoutModel", "SliderStyleModel", "IntSliderModel"]
    assert [messages[0].msg_type, messages[-1].msg_type] == ["stream", "execute_result"]
    assert WIDGET_VIEW in messages[-1].content["data"]


def test_any_widget_is_one(client: ProtocolClient) -> None:
    code = """
import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = 'export default {render() {}}'
    value = traitlets.Int(0).tag(sync=True)
counter = Counter()
counter"""
    messages = shown(client, code)
    assert opened(messages) == ["LayoutModel", "AnyModel"]
    assert WIDGET_VIEW in messages[-1].content["data"]
    changed = {"method": "update", "state": {"value": 3}}
    model = messages[1].content["comm_id"]
    run(
        client,
        "print('a'); counter.value = 3; print('b')",
        stdout("a\n"),
        comm_msg(changed, comm_id=model),
        stdout("b\n"),
    )


def test_what_jupyter_client_runs_in_another_kernel_shows_in_the_cell(client: ProtocolClient, tmp_path: Path) -> None:
    with process(PYTHON_KERNEL, tmp_path) as (_, _, file):
        code = (
            "from jupyter_client import BlockingKernelClient\n"
            f"other = BlockingKernelClient(connection_file={str(file)!r})\n"
            "other.load_connection_file(); other.start_channels()\n"
            # Until its subscription is in effect, what the kernel shows is not for it.
            f"other.wait_for_ready(timeout={DEADLINE})\n"
            f"other.execute_interactive('print(1); display(2); 1 / 0', timeout={DEADLINE})\n"
            "other.stop_channels()"
        )
        run(client, code, stdout("1\n"), display("2"), error("ZeroDivisionError"))
