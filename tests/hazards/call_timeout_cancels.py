"""
A ``wait_for`` whose time is over raises TimeoutError and cancels the operation.
"""

from _operations import Operations
from _verdict import check, judge, refusal_of

import crochet

operations = Operations()


@crochet.wait_for(timeout=0.02)
def forever():
    return operations.start()


@crochet.wait_for(timeout=0.02)
async def forever_as_coroutine():
    await operations.start()


def hazard():
    crochet.setup()
    refusal_of(forever, crochet.TimeoutError)
    refusal_of(forever_as_coroutine, crochet.TimeoutError)
    left = operations.settle()
    check(operations.started == 2 and left == 0, f"{left} of {operations.started} go on")
    return "TimeoutError, the Deferred and the coroutine were cancelled"


judge(hazard)
