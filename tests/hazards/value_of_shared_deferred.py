"""
A Deferred that somebody else holds, too, passes its value on to its other callbacks.
"""

from _operations import settled
from _verdict import PATIENCE, check, judge
from twisted.internet.defer import Deferred

import crochet

shared = []
seen = []


@crochet.run_in_reactor
def get():
    if not shared:
        shared.append(Deferred())
    return shared[0]


@crochet.run_in_reactor
def fire():
    shared[0].addCallback(seen.append)
    shared[0].callback(42)


def hazard():
    crochet.setup()
    result = get()
    fire()
    check(result.wait(PATIENCE) == 42, "another value")
    settled()
    check(seen == [42], f"a later callback was given {seen}")
    return "passed on"


judge(hazard)
