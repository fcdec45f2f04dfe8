"""Tests of the Python kernel, as a process of its own, seen by raw frontends and by jupyter_client."""
