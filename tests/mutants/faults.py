"""All faults. Later rooms of the library add a table of their own."""

from __future__ import annotations

from tests.mutants import below, frontend_end, kernel_end, kernel_output, kernel_pool, python_kernel
from tests.mutants.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *kernel_output.FAULTS,
    *kernel_end.FAULTS,
    *below.FAULTS,
    *frontend_end.FAULTS,
    *kernel_pool.FAULTS,
    *python_kernel.FAULTS,
)
