"""
Hazards: what may go wrong with a program that calls Twisted from its threads, one program each.

A hazard is a file here whose name begins with a letter. It uses only the public API, so that it
can be run with any implementation of it, and prints one line: ``ok``, ``BREACH`` or ``n/a``, and
what it saw. The first line of its docstring says what must hold.
"""
