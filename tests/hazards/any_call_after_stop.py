"""
A call after the loop was stopped raises at once, or is answered by a new one.
"""

from _bridges import bridge
from _questions import ask, at_once, nothing
from _verdict import check, needs


def hazard():
    needs(bridge.can_stop, "a way to stop the loop")
    bridge.start()
    bridge.call(nothing, 30)
    bridge.stop()
    outcome = at_once("a call", lambda: bridge.call(nothing))
    check(outcome == 42 or isinstance(outcome, Exception), f"it returned {outcome!r}")
    return "answered" if outcome == 42 else f"{type(outcome).__name__}: {outcome}"


ask(hazard)
