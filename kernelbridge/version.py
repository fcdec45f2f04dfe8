"""The version, where all that needs it can read it without loading anything."""

__version__ = "0.1.0"
