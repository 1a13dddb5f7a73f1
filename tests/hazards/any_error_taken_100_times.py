"""
An error that is taken 100 times has a traceback of constant length.
"""

import traceback

from _bridges import bridge
from _questions import ask
from _verdict import PATIENCE, check, needs, outcome_of


async def fail():
    raise ValueError("it failed")


def hazard():
    needs(bridge.can_submit, "a way to submit a call and not wait")
    bridge.start()
    handle = bridge.submit(fail)
    lengths = []
    for _ in range(100):
        error = outcome_of(lambda: handle.result(PATIENCE))
        check(isinstance(error, ValueError), f"it raised {error!r}")
        lengths.append(len(list(traceback.walk_tb(error.__traceback__))))
    check(lengths[99] <= lengths[1], f"{lengths[0]} frames at first, {lengths[99]} at last")
    return f"{lengths[99]} frames"


ask(hazard)
