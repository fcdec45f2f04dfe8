"""Tests of running notebooks: the outputs, the files, the runs, the command line."""
