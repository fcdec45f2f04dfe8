"""Tests of how threads, queues and sockets meet."""
