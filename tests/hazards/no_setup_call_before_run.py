"""
After ``no_setup()``: a call before the reactor runs times out, says so, and is never run later.
"""

from _verdict import check, judge, refusal_of
from twisted.internet import reactor

import crochet

runs = []


@crochet.wait_for(timeout=0.05)
def early():
    runs.append("early")


def hazard():
    crochet.no_setup()
    error = refusal_of(early, crochet.TimeoutError)
    reactor.callWhenRunning(reactor.callLater, 0.05, reactor.stop)
    reactor.run()
    check(not runs, "the call that was given up ran as soon as the reactor did")
    check("not running yet" in str(error), f"the text says: {str(error)!r}")
    return "TimeoutError, which says that the reactor is not running yet"


judge(hazard)
