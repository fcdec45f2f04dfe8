"""Why a rule could not be tried to its end."""

from __future__ import annotations

__all__ = ["KernelDied", "KernelHung", "NotApplicable", "NotMeasured"]


class NotApplicable(Exception):
    """The kernel has nothing to show the rule with. The text says what is missing, on one line."""


class NotMeasured(Exception):
    """The rule could not be tried. The text says why, on one line."""


class KernelDied(Exception):
    """The kernel's process ended. The text says how, on one line."""


class KernelHung(Exception):
    """The kernel did not do what has to be waited for. The text says what, on one line."""
