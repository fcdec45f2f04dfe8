"""sys.stdout.flush() of the Python kernel returns when the text is on the socket (K3)."""

from __future__ import annotations

import threading

from kernelbridge.kernel.kernel import Kernel, Options
from kernelbridge.python.streams import KernelStream
from kernelbridge.testing import ProtocolClient, busy, execute_input, execute_reply, idle, stdout
from tests.support.kernels import Cells, serving

DEADLINE = 60.0


def test_k3_a_flush_lets_out_what_was_written() -> None:
    """Where a text would be shown by itself after an hour."""
    seen = threading.Event()

    def cell(kernel: Kernel) -> None:
        stream = KernelStream(kernel, "stdout", None)
        stream.write("begun")
        stream.flush()
        assert seen.wait(DEADLINE)

    with serving(Cells(cell=cell), options=Options(stream_seconds=3600)) as kernel, ProtocolClient(kernel) as client:
        request = client.execute("cell")
        client.iopub.expect(busy(), execute_input("cell"), stdout("begun"), parent=request)
        seen.set()
        client.shell.expect(execute_reply("ok", parent=request))
        client.iopub.expect(idle(parent=request))
