"""The debugger's commands: Jupyter's additions to the Debug Adapter Protocol, and what is passed on to debugpy.

"Debug request" in the messaging specification, with "Additions to the DAP".
"""

from __future__ import annotations

import ast
import linecache
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from IPython.core.history import HistorySavingThread

from kernelbridge.python.debugger import tracing
from kernelbridge.python.debugger.adapter import Adapter, Dap
from kernelbridge.python.debugger.cells import HASH_METHOD, HASH_SEED, Cells
from kernelbridge.python.debugger.hidden import is_hidden, rules
from kernelbridge.python.debugger.variables import COUNT, FIRST_REFERENCE, Variables, rich
from kernelbridge.wire.packing import unpack

PASSED_ON: Final = frozenset(
    {
        "completions",
        "continue",
        "evaluate",
        "exceptionInfo",
        "goto",
        "gotoTargets",
        "next",
        "pause",
        "scopes",
        "setDebuggerProperty",
        "setExceptionBreakpoints",
        "setExpression",
        "setFunctionBreakpoints",
        "setVariable",
        "stackTrace",
        "stepIn",
        "stepInTargets",
        "stepOut",
        "threads",
    }
)
"""Commands that debugpy answers as they are. Others it may leave without an answer, or end the process by."""

_HISTORY_NAME: Final = re.compile(r"_i?\d+|_i{1,3}|_{1,3}")
"""The names that IPython gives to inputs and outputs."""

GOING_ON: Final = frozenset({"continue", "next", "stepIn", "stepOut"})
"""Those by which what is stopped goes on."""

Commands: TypeAlias = dict[str, Callable[[Mapping[str, Any]], Awaitable[Dap]]]
T = TypeVar("T")


class Refusal(Exception):
    """A command cannot be done; its text says why."""


class Session:
    """The debugger as its clients see it. Owned by the debugger's thread.

    Takes IPython's `shell`, and `show`, which publishes an event.
    """

    def __init__(self, shell: Any, show: Callable[[Dap], None]) -> None:
        self.cells = Cells(shell)
        self.attached = False
        """Whether threads are to be traced. Read by other threads."""
        self._shell = shell
        self._show = show
        self._adapter = Adapter(self._heard)
        self._variables = Variables()
        self._started = False
        self._breakpoints: dict[str, list[Any]] = {}
        # In the order in which they have stopped.
        self._stopped: dict[int, None] = {}
        self._scopes: set[int] = set()
        self._always: Commands = {
            "copyToGlobals": self._copy_to_globals,
            "debugInfo": self._debug_info,
            "dumpCell": self._dump_cell,
            "initialize": self._initialize,
            "inspectVariables": self._inspect_variables,
            "modules": self._modules,
            "richInspectVariables": self._rich_inspect_variables,
            "source": self._source,
            "variables": self._variables_of,
        }
        self._when_started: Commands = {
            "attach": self._attach,
            "configurationDone": self._configuration_done,
            "disconnect": self._disconnect,
            "setBreakpoints": self._set_breakpoints,
        }

    async def answer(self, command: str, arguments: Mapping[str, Any]) -> Dap:
        """Do what a request says, and return the response's `success`, `message` and `body`.

        What is passed on is sent before this waits for anything. Raises `Refusal`.
        """
        if command in self._always:
            return await self._always[command](arguments)
        if command not in self._when_started and command not in PASSED_ON:
            raise Refusal(f"this debugger has no command {command!r}")
        if not self._started:
            raise Refusal(f"{command}: the debugger has not been started; initialize comes first")
        if command in self._when_started:
            return await self._when_started[command](arguments)
        if command in GOING_ON:
            self._goes_on(arguments.get("threadId"))
        response = await self._adapter.send(command, arguments)
        if command == "scopes" and response.get("success"):
            self._scopes = {scope["variablesReference"] for scope in response["body"]["scopes"]}
        return response

    def let_go(self) -> None:
        """Let all that is stopped go on, and stop nothing any more."""
        if self._started:
            self._adapter.send("disconnect", {"terminateDebuggee": False})
            self._reset()

    def resume(self) -> None:
        """Let all that is stopped go on: an interrupt has ended what the main thread was stopped in."""
        if self._started:
            self._adapter.send("continue", {"threadId": "*"})

    def settle(self, done: Callable[[], object]) -> None:
        """Call `done` when all events have been shown that debugpy has put so far."""
        self._adapter.send("threads").add_done_callback(lambda response: done())

    def close(self) -> None:
        self._reset()
        self._adapter.close()
        self.cells.remove()

    def _reset(self) -> None:
        self._started = self.attached = False
        self._breakpoints.clear()
        self._stopped.clear()
        self.cells.name_no_longer()

    def _goes_on(self, thread_id: object) -> None:
        """Say that all threads go on, before they do: debugpy says so when what they show may stand before it."""
        if thread_id in self._stopped:
            self._stopped.clear()
            body = {"threadId": thread_id, "allThreadsContinued": True}
            self._show({"type": "event", "event": "continued", "body": body})

    def _heard(self, event: Dap) -> None:
        body = event.get("body") or {}
        match event["event"]:
            case "stopped":
                self._stopped[body["threadId"]] = None
            case "continued":
                if not self._stopped:
                    # It has been said.
                    return
                self._stopped.clear()
            case "module" if is_hidden(str(body["module"].get("path", ""))):
                return
        self._show(event)

    # From initialize to disconnect

    async def _initialize(self, arguments: Mapping[str, Any]) -> Dap:
        # What saves the history is not the user's to stop. Said of the class: after a fork there is another thread.
        HistorySavingThread.pydev_do_not_trace = HistorySavingThread.is_pydev_daemon_thread = True
        if not self._adapter.connected:
            try:
                connection = tracing.connect()
            except ImportError as failure:
                raise Refusal(f"{failure}; kernelbridge's extra 'debug' installs it") from failure
            except Exception as failure:
                raise Refusal(f"debugpy cannot be started: {failure}") from failure
            await self._adapter.open(connection)
        else:
            tracing.trace_all_threads()
        response = await self._adapter.send("initialize", {"adapterID": "kernelbridge", **arguments})
        self._started = self._started or bool(response["success"])
        return response

    async def _attach(self, arguments: Mapping[str, Any]) -> Dap:
        hidden = [*arguments.get("rules", ()), *rules()]
        # As with ipykernel, what is not a cell may be debugged, too. What is printed is shown by the kernel itself.
        arguments = {"justMyCode": False, **arguments, "rules": hidden, "redirectOutput": False}
        arguments.pop("debugOptions", None)
        sent = self._adapter.send("attach", arguments)
        self.cells.name_from_now_on()
        self.attached = True
        return await sent

    async def _configuration_done(self, arguments: Mapping[str, Any]) -> Dap:
        if not self.attached:
            raise Refusal("configurationDone: nothing is attached; attach comes first")
        return await self._adapter.send("configurationDone", arguments)

    async def _disconnect(self, arguments: Mapping[str, Any]) -> Dap:
        # The end of the kernel is asked for by a shutdown_request.
        sent = self._adapter.send("disconnect", {**arguments, "terminateDebuggee": False})
        self._reset()
        return await sent

    async def _debug_info(self, arguments: Mapping[str, Any]) -> Dap:
        return _success(
            {
                "isStarted": self._started,
                "hashMethod": HASH_METHOD,
                "hashSeed": HASH_SEED,
                "tmpFilePrefix": self.cells.prefix,
                "tmpFileSuffix": self.cells.suffix,
                "breakpoints": [{"source": path, "breakpoints": here} for path, here in self._breakpoints.items()],
                "stoppedThreads": list(self._stopped),
                "richRendering": True,
                "exceptionPaths": ["Python Exceptions"],
                "copyToGlobals": True,
            }
        )

    # Sources

    async def _dump_cell(self, arguments: Mapping[str, Any]) -> Dap:
        return _success({"sourcePath": self.cells.dump(_argument(arguments, "code", str))})

    async def _source(self, arguments: Mapping[str, Any]) -> Dap:
        path = _argument(arguments, "source", dict).get("path")
        if not isinstance(path, str):
            if not self._started:
                raise Refusal("source: argument 'source' has no 'path'")
            return await self._adapter.send("source", arguments)
        lines = linecache.getlines(path)
        if not lines:
            raise Refusal(f"source: there is none of {path}")
        return _success({"content": "".join(lines)})

    async def _set_breakpoints(self, arguments: Mapping[str, Any]) -> Dap:
        path = _argument(_argument(arguments, "source", dict), "path", str)
        wanted = _argument({"breakpoints": [], **arguments}, "breakpoints", list)
        ran = self.cells.source_map(path)
        if ran is not None:
            self._adapter.send("setPydevdSourceMap", {"source": {"path": path}, "pydevdSourceMaps": ran})
        response = await self._adapter.send("setBreakpoints", arguments)
        if response["success"]:
            # Where debugpy has put them: it takes the next line that has code.
            put = response["body"]["breakpoints"]
            self._breakpoints[path] = [
                {**one, "line": at.get("line", one["line"])} for one, at in zip(wanted, put, strict=True)
            ]
            if not put:
                del self._breakpoints[path]
        return response

    async def _modules(self, arguments: Mapping[str, Any]) -> Dap:
        found = [
            {"id": number, "name": name, "path": path}
            for number, (name, module) in enumerate(list(sys.modules.items()))
            if isinstance(path := getattr(getattr(module, "__spec__", None), "origin", None), str)
            and path.endswith(".py")
        ]
        start = _argument({"startModule": 0, **arguments}, "startModule", int)
        count = _argument({"moduleCount": 0, **arguments}, "moduleCount", int) or len(found)
        return _success({"modules": found[start : start + count], "totalModules": len(found)})

    # Variables

    async def _inspect_variables(self, arguments: Mapping[str, Any]) -> Dap:
        hidden = self._shell.user_ns_hidden
        shown = {
            name: value
            for name, value in dict(self._shell.user_ns).items()
            if not name.startswith("_") and (name not in hidden or hidden[name] is not value)
        }
        return _success({"variables": self._variables.rows(shown)})

    async def _variables_of(self, arguments: Mapping[str, Any]) -> Dap:
        reference = _argument(arguments, "variablesReference", int)
        if reference >= FIRST_REFERENCE:
            start, count = arguments.get("start") or 0, arguments.get("count") or COUNT
            rows = self._variables.children(reference, start, count)
            if rows is None:
                raise Refusal("variables: they were inspected anew since")
            return _success({"variables": rows})
        response = await self._adapter.send("variables", arguments)
        if response["success"] and reference in self._scopes:
            rows = [row for row in response["body"]["variables"] if not self._is_internal(row["name"])]
            return {**response, "body": {**response["body"], "variables": rows}}
        return response

    def _is_internal(self, name: str) -> bool:
        return name in self._shell.user_ns_hidden or _HISTORY_NAME.fullmatch(name) is not None

    async def _rich_inspect_variables(self, arguments: Mapping[str, Any]) -> Dap:
        name = _argument(arguments, "variableName", str)
        frame = arguments.get("frameId")
        if not name.isidentifier():
            # JupyterLab asks for rows that are no variables, too, such as "special variables".
            raise Refusal(f"richInspectVariables: {name!r} is not the name of a variable")
        if frame is None or not self._stopped:
            if name not in self._shell.user_ns:
                raise Refusal(f"richInspectVariables: there is no variable {name!r}")
            data, metadata = rich(self._shell.user_ns[name])
        else:
            module = f"__import__({Variables.__module__!r}, fromlist=['*'])"
            expression = {"expression": f"{module}.rich_text({name})", "frameId": frame, "context": "clipboard"}
            response = await self._adapter.send("evaluate", expression)
            if not response["success"]:
                return response
            data, metadata = unpack(ast.literal_eval(response["body"]["result"]).encode())
        return _success({"data": data, "metadata": {key: metadata[key] for key in metadata if key in data}})

    async def _copy_to_globals(self, arguments: Mapping[str, Any]) -> Dap:
        source = _argument(arguments, "srcVariableName", str)
        target = _argument(arguments, "dstVariableName", str)
        if not (source.isidentifier() and target.isidentifier()):
            raise Refusal("copyToGlobals: 'srcVariableName' and 'dstVariableName' must be names")
        # Not the globals of the frame, which may be those of a module.
        expression = f"__import__('IPython').get_ipython().user_ns[{target!r}]"
        frame = _argument(arguments, "srcFrameId", int)
        return {
            **await self._adapter.send("setExpression", {"expression": expression, "value": source, "frameId": frame}),
            "command": "setExpression",
        }


def _success(body: Dap) -> Dap:
    return {"success": True, "body": body}


def _argument(arguments: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = arguments.get(name)
    if not isinstance(value, kind):
        raise Refusal(f"argument {name!r} is missing" if value is None else f"argument {name!r} is not of type {kind}")
    return value
