"""Notebooks: read, run through a Bridge, written with the outputs that JupyterLab would save.

stream_text.py  output_area.py  widgets.py  outputs.py   what messages make of a notebook; pure
files.py                                                 notebook files
kernels.py                                               which kernel a notebook is run with
run.py                                                   run_notebook
"""
