"""
10,000 raising signals at random moments, with each of three seeds: nothing dies or goes on.
"""

from _interruption import Storm
from _operations import Operations
from _verdict import check, judge
from twisted.internet.defer import Deferred

import crochet

SIGNALS = 10_000
operations = Operations()


@crochet.wait_for(timeout=60)
def forever():
    return operations.start()


@crochet.wait_for(timeout=60)
def at_once():
    return 42


@crochet.wait_for(timeout=60)
def soon():
    from twisted.internet import reactor

    deferred = Deferred()
    reactor.callLater(0, deferred.callback, 42)
    return deferred


def hazard():
    crochet.setup()
    struck = 0
    for seed in (1, 2, 3):
        storm = Storm(seed, 3e-4)
        calls = 0
        while storm.strikes < SIGNALS:
            storm.strike((forever, at_once, soon)[calls % 3])
            calls += 1
            if calls % 500 == 0:
                left = operations.settle()
                check(left == 0, f"{left} operations go on after {struck + storm.strikes} signals")
        struck += storm.strikes
    left = operations.settle()
    check(left == 0, f"{left} operations go on")
    return f"{struck:,} signals, {operations.started:,} operations, 0 left running, reactor alive"


judge(hazard)
