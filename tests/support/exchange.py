"""One request at a time: sent, with all that it causes expected on IOPub and on the channel of its reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kernelbridge.testing import Matcher, ProtocolClient, busy, execute_input, execute_reply, idle, reply
from kernelbridge.wire.messages import Message


def run(client: ProtocolClient, code: str, *shown: Matcher, replied: Matcher | None = None, **options: Any) -> Message:
    """Execute, expect what the cell shows between its input and its idle, and return the reply, which is `replied`."""
    request = client.execute(code, **options)
    shows_input = [] if options.get("silent") else [execute_input(code)]
    client.iopub.expect(busy(), *shows_input, *shown, idle(), parent=request)
    return client.shell.expect(replied or execute_reply(), parent=request)[0]


def ask(
    client: ProtocolClient,
    name: str,
    content: Mapping[str, Any] | None = None,
    *,
    channel: Literal["shell", "control"] = "shell",
    **replied: Any,
) -> Message:
    """Send the request of this name (``complete``) and return its reply, which succeeds and has the fields `replied`.

    Nothing is shown but its brackets.
    """
    request = client.send(f"{name}_request", content, channel=channel)
    client.iopub.expect(busy(), idle(), parent=request)
    replies = client.shell if channel == "shell" else client.control
    return replies.expect(reply(name, **{"status": "ok", **replied}), parent=request)[0]
