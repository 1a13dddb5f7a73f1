"""
50 threads wait for one submitted call: each gets its value; the same for an error.
"""

import threading

from _bridges import bridge
from _questions import ask
from _verdict import PATIENCE, check, in_threads, needs

all_wait = threading.Barrier(51)


def outcomes_of(body):
    handle = bridge.submit(body)

    def wait(number):
        all_wait.wait(PATIENCE)
        return None if number == 50 else handle.result(PATIENCE)

    return in_threads(51, wait)[:50]


async def succeed():
    await bridge.sleep(0.1)
    return 42


async def fail():
    await bridge.sleep(0.1)
    raise ValueError("it failed")


def hazard():
    needs(bridge.can_submit, "a way to submit a call and not wait")
    bridge.start()
    check(outcomes_of(succeed) == [42] * 50, "not all got the value")
    kinds = {type(each) for each in outcomes_of(fail)}
    check(kinds == {ValueError}, f"they got {kinds}")
    return "50 values, 50 errors"


ask(hazard)
