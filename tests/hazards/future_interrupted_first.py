"""
A signal's exception at any point of the first ``as_future()``: later futures are done all the same.
"""

from concurrent import futures
from functools import partial

from _interruption import check_points, interrupt
from _verdict import PATIENCE, check, in_fork, judge, needs

import crochet


@crochet.run_in_reactor
def at_once():
    return 42


def attempt(number):
    """
    Interrupt it at the n-th point, in a new process; return where, and what came of it.
    """
    crochet.setup()
    result = at_once()
    result.wait(PATIENCE)
    interrupted = interrupt(number, result.as_future)
    left = futures.wait([at_once().as_future()], PATIENCE / 5).not_done
    if interrupted is None:
        return ""
    return f"after one at {interrupted.where} " + ("none" if left else "all")


def hazard():
    needs(hasattr(crochet.EventualResult, "as_future"), "as_future()")
    number = 1
    while said := in_fork(partial(attempt, number)):
        check(said.endswith("all"), f"{said} of the later futures is ever done")
        number += 1
    check_points(number)
    return f"{number} points"


judge(hazard)
