"""
Raising signals in waits for futures, for 5 s: the reactor lives, and no operation is left over.
"""

import time
from concurrent import futures

from _interruption import Storm
from _operations import Operations, check_alive
from _verdict import PATIENCE, check, judge, needs
from twisted.internet.defer import Deferred

import crochet

SECONDS = 5.0
operations = Operations()


@crochet.run_in_reactor
def forever():
    return operations.start()


@crochet.run_in_reactor
def at_once():
    return 42


@crochet.run_in_reactor
def soon():
    from twisted.internet import reactor

    deferred = Deferred()
    reactor.callLater(0, deferred.callback, 42)
    return deferred


def hazard():
    needs(hasattr(crochet.EventualResult, "as_future"), "as_future()")
    crochet.setup()
    storm = Storm(1, 3e-4)
    end = time.monotonic() + SECONDS
    calls = 0
    while time.monotonic() < end:
        result = (forever, at_once, soon)[calls % 3]()
        future = result.as_future()
        if calls // 3 % 2:
            storm.strike(future.result)
        else:
            # With a limit: a signal in these can leave a condition locked, see futures.py, or
            # released, which is a RuntimeError of the condition's own.
            storm.strike(lambda future=future: futures.wait([future], 0.05), RuntimeError)
        result.cancel()
        calls += 1
        if calls % 500 == 0:
            left = operations.settle()
            check(left == 0, f"{left} operations go on after {storm.strikes} signals")
    left = operations.settle()
    check(left == 0, f"{left} operations go on")
    check_alive()
    check(at_once().as_future().result(PATIENCE) == 42, "another value")
    return f"{storm.strikes:,} signals in {calls:,} waits, reactor alive, nothing goes on"


judge(hazard)
