"""
A blocking call in the loop's own thread raises at once, says why, and runs no body.
"""

import threading

from _bridges import bridge
from _questions import ask, at_once, check_alive
from _verdict import check, outcome_of

ran = threading.Event()


async def inner():
    ran.set()


async def outer():
    return outcome_of(lambda: bridge.call(inner))


def hazard():
    bridge.start()
    outcome = at_once("a call in the loop's thread", lambda: bridge.call(outer))
    check(isinstance(outcome, Exception), f"no exception: {outcome!r}")
    check_alive()
    check(not ran.is_set(), "it raised, and the body ran all the same")
    return f"{type(outcome).__name__}: {outcome}"


ask(hazard)
