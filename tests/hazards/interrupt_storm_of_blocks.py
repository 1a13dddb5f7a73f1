"""
Signals at random moments of contexts and of gather(): each exception comes through, each body ends.
"""

import sys
from contextlib import asynccontextmanager

from _interruption import Storm, Struck
from _operations import check_alive
from _verdict import check, judge

import crochet

NUMBER = 1_500
begun, ended, dropped = [], [], []


@crochet.context_in_reactor(timeout=60)
@asynccontextmanager
async def context():
    begun.append(1)
    try:
        yield
    finally:
        ended.append(1)


@crochet.run_in_reactor
def one():
    return 1


def block():
    with context(), context():
        crochet.gather(one(), done, done)


def note(unraisable):
    if unraisable.exc_type is Struck:
        dropped.append(repr(unraisable.object))


done = None


def hazard():
    global done
    crochet.setup()
    done = one()
    done.wait(60)
    block()
    sys.unraisablehook = note
    storm = Storm(7, 1e-3)
    for _ in range(NUMBER):
        storm.strike(block)
    check_alive()
    check(len(begun) == len(ended), f"{len(begun)} contexts were entered, {len(ended)} exited")
    check(not crochet.status().calls, "calls are left")
    check(crochet.deadline.remaining() == float("inf"), "waits are bounded still")
    check(not dropped, f"{len(dropped)} exceptions were lost in {dropped[:1]}")
    return f"{storm.strikes} strikes, {len(begun)} contexts"


judge(hazard)
