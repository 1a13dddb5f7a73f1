"""
Twisted's reactor: choosing and importing it (choice, reactor), waking it up (wakeup), its asyncio
loop, its thread pool, its child processes, running it again, and what a forked child inherits of
it. The only place that imports the reactor or touches its private names.
"""
