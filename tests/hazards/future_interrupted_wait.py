"""
A signal's exception at any point of ``futures.wait()``: no other future is kept from being done.
"""

from concurrent import futures

from _interruption import check_points, interrupt
from _verdict import PATIENCE, check, judge, needs
from twisted.internet.defer import Deferred

import crochet


@crochet.run_in_reactor
def pending():
    return Deferred()


@crochet.run_in_reactor
def at_once():
    return 42


def hazard():
    needs(hasattr(crochet.EventualResult, "as_future"), "as_future()")
    crochet.setup()
    number = 1
    while True:
        result = pending()
        future = result.as_future()
        interrupted = interrupt(number, lambda future=future: futures.wait([future], 0))
        result.cancel()
        if interrupted is None:
            break
        left = futures.wait([at_once().as_future()], PATIENCE / 5).not_done
        check(not left, f"after one at {interrupted.where} no later future is ever done")
        number += 1
    check_points(number)
    return f"{number} points"


judge(hazard)
