"""
A child's end is noticed beside the program's own SIGCHLD handler, which is called as ever.
"""

import signal

from _children import Children
from _verdict import check, judge, needs

called = []


def handler(number, frame):
    called.append(number)


def hazard():
    needs(hasattr(signal, "SIGCHLD"), "SIGCHLD")
    signal.signal(signal.SIGCHLD, handler)
    children = Children()
    for status in (0, 3):
        said = children.spawn(f"raise SystemExit({status})", {})
        check(said == str(status), f"status {said}, not {status}")
    check(signal.getsignal(signal.SIGCHLD) is handler, "its handler was replaced")
    check(called, "its handler was not called")
    return "noticed, and the handler was called"


judge(hazard)
