"""
A call whose time is over while the loop is busy raises then, and its body never runs.
"""

import threading

from _bridges import bridge
from _questions import ask, at_once, check_alive
from _verdict import check, happens, needs

is_busy = threading.Event()
way_out = threading.Event()
ran = threading.Event()


async def be_busy():
    is_busy.set()
    way_out.wait(30)


async def body():
    ran.set()


def hazard():
    needs(bridge.keeps_a_loop, "one loop for all calls")
    bridge.start()
    bridge.submit(be_busy)
    happens(is_busy, "the loop is busy")
    outcome = at_once("a call with a limit of 0.2 s", lambda: bridge.call(body, 0.2))
    way_out.set()
    check(isinstance(outcome, bridge.timed_out), f"no timeout: {outcome!r}")
    check_alive()
    check(not ran.is_set(), "its body ran, after its caller got a timeout")
    return "its body never ran"


ask(hazard)
