"""
An error of an operation's end that comes after the timeout, and is no CancelledError, is logged.
"""

import gc
import logging

from _operations import settled
from _records import Records
from _verdict import check, judge, refusal_of
from twisted.internet.defer import Deferred

import crochet

pending = []


@crochet.wait_for(timeout=0.01)
def stubborn():
    # Its cleanup goes on for longer than anybody waits.
    pending.append(Deferred())
    return Deferred().addErrback(lambda _: pending[-1])


@crochet.wait_for(timeout=0.01)
def fails_in_cleanup():
    return Deferred(lambda deferred: deferred.errback(OSError("in the cleanup")))


@crochet.wait_for(timeout=5)
def fail_late():
    pending.pop().errback(ZeroDivisionError("in the end"))


def hazard():
    records = Records()
    crochet.setup()
    refusal_of(fails_in_cleanup, crochet.TimeoutError, OSError)
    refusal_of(stubborn, crochet.TimeoutError)
    fail_late()
    settled()
    gc.collect()
    logged = "".join(logging.Formatter().format(record) for record in records.errors())
    for text in ("OSError: in the cleanup", "ZeroDivisionError: in the end"):
        check(logged.count(text) == 1, f"{text!r} was logged {logged.count(text)} times")
    return "2 of 2 logged"


judge(hazard)
