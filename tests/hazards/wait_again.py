"""
A ``wait()`` that timed out leaves the operation as it was, and can be repeated.
"""

from _verdict import PATIENCE, check, judge, refusal_of
from twisted.internet.defer import Deferred

import crochet

pending = []


@crochet.run_in_reactor
def start():
    pending.append(Deferred())
    return pending[-1]


@crochet.run_in_reactor
def finish():
    pending[-1].callback(42)


def hazard():
    crochet.setup()
    result = start()
    for timeout in (0, -1, 0.01, 0.0):
        refusal_of(lambda timeout=timeout: result.wait(timeout), crochet.TimeoutError)
    finish()
    check(result.wait(PATIENCE) == 42, "another value")
    check(result.wait(0) == 42, "another value the second time")
    return "4 timeouts, then the value, twice"


judge(hazard)
