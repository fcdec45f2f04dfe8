"""Benchmarks: kernelbridge beside its peers and the floor, in one run. Start with `python -m tests.benchmarks`."""
