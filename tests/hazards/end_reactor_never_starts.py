"""
A reactor that fails as soon as it is run: calls are refused or released, and none hangs.
"""

from _verdict import check, in_threads, judge
from twisted.internet import reactor
from twisted.internet.defer import Deferred

import crochet


@crochet.wait_for(timeout=None)
def wait_for_ever():
    return Deferred()


def fail(*args, **kwargs):
    raise OSError("no reactor today")


def call(_):
    crochet.setup()
    return wait_for_ever()


def hazard():
    reactor.run = fail
    outcomes = in_threads(10, call)
    wrong = [each for each in outcomes if not isinstance(each, crochet.ReactorStopped)]
    check(not wrong, f"{len(wrong)} of 10 callers got something else: {wrong[:1]}")
    return "10 callers got ReactorStopped"


judge(hazard)
