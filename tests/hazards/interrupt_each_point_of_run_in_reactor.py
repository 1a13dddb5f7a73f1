"""
KeyboardInterrupt at every point of a ``run_in_reactor`` call: it returns, or nothing goes on.

But for one: an interruption that finds the call done and the result on its way to the caller.
Python offers no way to know of it, here or in any function that returns something to be kept.
"""

from _interruption import check_points, interrupt
from _operations import Operations
from _verdict import check, judge

import crochet

operations = Operations()


@crochet.run_in_reactor
def forever():
    return operations.start()


def hazard():
    crochet.setup()
    number, left = 1, []
    while interrupted := interrupt(number, forever):
        number += 1
        if isinstance(interrupted.outcome, crochet.EventualResult):
            interrupted.outcome.cancel()
        if operations.settle() and not interrupted.is_after:
            left.append(interrupted.where)
    points = number - 1
    check_points(points)
    check(not left, f"{len(left)} of {points} leave it running: {left[0] if left else ''}")
    return f"{points} points, 0 operations left running, reactor alive"


judge(hazard)
