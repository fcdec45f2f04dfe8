"""Chaos: kernels and frontends that are killed or stopped at random moments, hundreds of times (contract F6, F8, F11).

plan.py       what is done: steps, each made from the seed and its own name
kernels.py    the kernels that are started, what they are asked to run, and the ids of their processes
ledger.py     what was asked for, and how it has ended
steps.py      a step in which a kernel is killed or stopped
frontends.py  a step in which a frontend is killed, and victim.py, the frontend
room.py       where a step takes place, and that nothing is left of it
workers.py    processes that perform steps, and are ended when one hangs
__main__.py   the command
"""
