"""
Raising signals strike as results are dropped whose errors nobody took: none is lost, nor an error.
"""

import gc
import random
import signal
import sys
import time

from _operations import settled
from _records import Records
from _verdict import PATIENCE, check, judge, needs

import crochet

DROPPED = 20  # at a time
ROUNDS = 300


class Struck(Exception):
    """
    Raised by the signal handler.
    """


class Handler:
    """
    Counts what it raises.
    """

    def __init__(self):
        self.raised = 0

    def __call__(self, number, frame):
        self.raised += 1
        raise Struck


@crochet.run_in_reactor
def fail():
    raise ValueError("nobody took it")


@crochet.iterate_in_reactor(PATIENCE)
async def numbers():
    while True:
        yield 1


def drop(held, handler):
    """
    Drop one after the other, and wait for the signal.
    """
    raised = handler.raised
    while held:
        held.pop()
    while handler.raised == raised:
        time.sleep(1e-4)


def hazard():
    needs(hasattr(signal, "setitimer"), "signal.setitimer")
    records = Records()
    crochet.setup()
    handler, choose, caught, lost = Handler(), random.Random(1), 0, []
    sys.unraisablehook = lost.append
    signal.signal(signal.SIGALRM, handler)
    for _ in range(ROUNDS):
        held = [fail() for _ in range(DROPPED)] + [numbers() for _ in range(DROPPED)]
        settled()
        gc.collect()
        gc.disable()  # what it calls is not for us
        try:
            signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-6, 1e-4))
            drop(held, handler)  # no loop here: CPython 3.13 may raise at its end, past `except`
        except Struck:
            caught += 1
        finally:
            gc.enable()
        held.clear()
    check(not lost, f"{len(lost)} of {handler.raised} were lost: {lost[:1]}")
    check(caught == handler.raised, f"{caught} of {handler.raised} came out")
    logged = len(records.errors())
    check(logged == ROUNDS * DROPPED, f"{logged} of {ROUNDS * DROPPED} errors were logged")
    settled()  # the streams were dropped before the last error was logged
    left = [call.name for call in crochet.status().calls]
    check(left == [], f"{len(left)} streams go on")
    return f"{caught} signals, {ROUNDS * DROPPED:,} errors logged"


judge(hazard)
