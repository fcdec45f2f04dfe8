"""Faults of the Python kernel: its streams, displays, comms, and what it tells IPython."""

from __future__ import annotations

from tests.mutants.fault import Fault

PYTHON = "kernelbridge/python/"
EXECUTION = "tests/python/test_execution.py"
COMMS = "tests/python/test_comms.py"
ORDER = "tests/python/test_order.py"
PARENTS = "tests/python/test_parents.py"
DESCRIPTORS = "tests/python/test_descriptors.py"
FORKS = "tests/python/test_forks.py"

FAULTS = (
    Fault(
        "a flush of a stream does nothing",
        PYTHON + "streams.py",
        "        self._descriptors.settle()\n        self._flush()\n",
        "        self._descriptors.settle()\n",
        "K3",
        ("tests/python/test_stream_flush.py",),
    ),
    Fault(
        "each stream gathers lines of its own",
        PYTHON + "streams.py",
        "        self._put(self._stream, text, self._parent())\n        return len(text)",
        '        self._line = getattr(self, "_line", "") + text\n'
        '        if "\\n" in text:\n'
        "            self._put(self._stream, self._line, self._parent())\n"
        '            self._line = ""\n'
        "        return len(text)",
        "K2",
        (ORDER, EXECUTION),
    ),
    Fault(
        "stderr is stdout",
        PYTHON + "handler.py",
        '        sys.stderr = KernelStream(self.kernel, "stderr", ',
        '        sys.stderr = KernelStream(self.kernel, "stdout", ',
        "K2",
        (EXECUTION,),
    ),
    Fault(
        "a task prints into the running cell",
        PYTHON + "streams.py",
        "        self._parent = kernel.parents.current\n",
        "        self._parent = lambda: kernel.parents._latest and kernel.parents._latest.header\n",
        "K4",
        (PARENTS,),
    ),
    Fault(
        "a task displays into the running cell",
        PYTHON + "shell.py",
        '        self._publish("update_display_data" if update else "display_data", content)',
        "        kernel = self.shell.kernel\n"
        "        with kernel.parent(kernel.parents._latest):\n"
        '            kernel.publish("update_display_data" if update else "display_data", content)',
        "K4",
        (PARENTS,),
    ),
    Fault(
        "a value is shown under the last parent given",
        PYTHON + "shell.py",
        '            self._publish("execute_result", cell.shown)\n',
        "            kernel = self.shell.kernel\n"
        '            kernel.outputs.publish("execute_result", cell.shown, None)\n',
        "K4",
        (EXECUTION,),
    ),
    Fault(
        "a comm is sent past the queue",
        PYTHON + "comms.py",
        "        self.kernel.publish(msg_type, content, metadata, buffers or ())\n",
        "        import threading\n"
        "\n"
        "        parent = self.kernel.parents.current()\n"
        "        arguments = (msg_type, content, parent, metadata, buffers or ())\n"
        # A thread alone has put it before the program goes on, nearly always.
        "        threading.Timer(0.001, self.kernel.outputs.publish, arguments).start()\n",
        "K1, K6",
        (ORDER, COMMS),
    ),
    Fault(
        "a comm that the program closes stays open",
        PYTHON + "comms.py",
        "        self._kernel.comms.remove(old.comm_id)\n        super().unregister_comm(old)\n",
        "        super().unregister_comm(old)\n",
        "K6",
        (COMMS,),
    ),
    Fault(
        "a comm that the frontend closed is closed again",
        PYTHON + "comms.py",
        "        old._closed = True\n",
        "",
        "K6",
        (COMMS,),
    ),
    Fault(
        "a refused comm stays in the package's set",
        PYTHON + "comms.py",
        "                self.comms.pop(new.comm_id, None)\n                new._closed = True\n",
        "                new._closed = True\n",
        "K6",
        (COMMS,),
    ),
    Fault(
        "a refused comm is closed twice",
        PYTHON + "comms.py",
        "                new._closed = True\n",
        "",
        "K6",
        (COMMS,),
    ),
    Fault(
        "IPython counts for itself",
        PYTHON + "handler.py",
        "self._shell.cells.one(execution_count) as cell:",
        "self._shell.cells.one(self._shell.execution_count) as cell:",
        "the specification",
        (EXECUTION,),
    ),
    Fault(
        "an error is shown and not replied",
        PYTHON + "handler.py",
        "        if error is not None:\n            return ErrorReply(",
        "        if error is not None and not cell.traceback:\n            return ErrorReply(",
        "K11",
        (EXECUTION,),
    ),
    Fault(
        "what a captured output prints stays captured",
        PYTHON + "shell.py",
        "        self.kernel.parents.adopt(Message.from_dict(parent))\n",
        "        self.kernel.parents.enter(Message.from_dict(parent))\n",
        "K4",
        (PARENTS,),
    ),
    Fault(
        "what waits in a descriptor's pipe is not waited for",
        PYTHON + "handler.py",
        "    def settle(self) -> None:\n        self._descriptors.settle()\n",
        "    def settle(self) -> None:\n        return\n",
        "K10",
        (DESCRIPTORS,),
    ),
    Fault(
        "what was read is not put yet",
        PYTHON + "descriptors.py",
        "        if self._open:\n            read.acquire(timeout=_PATIENCE_SECONDS)\n",
        "",
        "K10",
        (DESCRIPTORS,),
    ),
    Fault(
        "what C keeps in its buffer stays there",
        PYTHON + "descriptors.py",
        "        if self._flush_c is not None:\n            self._flush_c()\n",
        "",
        "K10",
        (DESCRIPTORS,),
    ),
    Fault(
        "a piece of a character is taken for all of it",
        PYTHON + "descriptors.py",
        """        return self._decoder.decode(os.read(self.reading_end, size) if size else b"", final)""",
        """        return self._decoder.decode(os.read(self.reading_end, size) if size else b"", True)""",
        "K3",
        (DESCRIPTORS,),
    ),
    Fault(
        "a forked child prints for nobody",
        PYTHON + "streams.py",
        "            return int(self._original.write(text)) if self._original is not None else len(text)\n",
        "            return len(text)\n",
        "K10",
        (FORKS,),
    ),
    Fault(
        "a signal to a forked child is one to the kernel",
        "kernelbridge/kernel/interrupts.py",
        "        if self._bell is None:\n            return\n        self._bell = None\n",
        "        if self._ident is not None:\n            return\n        self._bell = None\n",
        "a forked child is a process of its own",
        (FORKS,),
    ),
)
