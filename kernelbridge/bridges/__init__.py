"""How threads, queues and sockets meet. Knows sockets and threads, knows nothing of Jupyter.

`channel_bridge`  a queue whose arrivals a socket loop can wait for
`loop_bridge`     a queue whose arrivals an event loop can wait for
`socket_bridge`   a thread that owns outward sockets and such a queue, and waits for both in one place
`service`         the life of a thread
`clock`           the time, as it is given to all that needs it
`clock_poller`    sockets, waited for until a time of a clock, now and then
"""
