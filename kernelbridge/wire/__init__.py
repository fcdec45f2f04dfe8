"""What travels between a kernel and a frontend: messages, their contents, frames, signatures, connection files.

Pure: nothing here has a socket, a thread or a clock that it was not given.
"""
