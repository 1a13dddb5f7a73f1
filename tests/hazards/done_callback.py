"""
Callbacks for the answer are called once each, and one that raises harms nobody.
"""

from _operations import check_alive, settled
from _verdict import PATIENCE, check, judge, needs
from twisted.internet.defer import Deferred

import crochet

pending = []


@crochet.run_in_reactor
def start():
    pending.append(Deferred())
    return pending[-1]


def hazard():
    needs(hasattr(crochet.EventualResult, "add_done_callback"), "add_done_callback()")
    crochet.setup()
    result = start()
    called = []
    for number in range(5):
        result.add_done_callback(lambda _, number=number: called.append(number) or 1 / (number - 2))
    settled(lambda: pending[0].callback(42))
    check(result.wait(PATIENCE) == 42, "another value")
    settled()
    check(called == [0, 1, 2, 3, 4], f"called: {called}")
    result.add_done_callback(called.append)
    check(called[-1] is result, "one that is added afterwards is not called at once")
    check_alive()
    return "6 of 6 called once, in order"


judge(hazard)
