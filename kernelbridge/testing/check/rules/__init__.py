"""The rules, in the order in which they are tried: the one that ends the kernel last."""

from __future__ import annotations

from kernelbridge.testing.check.procedure import procedures_of
from kernelbridge.testing.check.rules import liveness, load, malformed, order, requests, status, wire

__all__ = ["PROCEDURES"]

PROCEDURES = procedures_of(wire, status, order, requests, load, malformed, liveness)
