"""
In a forked child pending results raise at once, and calls are answered; the parent is unharmed.
"""

from _operations import check_alive, settled
from _verdict import PATIENCE, check, in_fork, judge, outcome_of
from twisted.internet.defer import Deferred

import crochet

pending = []


@crochet.run_in_reactor
def start():
    pending.append(Deferred())
    return pending[-1]


@crochet.wait_for(timeout=60)
def call():
    return 42


def hazard():
    crochet.setup()
    result = start()
    settled()

    def in_child():
        kinds = [type(outcome_of(lambda: result.wait(60))), type(outcome_of(call))]
        return " ".join(kind.__name__ for kind in kinds)

    kinds = in_fork(in_child)
    check(kinds == "ReactorStopped int", f"in the child: {kinds}")
    check_alive()
    settled(lambda: pending[0].callback(42))
    check(result.wait(PATIENCE) == 42, "the parent's result is another")
    return "ReactorStopped and an answer in the child, the parent goes on"


judge(hazard)
