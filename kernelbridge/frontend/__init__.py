"""The frontend end: launches a kernel or connects to one, and holds it for a frontend.

The pure parts decide and own neither a socket nor a thread:

    execution_queue.py  which execution may run now, and in what state each one is
    execution_states.py the life of an execution, as a table
    tracker.py          which request is answered by what, and when it is done
    readiness.py        when a kernel can be used (JEP 65)
    liveness.py         when a kernel is taken for dead, and how often it is restarted
    subscribers.py      one ordered stream, many readers
    comms.py            which comms are open
    stock.py            how many kernels a pool starts, and for whom
    outputs.py  output_area.py  stream_text.py   what an execution has shown, as outputs of a notebook

The threads poll, decode, ask the pure parts, and send:

    channel.py      what the channels have in common
    shell.py  control.py  stdin.py  iopub.py  heartbeat.py
    process.py      the life of a launched kernel's process
    registration.py the port at which a kernel reports its ports (JEP 66)

    channels.py     Channels: a kernel's five; Settings: how it is held
    outbox.py       what is asked of a kernel, kept until it may be sent
    answers.py      how input requests are answered
    threads.py      how the threads of a kernel begin and end together
    link.py         Link: one kernel, from its start to its end
    requests.py     what is asked on Shell
    subshell.py     Subshell: asked beside the main shell (JEP 91)
    lives.py        the kernels of a bridge, one after the other: restarts, deaths, the end
    files.py        the files of launched kernels, and what crashed frontends have left of theirs
    owned_folders.py    folders of a process, and how those that a crash has left are told from them
    processes.py    what the system tells of processes
    find.py         connection files, by a name or by a process
    inventory.py    the kernels that run, whoever has launched them: listeners.py sees who listens, inquiry.py asks
    others.py       ends, interrupts and restarts a kernel that another process has launched
    kernelspecs.py  the kernels that are installed
    launch.py       kernelspecs, connection files, addresses
    ports.py        TCP ports for kernels that cannot choose their own
    interrupter.py  signals and requests that interrupt, when the queue says so
    output_store.py files in which large outputs are kept
    execution.py    Request and Execution: what a frontend holds of what it has asked for
    bridge.py       Bridge: all of these wired together, and what a frontend calls
    starter.py      the kernels of a pool: started, warmed up, ended
    pool.py         KernelPool: bridges to kernels that wait for somebody to claim them
"""
