"""
What is going on, and why it takes so long: who waits for what (deadlock), what a Deferred or task
waits on (waits_on), why a call timed out (explain), status() and dump(), and the thread that looks
for stalls (watchdog). It looks from any thread, and never changes what it looks at, but for a last
resort: an operation that waits for what has fired goes on, or fails (stranded).
"""
