"""
KeyboardInterrupt at every call and return point of a ``wait_for`` call: none leaves it running.
"""

from _interruption import check_points, interrupt
from _operations import Operations
from _verdict import check, judge

import crochet

operations = Operations()


@crochet.wait_for(timeout=0.005)
def forever():
    return operations.start()


@crochet.wait_for(timeout=60)
def at_once():
    return 42


@crochet.wait_for(timeout=60)
def failing():
    raise ValueError("it failed")


def hazard():
    crochet.setup()
    points, left, swallowed = 0, [], []
    for function in (forever, at_once, failing):
        number = 1
        while interrupted := interrupt(number, function):
            number += 1
            points += 1
            if not (isinstance(interrupted.outcome, KeyboardInterrupt) or interrupted.is_lost):
                swallowed.append(interrupted.where)
            if operations.settle():
                left.append(interrupted.where)
        check_points(number - 1)
    check(not left, f"{len(left)} of {points} leave it running: {left[0] if left else ''}")
    check(not swallowed, f"{len(swallowed)} of {points} are swallowed: {swallowed[:2]}")
    return f"{points} points, 0 operations left running, reactor alive"


judge(hazard)
