"""Notebooks: read, run through a Bridge, written with the outputs that JupyterLab would save.

widgets.py  outputs.py   what messages make of a notebook; pure
files.py                                                 notebook files
kernels.py                                               which kernel a notebook is run with
run.py                                                   run_notebook
"""

from kernelbridge.notebook.files import NotebookFileError, read_notebook, write_notebook
from kernelbridge.notebook.kernels import choose_kernel
from kernelbridge.notebook.outputs import CellOutputs, NotebookOutputs
from kernelbridge.notebook.run import CellFailure, CellStart, NotebookRun, run_notebook

__all__ = [
    "CellFailure",
    "CellOutputs",
    "CellStart",
    "NotebookFileError",
    "NotebookOutputs",
    "NotebookRun",
    "choose_kernel",
    "read_notebook",
    "run_notebook",
    "write_notebook",
]
