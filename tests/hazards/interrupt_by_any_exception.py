"""
Whatever a signal handler raises out of a wait gets to its caller, and cancels the operation.
"""

import os
import signal
import threading

from _operations import Operations
from _verdict import check, judge, needs, outcome_of

import crochet

operations = Operations()


class Alarm(Exception):
    pass


@crochet.wait_for(timeout=None)
def forever():
    # By another thread, once the caller waits: of a signal that comes after the interpreter's last
    # look for signals, and before the lock has blocked, nothing is seen until the next one.
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    return operations.start()


def hazard():
    needs(hasattr(signal, "SIGUSR1"), "SIGUSR1")
    crochet.setup()
    raised = (Alarm, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, TimeoutError)
    for kind in raised:

        def handler(number, frame, kind=kind):
            raise kind("raised by the handler")

        signal.signal(signal.SIGUSR1, handler)
        outcome = outcome_of(forever)
        check(type(outcome) is kind, f"{outcome!r} where {kind.__name__} was raised")
    left = operations.settle()
    check(left == 0, f"{left} of {len(raised)} operations go on")
    return f"{len(raised)} of {len(raised)} kinds raised, all cancelled"


judge(hazard)
