"""Tests of the kernel end: its pure cores, and whole kernels over real sockets."""
