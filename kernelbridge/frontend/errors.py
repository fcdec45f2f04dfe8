"""What a frontend is told when its kernel cannot answer: one line, made for whoever started the kernel."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BridgeClosedError",
    "BridgeCrashedError",
    "BridgeError",
    "ClaimError",
    "KernelDiedError",
    "KernelStartError",
    "NoSuchKernelError",
    "SubshellError",
]


class BridgeError(Exception):
    """The base of what a bridge raises by itself. What the kernel answers, errors too, comes as replies."""


class KernelStartError(BridgeError):
    """The kernel did not start, or did not become ready in time."""


class NoSuchKernelError(KernelStartError):
    """There is no kernelspec of this name.

    `known` are the names that there are and `looked_in` the folders in which they were looked for.
    """

    def __init__(self, name: str, known: Iterable[str], looked_in: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        self.looked_in = list(looked_in)
        known_names, folders = ", ".join(self.known), ", ".join(self.looked_in)
        super().__init__(f"no kernel named {name!r}; there are {known_names or 'none'} (looked in {folders})")


class KernelDiedError(BridgeError):
    """The kernel's process ended before it had answered."""


class BridgeClosedError(BridgeError):
    """The bridge was closed before the kernel had answered, or the pool before it had a kernel for a claim."""


class ClaimError(BridgeError):
    """A pool cannot set a kernel up as a claim asks: it does not know the kernel's language, or the kernel refuses."""


class SubshellError(BridgeError):
    """The kernel has no subshells, or has made none, or it is not there yet."""


class BridgeCrashedError(BridgeError):
    """A thread of the bridge ended with an exception, which is logged: a fault of this library."""
