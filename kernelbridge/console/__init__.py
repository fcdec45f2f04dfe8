"""A console on a terminal: cells are typed, the kernel runs them, and what it shows stands below in its order.

    console.py   Console: reads, runs and shows, until Ctrl-D or the kernel's end
    reading.py   what is typed: cells of many lines, and answers to input requests
    asking.py    completions and history, which the kernel has
    display.py   what a message is as text. Pure
    screen.py    text on the terminal, above the prompt where there is one

All of it lives in one event loop on one thread; the threads are the bridge's.
"""

from __future__ import annotations

from kernelbridge.console.console import DIED, Console, run_console

__all__ = ["DIED", "Console", "run_console"]
