"""
A signal's exception at any point of ``as_future()`` or ``add_done_callback()`` gets out of it.
"""

from _interruption import check_points, interrupt
from _verdict import PATIENCE, check, judge, needs

import crochet


@crochet.run_in_reactor
def at_once():
    return 42


def swallowed(make):
    """
    Return where it does not, and at how many points it was tried.
    """
    number, places = 1, []
    while True:
        result = at_once()
        result.wait(PATIENCE)
        interrupted = interrupt(number, lambda result=result: make(result))
        if interrupted is None:
            return places, number
        if not isinstance(interrupted.outcome, KeyboardInterrupt) and not interrupted.is_lost:
            places.append(interrupted.where)
        number += 1


def hazard():
    needs(hasattr(crochet.EventualResult, "as_future"), "as_future()")
    crochet.setup()
    points = 0
    texts = []
    for name, make in (
        ("as_future", lambda result: result.as_future()),
        ("add_done_callback", lambda result: result.add_done_callback(id)),
    ):
        places, number = swallowed(make)
        points += number
        if places:
            texts.append(f"{name}() swallows {len(places)} of {number}, such as at {places[0]}")
    check(not texts, "; ".join(texts))
    check_points(points)
    return f"{points} points"


judge(hazard)
