"""The kernel end: five channels, each on a thread of its own, around a language that implements `Handler`."""
