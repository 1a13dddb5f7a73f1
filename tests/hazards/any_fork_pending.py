"""
A result that was pending at a fork fails at once in the child; in the parent it goes on.
"""

import threading

from _bridges import bridge
from _questions import AT_ONCE, ask
from _verdict import PATIENCE, check, happens, in_fork, needs, outcome_of

started = threading.Event()
is_enough = False


async def body():
    started.set()
    while not is_enough:
        await bridge.sleep(0.01)
    return 42


def hazard():
    global is_enough
    needs(bridge.can_submit, "a way to submit a call and not wait")
    bridge.start()
    handle = bridge.submit(body)
    happens(started, "the operation starts")

    def in_child():
        outcome = outcome_of(lambda: handle.result(60))
        check(isinstance(outcome, BaseException), f"it has a value: {outcome!r}")
        return f"{type(outcome).__name__}"

    said = in_fork(in_child, AT_ONCE)
    is_enough = True
    check(handle.result(PATIENCE) == 42, "the parent's result is another")
    return f"{said} in the child"


ask(hazard)
