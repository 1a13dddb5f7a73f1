"""
A call that could not start before its time was over never runs its body.
"""

import threading

from _operations import settled
from _verdict import PATIENCE, check, happens, judge, refusal_of

import crochet

runs = []
is_busy = threading.Event()
may_go_on = threading.Event()


@crochet.run_in_reactor
def occupy():
    is_busy.set()
    may_go_on.wait(PATIENCE)


@crochet.wait_for(timeout=0.02)
def late():
    runs.append("late")


def hazard():
    crochet.setup()
    occupy()
    happens(is_busy, "the reactor thread is busy")
    refusal_of(late, crochet.TimeoutError)
    may_go_on.set()
    settled()
    check(not runs, "its caller got a timeout, and it ran later")
    return "withdrawn"


judge(hazard)
