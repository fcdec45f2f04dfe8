"""Faults of the kernel end's rooms: brackets, aborts, prompts, comms, parents, interrupts, the end."""

from __future__ import annotations

from tests.mutants.fault import Fault

KERNEL = "kernelbridge/kernel/"
REQUESTS = "tests/kernel/test_requests.py"
COMMS = "tests/kernel/test_comms.py"
ORDER = "tests/kernel/test_order.py"
CONNECTIONS = "tests/kernel/test_connections.py"
LIFE = "tests/kernel/test_life.py"
SHELL_CORE = "tests/kernel/test_shell_core.py"
INTERRUPTS = "tests/kernel/test_interrupts.py"
INPUT = "tests/kernel/test_input.py"
TIMERS = "tests/kernel/test_timers.py"

FAULTS = (
    Fault(
        "idle before the reply",
        KERNEL + "shell.py",
        "            self.send_reply(item.reply)\n            self.idle(item.reply.request)\n",
        "            self.idle(item.reply.request)\n            self.send_reply(item.reply)\n",
        "K5",
        (ORDER,),
    ),
    Fault(
        "idle before the reply of Control",
        KERNEL + "router.py",
        "        content = self._answer_to(request)\n"
        "        if content is not None:\n"
        "            self.send_reply(Reply(request, content))\n"
        "        self.idle(request)\n",
        "        content = self._answer_to(request)\n"
        "        self.idle(request)\n"
        "        if content is not None:\n"
        "            self.send_reply(Reply(request, content))\n",
        "K5",
        (ORDER,),
    ),
    Fault(
        "idle before the last put of a comm",
        KERNEL + "execution.py",
        "                await self.interrupts.run(self._comms.dispatch(request.message, request.content))\n"
        "                self._handler.settle()\n"
        "                # The last one wakes the IOPub thread for the whole row.\n"
        '                self._outputs.publish("status", IDLE, request.header, ring=True if '
        "request is requests[-1] else None)",
        '                self._outputs.publish("status", IDLE, request.header, ring=True if '
        "request is requests[-1] else None)\n"
        "                await self.interrupts.run(self._comms.dispatch(request.message, request.content))",
        "K5",
        (COMMS,),
    ),
    Fault(
        "a replay is run again",
        KERNEL + "router.py",
        "decode(frames, self._wire.signer, self._wire.guard, self._wire.limits)",
        "decode(frames, self._wire.signer, limits=self._wire.limits)",
        "bad input",
        ("tests/kernel/test_bad_input.py",),
    ),
    Fault(
        "a reply has lost its parent",
        KERNEL + "router.py",
        "            request.header.to_json(),\n            pack(reply.metadata)",
        '            b"{}",\n            pack(reply.metadata)',
        "the specification",
        (REQUESTS,),
    ),
    Fault(
        "an unknown request has no idle",
        KERNEL + "router.py",
        "        if content is not None:\n"
        "            self.send_reply(Reply(request, content))\n"
        "        self.idle(request)\n",
        "        if content is not None:\n"
        "            self.send_reply(Reply(request, content))\n"
        "            self.idle(request)\n",
        "bad input",
        ("tests/kernel/test_bad_input.py",),
    ),
    Fault(
        "a failure aborts nothing",
        KERNEL + "execution.py",
        "            return Reply(request, reply, metadata), isinstance(reply, ErrorReply) and content.stop_on_error",
        "            return Reply(request, reply, metadata), False",
        "K11",
        (REQUESTS,),
    ),
    Fault(
        "stop_on_error is not looked at",
        KERNEL + "execution.py",
        "isinstance(reply, ErrorReply) and content.stop_on_error",
        "isinstance(reply, ErrorReply)",
        "K11",
        (REQUESTS,),
    ),
    Fault(
        "a failure aborts completions too",
        KERNEL + "shell.py",
        '                waiting.aborted = waiting.msg_type == "execute_request"\n',
        "                waiting.aborted = True\n",
        "K11",
        (SHELL_CORE,),
    ),
    Fault(
        "what has arrived and is unread is not aborted",
        KERNEL + "shell.py",
        "        if item.failed:\n"
        "            # Before the reply: what the frontend sends when it has seen that must run.\n"
        "            self._read_what_has_arrived()\n",
        "",
        "K11",
        (REQUESTS,),
    ),
    Fault(
        "an aborted request has no reply",
        KERNEL + "shell.py",
        "            return AbortedReply() if request.msg_type not in COMM_TYPES else None\n",
        "            return None\n",
        "K11",
        (REQUESTS,),
    ),
    Fault(
        "a faulty request is run",
        KERNEL + "shell.py",
        "waiting.msg_type in RUN_TYPES and waiting.fault is None and not waiting.aborted",
        "waiting.msg_type in RUN_TYPES and not waiting.aborted",
        "bad input",
        (SHELL_CORE,),
    ),
    Fault(
        "an interrupt does not reach who waits for input",
        KERNEL + "kernel.py",
        "        self._execution.interrupts.interrupt()\n        self._stdin.interrupt()\n",
        "        self._execution.interrupts.interrupt()\n",
        "K7, F9",
        (INPUT,),
    ),
    Fault(
        "a prompt overtakes output",
        KERNEL + "stdin.py",
        "        self._outputs.flush()\n        header",
        "        header",
        "K7",
        (INPUT,),
    ),
    Fault(
        "anybody's answer is taken",
        KERNEL + "stdin.py",
        " and not question.withdrawn and question.request.identities == message.identities:",
        " and not question.withdrawn:",
        "K7",
        (INPUT,),
    ),
    Fault(
        "a late answer is taken for another prompt's",
        KERNEL + "stdin.py",
        "            meant = message.parent_id in (None, question.header.msg_id, question.request.msg_id)\n",
        "            meant = True\n",
        "K7",
        (INPUT,),
    ),
    Fault(
        "a comm that could not be put stays open",
        KERNEL + "comms.py",
        "        except BaseException:\n            self.remove(comm.comm_id)\n            raise\n",
        "        except BaseException:\n            raise\n",
        "K6",
        (COMMS,),
    ),
    Fault(
        "a comm that the frontend closes stays open",
        KERNEL + "comms.py",
        "        comm = self.remove(content.comm_id) if closes else self.get(content.comm_id)\n",
        "        comm = self.get(content.comm_id)\n",
        "K6",
        (COMMS,),
    ),
    Fault(
        "a target that raises is not answered",
        KERNEL + "comms.py",
        "            self.remove(comm.comm_id)\n            self._refuse(content)\n",
        "            self.remove(comm.comm_id)\n",
        "K6",
        (COMMS,),
    ),
    Fault(
        "a comm's answer loses the request it answers",
        KERNEL + "comms.py",
        "content, parent or self._parents.current(), metadata, buffers)",
        "content, self._parents.current(), metadata, buffers)",
        "K4",
        (ORDER,),
    ),
    Fault(
        "a task's output goes to the running cell",
        KERNEL + "parents.py",
        "        request = self._own.get(self._latest)\n        return None if request is None else request.header",
        "        request = self._latest\n        return None if request is None else request.header",
        "K4",
        (ORDER,),
    ),
    Fault(
        "a completion takes a thread's output",
        KERNEL + "parents.py",
        "        if runs:\n            with self._lock:\n",
        "        if True:\n            with self._lock:\n",
        "K4",
        (ORDER,),
    ),
    Fault(
        "a parent that was given is not taken back",
        KERNEL + "parents.py",
        "        token = self._own.set(request)\n"
        "        try:\n"
        "            yield\n"
        "        finally:\n"
        "            self._own.reset(token)\n",
        "        self._own.set(request)\n        yield\n",
        "K4",
        ("tests/kernel/test_given_parents.py",),
    ),
    Fault(
        "silent cells count",
        KERNEL + "execution.py",
        "self.count.next() if content.counts else self.count.value",
        "self.count.next()",
        "the specification",
        (REQUESTS,),
    ),
    Fault(
        "a silent failure is shown",
        KERNEL + "execution.py",
        "            if not content.silent:\n                self._show_error(reply, request)\n",
        "            self._show_error(reply, request)\n",
        "the specification",
        (REQUESTS,),
    ),
    Fault(
        "an interrupt hits what runs next",
        KERNEL + "interrupts.py",
        "        if running is None or self._loop is None or (meant is not None and meant is not running):\n",
        "        if running is None or self._loop is None:\n",
        "F7",
        (INTERRUPTS,),
    ),
    Fault(
        "an unheard interrupt is sent for ever",
        KERNEL + "interrupts.py",
        "        if meant is None or meant is not self._running:\n",
        "        if meant is None:\n",
        "F7",
        (INTERRUPTS,),
    ),
    Fault(
        "an interrupt is swallowed with a cancellation",
        KERNEL + "interrupts.py",
        "            if self._interrupted:\n                # Also where",
        "            if self._interrupted and thrown is not None:\n                # Also where",
        "F7",
        ("tests/kernel/test_failures.py",),
    ),
    Fault(
        "a kernel with CURVE keys hears nobody",
        KERNEL + "binding.py",
        "        socket.curve_server = True\n",
        "",
        "connection file",
        (CONNECTIONS,),
    ),
    Fault(
        "IPC files stay behind",
        KERNEL + "binding.py",
        "            file.unlink(missing_ok=True)",
        "            pass",
        "F11",
        (CONNECTIONS,),
    ),
    Fault(
        "the socket files of a kernel that runs are taken",
        KERNEL + "binding.py",
        "        if _is_listened_to(info, channel):\n",
        "        if _is_listened_to(info, channel) and False:\n",
        "bad input",
        (CONNECTIONS,),
    ),
    Fault(
        "a refused registration counts as one",
        KERNEL + "registration.py",
        "        _, content = decode_handshake(frames, signer)\n        parse_handshake_reply(content)\n",
        "        decode_handshake(frames, signer)\n",
        "JEP 66",
        (CONNECTIONS,),
    ),
    Fault(
        "a launcher that does not answer is given a minute",
        KERNEL + "registration.py",
        "        if not poller.poll(give_up_at):\n",
        "        if not poller.poll(give_up_at + ANSWER_SECONDS):\n",
        "JEP 66",
        (TIMERS,),
    ),
    Fault(
        "IOPub is stopped before those who put",
        KERNEL + "kernel.py",
        "            for service in (self._shell, self._stdin, self._iopub, self._heartbeat):",
        "            for service in (self._iopub, self._shell, self._stdin, self._heartbeat):",
        "K8",
        (LIFE,),
    ),
    Fault(
        "a shutdown is not shown to the others",
        KERNEL + "kernel.py",
        '        self.outputs.publish("shutdown_reply", unstructure(reply), request.header)\n',
        "",
        "the specification",
        (LIFE,),
    ),
)
