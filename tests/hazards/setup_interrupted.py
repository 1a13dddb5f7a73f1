"""
``setup()`` interrupted at any call or return point of it can be called again, and then works.
"""

import twisted.internet.reactor  # noqa: F401 - its import is not at issue
from _interruption import interrupt
from _operations import check_alive
from _verdict import check, in_fork, judge

import crochet


def attempt(number):
    interrupted = interrupt(number, crochet.setup)
    crochet.setup()
    check_alive()
    return interrupted.where if interrupted else ""


def hazard():
    # Each in a forked child, for a process is set up once.
    points = 0
    number = 1
    while where := in_fork(lambda: attempt(number)):
        points += 1
        # Most of it is Python's start of threads, looked at here and there.
        number += 1 if "crochet" in where or "_loop" in where else 5
    check(points > 5, f"only {points} points were interrupted")
    return f"{points} points, all fine"


judge(hazard)
