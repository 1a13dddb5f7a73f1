"""
Twisted's log events for the program's logging (observer), written by a thread of their own
(writer), for a handler that blocks must not block the reactor. Nothing is lost but what exceeds a
bound, which is counted and said, and all is written before the interpreter exits.
"""
