"""The process of a scripted kernel: ``python -m kernelbridge.testing.script_process -f CONNECTION_FILE FOLDER``.

Started by the kernelspec that `scripted_kernelspec` makes; the folder is the one that holds its script.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path

from kernelbridge.testing.kernelspecs import ScriptFolder
from kernelbridge.testing.report import ProtocolFailure
from kernelbridge.testing.scripted import Player
from kernelbridge.wire.connection import load_connection_file
from kernelbridge.wire.errors import ConnectionFileError


def main() -> int:
    """Play the script, and return the exit status; a negative one is minus the number of a signal."""
    parser = argparse.ArgumentParser(prog="python -m kernelbridge.testing.script_process")
    parser.add_argument("-f", dest="connection_file", required=True)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    # Interrupts are messages.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        connection = load_connection_file(given.connection_file)
    except ConnectionFileError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    folder = ScriptFolder(given.folder)
    folder.began()
    try:
        script, options = folder.read_script()
        player = Player(script, connection=connection, patient=False, **options)
        player.open()
        try:
            player.perform()
        finally:
            player.close_sockets()
            player.clean_up()
    except ProtocolFailure as failure:
        folder.failed(str(failure))
        sys.stderr.write(f"{failure.headline}\n")
        return 1
    except Exception:  # noqa: BLE001 - raised where the kernel was made.
        folder.failed(f"an error in the process of the scripted kernel\n{traceback.format_exc()}")
        traceback.print_exc()
        return 1
    return player.exit_status or 0


if __name__ == "__main__":
    status = main()
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)
