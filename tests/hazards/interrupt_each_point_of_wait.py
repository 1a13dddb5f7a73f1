"""
KeyboardInterrupt at every call and return point of ``wait()``: the result stays usable.
"""

from _interruption import check_points, interrupt
from _operations import settled
from _verdict import PATIENCE, check, judge, outcome_of
from twisted.internet.defer import Deferred

import crochet

pending = []


@crochet.run_in_reactor
def later():
    pending.append(Deferred())
    return pending[-1]


@crochet.run_in_reactor
def failing():
    raise ValueError("it failed")


def finish():
    if pending:
        pending.pop().callback(42)


def hazard():
    crochet.setup()
    points, spoilt = 0, []
    for function, is_known in ((later, False), (later, True), (failing, True)):
        number = 1
        while True:
            result = function()
            settled(finish if is_known else None)
            interrupted = interrupt(number, lambda result=result: result.wait(0.005))
            settled(finish)
            outcome = outcome_of(lambda result=result: result.wait(PATIENCE))
            if interrupted is None:
                break
            if not (outcome == 42 or (function is failing and type(outcome) is ValueError)):
                spoilt.append(f"{interrupted.where}: {outcome!r}")
            number += 1
            points += 1
        check_points(number)
    check(not spoilt, f"{len(spoilt)} of {points} spoil it: {spoilt[:1]}")
    return f"{points} points, all usable"


judge(hazard)
