"""A debugger's client over the Control channel: a debug_request at a time, and the events that it causes in order."""

from __future__ import annotations

from typing import Any

from kernelbridge.testing import (
    Matcher,
    ProtocolClient,
    busy,
    execute_input,
    execute_reply,
    idle,
    message,
    reply,
)
from kernelbridge.wire.messages import Message
from tests.support.exchange import run

MAIN = 1
"""The number of the main thread. JupyterLab takes it for this one where nothing has stopped."""


def event(name: str, **body: Any) -> Matcher:
    return message("debug_event", type="event", event=name, **({"body": body} if body else {}))


class Debug:
    """A client's debugger."""

    def __init__(self, client: ProtocolClient) -> None:
        self.client = client
        self._seq = 0

    def ask(self, command: str, *, success: bool = True, replied: str | None = None, **arguments: Any) -> Any:
        """Send a debug_request, expect its reply, and return the reply's body."""
        self._seq += 1
        content = {"type": "request", "seq": self._seq, "command": command, "arguments": arguments}
        sent = self.client.send("debug_request", content)
        fields: dict[str, Any] = {
            "type": "response",
            "success": success,
            "request_seq": self._seq,
            "command": replied or command,
        }
        self.client.iopub.of(sent).expect(busy(), idle())
        (answer,) = self.client.control.expect(reply("debug", **fields), parent=sent)
        return answer.content.get("body", answer.content.get("message"))

    def begin(self) -> None:
        """Attach, as JupyterLab does."""
        before = run(self.client, "pass").parent_id
        self.ask("initialize", clientID="jupyterlab", adapterID="python", linesStartAt1=True, pathFormat="path")
        self.ask("attach")
        # What is said of a thread is said by another one than what is said of the session.
        told = self.client.iopub.expect(*[message("debug_event")] * 3, parent=before)
        assert sorted(one.content["event"] for one in told) == ["initialized", "process", "thread"]
        self.ask("configurationDone")
        assert self.ask("threads") == {"threads": [{"id": MAIN, "name": "MainThread"}]}

    def breakpoints(self, code: str, *lines: int) -> str:
        """Set breakpoints in a cell, and return the path of its file."""
        path = str(self.ask("dumpCell", code=code)["sourcePath"])
        body = self.ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": line} for line in lines])
        assert [(one["verified"], one["line"]) for one in body["breakpoints"]] == [(True, line) for line in lines]
        return path

    def stop(self, code: str, *shown: Matcher, reason: str = "breakpoint") -> Message:
        """Execute what will stop, and return the request when it has."""
        request = self.client.execute(code)
        self.client.iopub.of(request).expect(
            busy(), execute_input(code), *shown, event("stopped", reason=reason, threadId=MAIN)
        )
        return request

    def until(self, request: Message, name: str) -> Any:
        """Read what comes up to an event of this name, and return the event's body."""
        while True:
            (one,) = self.client.iopub.of(request).expect(message("debug_event"))
            if one.content["event"] == name:
                return one.content["body"]

    def frames(self, request: Message, files: int) -> list[tuple[str, int]]:
        """Return the stack by names and lines. It is the first time that it is in this many files."""
        stack = self.ask("stackTrace", threadId=MAIN)["stackFrames"]
        self.client.iopub.of(request).expect(*[event("module", reason="new")] * files)
        return [(frame["name"], frame["line"]) for frame in stack]

    def frame(self) -> int:
        return int(self.ask("stackTrace", threadId=MAIN)["stackFrames"][0]["id"])

    def step(self, request: Message, command: str) -> None:
        self.ask(command, threadId=MAIN)
        self.client.iopub.of(request).expect(
            event("continued", threadId=MAIN, allThreadsContinued=True), event("stopped", reason="step", threadId=MAIN)
        )

    def go_on(self, request: Message, *shown: Matcher, replied: Matcher | None = None) -> None:
        """Continue, and expect the rest of what the cell causes."""
        self.ask("continue", threadId=MAIN)
        self.client.iopub.of(request).expect(event("continued", threadId=MAIN), *shown, idle())
        self.client.shell.expect(replied or execute_reply(), parent=request)
