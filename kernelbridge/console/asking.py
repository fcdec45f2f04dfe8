"""What the kernel knows of what is typed: how it may go on, and what was typed before."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import History

from kernelbridge.frontend.bridge import Bridge
from kernelbridge.frontend.errors import BridgeError

_LINES = 1000
"""How much of its history the kernel is asked for."""


class KernelCompleter(Completer):
    """Completes as the kernel says. Who types on does not wait for it."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return none: the kernel is asked in the event loop alone."""
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        try:
            content = (await self._bridge.complete(document.text, document.cursor_position)).content
        except BridgeError:
            # The kernel is gone, which is said elsewhere.
            return
        matches, start, end = content.get("matches"), content.get("cursor_start"), content.get("cursor_end")
        if not isinstance(matches, list) or not isinstance(start, int) or not isinstance(end, int):
            return
        # What lies behind the cursor is not replaced: a completion is put in where the cursor is.
        replaced = document.text[start : document.cursor_position]
        kinds = _kinds(content.get("metadata"))
        for match in matches:
            if isinstance(match, str):
                shown = match[replaced.rfind(".") + 1 :] if match.startswith(replaced) else match
                yield Completion(match, -len(replaced), display=shown or match, display_meta=kinds.get(match))


def _kinds(metadata: object) -> dict[str, str]:
    """Return what kind of thing each match is, where the kernel says: IPython does so, beside the specification."""
    types = metadata.get("_jupyter_types_experimental") if isinstance(metadata, dict) else None
    entries = [entry for entry in types if isinstance(entry, dict)] if isinstance(types, list) else []
    return {str(entry.get("text")): str(entry.get("type")) for entry in entries if entry.get("type")}


class KernelHistory(History):
    """What was typed before, into this kernel or an earlier one, as far as the kernel keeps it."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        # Asked for once and at once: a prompt may end before the answer comes.
        self._request = bridge.history("tail", n=_LINES)

    async def load(self) -> AsyncGenerator[str, None]:
        """Give the entries, the last one first."""
        if not self._loaded:
            try:
                # Without a wait where there is none: the first key of a prompt may be Up.
                reply = self._request.result() if self._request.done else await self._request
                entries = reply.content.get("history")
            except BridgeError:
                entries = None
            if not self._loaded:
                self._loaded = True
                # Behind what was typed here meanwhile.
                self._loaded_strings += _inputs(entries)
        for one in self._loaded_strings:
            yield one

    def load_history_strings(self) -> Iterable[str]:
        """Return none: they are loaded in the event loop alone."""
        return ()

    def store_string(self, string: str) -> None:
        """Leave it to the kernel, which stores what it runs."""


def _inputs(entries: object) -> list[str]:
    """Return the inputs of a history_reply, the last one first, each once in a row."""
    inputs: list[str] = []
    for entry in reversed(entries) if isinstance(entries, list) else ():
        # (session, line number, input); a kernel may be careless.
        given = entry[2] if isinstance(entry, list) and len(entry) == 3 else None
        if isinstance(given, str) and given.strip() and given not in inputs[-1:]:
            inputs.append(given)
    return inputs
