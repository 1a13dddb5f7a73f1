"""
The end of a program that has used the library.
"""

from __future__ import annotations

import textwrap

from _verdict import check, run_python

BEGINNING = """
import threading, sys, os, atexit
import crochet
from twisted.internet.defer import Deferred
crochet.setup()

@crochet.run_in_reactor
def start():
    return Deferred()

@crochet.wait_for(timeout=60)
def double(number):
    return 2 * number

@crochet.wait_for(timeout=60)
def wait_for_ever(started):
    started.set()
    return Deferred()

assert double(21) == 42
"""


def check_exits(end: str, *, status: int = 0, says: str = "", in_order: bool = True) -> str:
    """
    Check how a program ends that has made a call: in time, with that status, and saying just that.
    """
    ended = run_python(BEGINNING + textwrap.dedent(end)).check_clean(status)
    out, expected = ended.out.split(), says.split()
    is_right = out == expected if in_order else sorted(out) == sorted(expected)
    check(is_right, f"it says {out}, not {expected}")
    return f"status {status}, stderr empty"
