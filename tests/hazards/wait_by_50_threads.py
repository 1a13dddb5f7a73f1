"""
50 threads wait for one result: each gets its value; the same for an error.
"""

from _verdict import PATIENCE, check, in_threads, judge
from twisted.internet.defer import Deferred

import crochet

pending = []


@crochet.run_in_reactor
def start():
    pending.append(Deferred())
    return pending[-1]


@crochet.run_in_reactor
def finish(outcome):
    deferred = pending.pop()
    deferred.errback(outcome) if isinstance(outcome, Exception) else deferred.callback(outcome)


def hazard():
    crochet.setup()
    for outcome in (42, ValueError("it failed")):
        result = start()

        def wait(number, result=result, outcome=outcome):
            if number == 49:
                finish(outcome)
            return result.wait(PATIENCE)

        outcomes = in_threads(50, wait)
        kinds = {(type(each), str(each)) for each in outcomes}
        check(kinds == {(type(outcome), str(outcome))}, f"they got {kinds}")
    return "50 values, 50 errors"


judge(hazard)
