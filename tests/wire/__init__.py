"""Tests of what travels: contents, frames, signatures, connection files."""
