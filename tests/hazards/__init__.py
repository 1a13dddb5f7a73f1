"""
Hazards: what may go wrong with a program that calls Twisted from its threads, one program each.

A hazard is a file here whose name begins with a letter. It uses only public API, so that it can be
run with any implementation of it, and prints one line: ``ok``, ``BREACH``, ``hangs`` or ``n/a``,
and what it saw. The first line of its docstring says what must hold.

Those named ``any_*`` ask what can be asked of any bridge from threads into a loop. They make their
calls through _bridges.py, and import nothing else that is not Python's or of this folder.
"""
