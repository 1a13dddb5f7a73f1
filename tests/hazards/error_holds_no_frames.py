"""
A failed result that is kept holds none of the frames, and so none of the objects, of its waiters.
"""

import weakref

from _verdict import PATIENCE, check, judge

import crochet


class Large:
    pass


@crochet.run_in_reactor
def fail():
    raise ValueError("it failed")


def waiter(result):
    large = Large()
    try:
        result.wait(PATIENCE)
    except ValueError:
        return weakref.ref(large)


def hazard():
    crochet.setup()
    result = fail()
    held = sum(waiter(result)() is not None for _ in range(20))
    check(held == 0, f"the objects of {held} of 20 waiters are kept alive")
    return "0 of 20 waiters' objects are kept alive"


judge(hazard)
