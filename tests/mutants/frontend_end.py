"""Faults of the frontend end: what ends an execution, who sees what, input, readiness, the kernel's process."""

from __future__ import annotations

from tests.mutants.fault import Fault

FRONTEND = "kernelbridge/frontend/"
EXECUTION = "tests/frontend/test_execution.py"
BRIDGE = "tests/frontend/test_bridge.py"
INPUT = "tests/frontend/test_input.py"
DEATHS = "tests/frontend/test_deaths.py"
LAUNCH = "tests/frontend/test_launch.py"
READINESS = "tests/frontend/test_readiness.py"
SUBSCRIBERS = "tests/frontend/test_subscribers.py"
FILES = "tests/frontend/test_files.py"
RESTART = "tests/frontend/test_restart.py"
LIVENESS = "tests/frontend/test_liveness.py"

FAULTS = (
    Fault(
        "done at the reply alone",
        FRONTEND + "execution.py",
        "        super().__init__(header, needs_idle=True)\n",
        "        super().__init__(header)\n",
        "F2",
        (EXECUTION,),
    ),
    Fault(
        "done at the idle alone",
        FRONTEND + "execution.py",
        "        super().__init__(header, needs_idle=True)\n",
        "        super().__init__(header, needs_reply=False, needs_idle=True)\n",
        "F2",
        (EXECUTION,),
    ),
    Fault(
        "anybody's idle will do",
        FRONTEND + "execution.py",
        "                request = None if parent is None else pending.get(parent.msg_id)\n",
        "                request = (None if parent is None else pending.get(parent.msg_id)) or request\n",
        "F2",
        (EXECUTION,),
    ),
    Fault(
        "a reply to nobody ends the oldest request",
        FRONTEND + "execution.py",
        "        request = self.find(message.parent_id)\n        if request is None:\n",
        "        request = self.find(message.parent_id) or next(iter(self._pending.values()), None)\n"
        "        if request is None:\n",
        "F10",
        (EXECUTION,),
    ),
    Fault(
        "a reply of any type will do",
        FRONTEND + "execution.py",
        "        if message.msg_type != expected or not request._needs_reply:\n",
        "        if not request._needs_reply:\n",
        "F10",
        (EXECUTION,),
    ),
    Fault(
        "a second reply replaces the first",
        FRONTEND + "execution.py",
        "        if message.msg_type != expected or not request._needs_reply:\n",
        "        if message.msg_type != expected:\n",
        "F10",
        (EXECUTION,),
    ),
    Fault(
        "an execution takes what follows its end",
        FRONTEND + "execution.py",
        "                    parent = request = execution = None\n",
        "                    fresh = []\n",
        "F2",
        (EXECUTION,),
    ),
    Fault(
        "a late reader misses the past",
        FRONTEND + "execution.py",
        "            reader = Subscription(self._messages)\n",
        "            reader = Subscription()\n",
        "F3",
        (EXECUTION,),
    ),
    Fault(
        "a reader is not told of the end",
        FRONTEND + "execution.py",
        "            for reader in execution._readers:\n"
        "                reader.close()\n"
        "            execution._readers.clear()\n",
        "            execution._readers.clear()\n",
        "F2, F6",
        (EXECUTION,),
    ),
    Fault(
        "what is asked after the end waits for ever",
        FRONTEND + "execution.py",
        "        self._refusal = error\n",
        "",
        "F6",
        (EXECUTION,),
    ),
    Fault(
        "one who leaves takes a neighbour's message",
        FRONTEND + "subscribers.py",
        "        gone = [subscription for subscription in self._subscriptions if not "
        "subscription.hand(batch)]\n"
        "        for subscription in gone:\n"
        "            self._subscriptions.remove(subscription)\n",
        "        for subscription in self._subscriptions:\n"
        "            if not subscription.hand(batch):\n"
        "                self._subscriptions.remove(subscription)\n",
        "F1",
        (SUBSCRIBERS,),
    ),
    Fault(
        "a batch is emptied under its readers",
        FRONTEND + "iopub.py",
        "            batch, self._batch = self._batch, []\n            self._on_batch(batch)\n",
        "            self._on_batch(self._batch)\n            self._batch.clear()\n",
        "F1",
        (BRIDGE,),
    ),
    Fault(
        "done before the outputs are handed out",
        FRONTEND + "link.py",
        "            self.comms.published(batch)\n"
        "            self.subscribers.hand(batch)\n"
        "            starting = self._channels if self._held is not None else None\n"
        "        _settle(ended)\n",
        "            self.comms.published(batch)\n"
        "            starting = self._channels if self._held is not None else None\n"
        "        _settle(ended)\n"
        "        self.subscribers.hand(batch)\n",
        "F1, F2",
        (SUBSCRIBERS,),
    ),
    Fault(
        "held requests leave in the wrong order",
        FRONTEND + "link.py",
        "            for channel, frames in self._held:\n                self._put(channel, frames)\n",
        "            while self._held:\n                self._put(*self._held.pop())\n",
        "F1",
        (BRIDGE,),
    ),
    Fault(
        "a prompt overtakes output at the frontend",
        FRONTEND + "link.py",
        "        if self._channels is not None:\n"
        "            self._channels.iopub.drained(partial(self._start_answering, request))",
        "        self._start_answering(request)",
        "F9",
        (INPUT,),
    ),
    Fault(
        "an old answer is sent for a new question",
        FRONTEND + "link.py",
        "            asked = self.tracker.find(execution.msg_id) is not None and execution.question is request\n",
        "            asked = self.tracker.find(execution.msg_id) is not None\n",
        "F9",
        (INPUT,),
    ),
    Fault(
        "an answer is sent after an interrupt",
        FRONTEND + "link.py",
        "            asked = self.tracker.find(execution.msg_id) is not None and execution.question is request\n",
        "            asked = execution.question is request\n",
        "F9",
        (INPUT,),
    ),
    Fault(
        "the last words of a kernel are not read",
        FRONTEND + "link.py",
        "            _when_read(channels, end)\n",
        "            end()\n",
        "F6",
        ("tests/frontend/test_last_words.py",),
    ),
    Fault(
        "nobody is told that the kernel is dead",
        FRONTEND + "link.py",
        '            self._say_last("dead")\n',
        "",
        "F6",
        (DEATHS,),
    ),
    Fault(
        "a crash leaves what is open open",
        FRONTEND + "link.py",
        '        self._end_all("dead", lambda: BridgeCrashedError(f"the {service.name} thread '
        'crashed: {failure!r}"))\n',
        '        self.fate = "dead"\n',
        "a crash is heard",
        (BRIDGE,),
    ),
    Fault(
        "ready at the reply alone",
        FRONTEND + "readiness.py",
        "        return not self._answered.isdisjoint(self._idle)\n",
        "        return bool(self._answered)\n",
        "JEP 65",
        (READINESS,),
    ),
    Fault(
        "a kernel is asked once and never again",
        FRONTEND + "readiness.py",
        "            else:\n                self._ask_soon(now)\n        return True",
        "        return True",
        "JEP 65",
        (READINESS,),
    ),
    Fault(
        "each wait for readiness is the first",
        FRONTEND + "readiness.py",
        "        self._wait = min(2 * self._wait, _LONGEST_WAIT)\n",
        "        self._wait = min(self._wait, _LONGEST_WAIT)\n",
        "JEP 65",
        (READINESS,),
    ),
    Fault(
        "Stdin has a name of its own",
        FRONTEND + "channel.py",
        "        socket.set(zmq.IDENTITY, self.wiring.identity)\n",
        '        socket.set(zmq.IDENTITY, self.wiring.identity + b"-" + self.channel.encode())\n',
        "F9",
        (INPUT,),
    ),
    Fault(
        "a replay is delivered again",
        FRONTEND + "iopub.py",
        "decode(frames, self._signer, self._guard, self._limits)",
        "decode(frames, self._signer, limits=self._limits)",
        "F10",
        (BRIDGE,),
    ),
    Fault(
        "an interrupt ends a kernel that starts",
        FRONTEND + "bridge.py",
        "            if self._link.ready.done():\n                process.signal(signal.SIGINT)\n",
        "            process.signal(signal.SIGINT)\n",
        "F7",
        (LAUNCH,),
    ),
    Fault(
        "the connection file stays",
        FRONTEND + "files.py",
        "    with contextlib.suppress(OSError):\n        connection_file.unlink()\n",
        "",
        "F11",
        (LAUNCH,),
    ),
    Fault(
        "what a frontend owns is reaped",
        FRONTEND + "files.py",
        "            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        "F11",
        (FILES,),
    ),
    Fault(
        "whoever has the number of a kernel that was is killed",
        FRONTEND + "processes.py",
        "            if mark.encode() in",
        "            if group is not None or mark.encode() in",
        "F11",
        (FILES,),
    ),
    Fault(
        "the old kernel is heard after a restart",
        FRONTEND + "link.py",
        '            if self.fate == "replaced":\n                return\n            ended',
        "            ended",
        "F8",
        (RESTART,),
    ),
    Fault(
        "one silence is death",
        FRONTEND + "liveness.py",
        "        self._echoed = True\n        self._missed = 0\n",
        "        self._echoed = True\n",
        "F6",
        (LIVENESS,),
    ),
    Fault(
        "a kernel that computes is killed",
        FRONTEND + "link.py",
        ' or (works and state == "runs"):\n',
        ":\n",
        "F6",
        (LIVENESS,),
    ),
    Fault(
        "what a kernel has started goes on",
        FRONTEND + "process.py",
        "            _kill_group(process.pid)\n    process.wait()",
        "            pass\n    process.wait()",
        "F11",
        (LAUNCH,),
    ),
    Fault(
        "a kernel that does not obey is left alone",
        FRONTEND + "process.py",
        "min(kill_at, self._kill_at)\n        self._rung.set()\n",
        "min(kill_at, self._kill_at)\n",
        "F11",
        (LAUNCH,),
    ),
    Fault(
        "a grace cannot be cut short",
        FRONTEND + "process.py",
        "        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)\n",
        "        self._kill_at = kill_at if self._kill_at is None else max(kill_at, self._kill_at)\n",
        "F11",
        (LAUNCH,),
    ),
    Fault(
        "what a kernel said at its end is not read",
        FRONTEND + "process.py",
        "        self._words += chunk\n",
        "        self._words = bytearray(chunk)\n",
        "bad input",
        (LAUNCH,),
    ),
)
