"""The debugger of the Python kernel: ``debug_request`` and ``debug_event`` over debugpy (extra ``debug``).

Control thread                    debugger thread                                debugpy, in this process
--------------                    ---------------                                ------------------------
debug_request ---> Debugger ----> Session: what is Jupyter's own ---> Adapter ==> pydevd's reader and writer threads,
debug_reply   <------------------ it answers, the rest it passes  <--- (DAP)  <== and its trace function on all others
IOPub queue   <--- debug_event ---- on, both ways

    service.py    Debugger: the thread, and what the other threads ask of it
    session.py    Session: the commands, Jupyter's additions to the Debug Adapter Protocol among them
    adapter.py    Adapter: requests, responses and events of the protocol, over a socket
    tracing.py    all that is asked of pydevd by calls: to be connected, to trace a thread, to let go
    cells.py      what the file of a cell is called, so that a breakpoint in it is hit
    hidden.py     whose frames are not shown
    variables.py  the variables of the namespace, when nothing is stopped

debugpy's engine is connected by a pair of sockets that nobody else has an end of. It is not told to listen: whoever
reaches the port of a debugger, as any user of the computer can, runs code in the process. Nor is its adapter started,
which is one more process that would have to be ended.

Nothing here is loaded before the first debug_request, and debugpy not before the first ``initialize``. A thread of
kernelbridge's own is never traced, nor are its frames: a debugger that stops all threads must not stop the one that
sends what it has to say, or one that holds a lock which that one waits for.
"""

from kernelbridge.python.debugger.service import Debugger

__all__ = ["Debugger"]
