"""A host that lets one user in by SSH and runs what it is told: run in a network namespace, it is another machine.

Takes the address to listen at and the file of its host key, and says "listens" when it does. The password is in its
environment. The SSH is paramiko's, which gateway_provisioners brings, so that no sshd has to be there.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import paramiko


class Guest(paramiko.ServerInterface):
    """One connection."""

    def check_auth_password(self, username: str, password: str) -> int:
        allowed = username == "ada" and password == os.environ["HOST_PASSWORD"]
        result: int = paramiko.AUTH_SUCCESSFUL if allowed else paramiko.AUTH_FAILED
        return result

    def check_channel_request(self, kind: str, chanid: int) -> int:
        result: int = paramiko.OPEN_SUCCEEDED
        return result

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=run, args=(channel, command.decode()), daemon=True).start()
        return True


def run(channel: paramiko.Channel, command: str) -> None:
    """Run a command as a shell does, and send what it says."""
    ran = subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    channel.sendall(ran.stdout)
    channel.sendall_stderr(ran.stderr)
    channel.send_exit_status(ran.returncode)
    channel.close()


def main(address: str, key_file: str) -> None:
    with socket.create_server((address, 22)) as listening:
        print("listens", flush=True)
        while True:
            connection, _ = listening.accept()
            transport = paramiko.Transport(connection)
            transport.add_server_key(paramiko.ECDSAKey(filename=key_file))
            transport.start_server(server=Guest())


if __name__ == "__main__":
    main(*sys.argv[1:])
