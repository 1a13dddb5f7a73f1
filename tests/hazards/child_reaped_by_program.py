"""
A child that the program's own SIGCHLD handler has reaped is reported as ended all the same.
"""

import os
import signal

from _children import Children
from _verdict import judge, needs


def handler(number, frame):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def hazard():
    needs(hasattr(signal, "SIGCHLD"), "SIGCHLD")
    signal.signal(signal.SIGCHLD, handler)
    children = Children()
    for status in range(5):
        children.spawn(f"raise SystemExit({status})", {})
    return "5 of 5 reported"


judge(hazard)
