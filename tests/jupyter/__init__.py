"""Tests of the classes that Jupyter's own tools accept."""
