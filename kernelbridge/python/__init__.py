"""The Python kernel: IPython's shell behind a kernel end. Started by ``python -m kernelbridge.python -f FILE``."""
