"""
An error of an operation's end that comes after the timeout, and is no CancelledError, is logged.
"""

import gc

import crochet
from _operations import settled
from _records import Records
from _verdict import check, judge, refusal_of
from twisted.internet.defer import Deferred

pending = []


@crochet.wait_for(timeout=0.01)
def stubborn():
    pending.append(Deferred(lambda deferred: None))
    return pending[-1].addErrback(lambda _: None)


@crochet.wait_for(timeout=0.01)
def fails_in_cleanup():
    return Deferred(lambda deferred: deferred.errback(OSError("in the cleanup")))


@crochet.wait_for(timeout=5)
def fail_late():
    # It has ignored its cancellation; its callback fails in the end.
    deferred = pending.pop()
    deferred.addCallback(lambda _: 1 / 0)
    deferred.callback(None)


def hazard():
    records = Records()
    crochet.setup()
    refusal_of(fails_in_cleanup, crochet.TimeoutError, OSError)
    refusal_of(stubborn, crochet.TimeoutError)
    fail_late()
    settled()
    gc.collect()
    kinds = [record.exc_info[0].__name__ for record in records.errors() if record.exc_info]
    check("ZeroDivisionError" in kinds, f"the late error was not logged, only {kinds}")
    check("OSError" in kinds, f"the error of the cleanup was not logged, only {kinds}")
    return f"logged: {kinds}"


judge(hazard)
