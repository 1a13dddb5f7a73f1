"""
A call whose time is over raises at once and cancels its operation; the loop goes on.
"""

from _bridges import bridge
from _questions import Operation, ask, at_once, check_alive
from _verdict import check


def hazard():
    bridge.start()
    operation = Operation()
    outcome = at_once("a call with a limit of 0.2 s", lambda: bridge.call(operation.run, 0.2))
    check(isinstance(outcome, bridge.timed_out), f"no timeout: {outcome!r}")
    operation.check_ends()
    check_alive()
    return f"{type(outcome).__name__}, and cancelled"


ask(hazard)
