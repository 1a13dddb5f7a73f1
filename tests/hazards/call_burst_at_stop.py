"""
16 threads call while the reactor stops: each call is answered or refused, and none hangs.
"""

import sys

from _verdict import PATIENCE, check, in_threads, judge
from twisted.internet.defer import Deferred

import crochet

NUMBER = 400
stops = []


@crochet.run_in_reactor
def answer(value):
    if value == NUMBER // 2 and not stops:
        from twisted.internet import reactor

        stops.append(reactor.callLater(0, reactor.stop))
    return value if value % 3 else Deferred()


def call(_):
    results, refused = [], 0
    for value in range(NUMBER):
        try:
            results.append((value, answer(value)))
        except crochet.ReactorStopped:
            refused += 1
    answered = 0
    for value, result in results:
        try:
            check(result.wait(PATIENCE) == value, "another call's answer")
            answered += 1
        except crochet.ReactorStopped:
            refused += 1
    return answered, refused


def hazard():
    crochet.setup()
    sys.setswitchinterval(1e-6)
    outcomes = in_threads(16, call)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    answered = sum(each for each, _ in outcomes)
    refused = sum(each for _, each in outcomes)
    check(answered + refused == 16 * NUMBER, f"{answered} answered, {refused} refused")
    check(refused > 0, "the reactor was not stopped in time")
    return f"{answered} answered, {refused} refused"


judge(hazard)
