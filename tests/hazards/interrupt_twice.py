"""
A second KeyboardInterrupt, wherever it meets the handling of the first: none leaves it running.
"""

import random
import sys

from _interruption import check_points, interrupt
from _operations import Operations
from _verdict import check, judge

import crochet

operations = Operations()
choose = random.Random(1)


@crochet.wait_for(timeout=0.005)
def forever():
    return operations.start()


def interrupt_again(first, second):
    """
    Interrupt it at the first-th point, and what follows at its second-th call or return.
    """
    count = 0
    is_struck = False

    def trace(frame, event, argument):
        nonlocal count, is_struck
        frame.f_trace_lines = False
        is_ours = "crochet" in frame.f_globals.get("__name__", "")
        # Before the first, exceptions are what it leaves by; from then on, count.
        is_struck = is_struck or event == "exception"
        if is_struck and is_ours and event in ("call", "return"):
            count += 1
            if count == second:
                raise KeyboardInterrupt("the second")
        return trace

    sys.settrace(trace)
    try:
        return interrupt(first, forever), count
    finally:
        sys.settrace(None)


def hazard():
    crochet.setup()
    first, attempts, left = 1, 0, 0
    while True:
        interrupted, count = interrupt_again(first, 0)
        left += operations.settle()
        if interrupted is None:
            break
        for second in choose.sample(range(1, count + 1), min(count, 6)):
            interrupt_again(first, second)
            attempts += 1
            left += operations.settle()
        first += 1
    check_points(attempts)
    check(not left, f"{left} of {attempts} attempts leave it running")
    return f"{attempts} pairs of points, 0 operations left running, reactor alive"


judge(hazard)
