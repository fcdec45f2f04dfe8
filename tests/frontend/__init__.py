"""Tests of the frontend end."""
