"""
The reactor in this process: setup() and shutdown() (lifecycle), the thread that runs it
(reactor_thread) or the program's own (program_reactor), forks and the interpreter's exit. Whatever
ends it, each call is answered, and a later setup() starts anew.
"""
