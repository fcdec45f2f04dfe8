"""Tests of kernelbridge."""
