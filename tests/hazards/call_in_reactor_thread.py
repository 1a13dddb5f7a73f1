"""
``wait_for`` and a pending ``wait()`` in the reactor thread raise at once, and no body is run.
"""

from _operations import settled
from _verdict import PATIENCE, check, judge, outcome_of
from twisted.internet.defer import Deferred

import crochet

runs = []


@crochet.wait_for(timeout=1.0)
def body():
    runs.append("body")


@crochet.run_in_reactor
def pending():
    return Deferred()


@crochet.wait_for(timeout=PATIENCE)
def in_reactor(call):
    return outcome_of(call)


def hazard():
    crochet.setup()
    result = pending()
    for call in (body, lambda: result.wait(1.0)):
        outcome = in_reactor(call)
        check(isinstance(outcome, RuntimeError), f"{outcome!r} instead of RuntimeError")
    settled()
    check(not runs, "it raised, and the body ran all the same")
    result.cancel()
    return "RuntimeError, and nothing was run"


judge(hazard)
