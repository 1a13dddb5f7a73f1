"""
After ``no_setup()``: ``wait_for`` in the program's reactor thread raises, and runs no body.
"""

from _verdict import check, judge, outcome_of
from twisted.internet import reactor

import crochet

runs = []


@crochet.wait_for(timeout=1.0)
def body():
    runs.append("body")


def hazard():
    crochet.no_setup()
    outcomes = []

    def call():
        outcomes.append(outcome_of(body))
        reactor.callLater(0.05, reactor.stop)

    reactor.callWhenRunning(call)
    reactor.run()
    check(isinstance(outcomes[0], RuntimeError), f"{outcomes[0]!r} instead of RuntimeError")
    check(not runs, "it raised, and the body ran all the same")
    return "RuntimeError, and nothing was run"


judge(hazard)
