"""
A call before the loop was started is answered, or raises at once and says what to do.
"""

from _bridges import bridge
from _questions import ask, at_once, nothing
from _verdict import check, needs


def hazard():
    needs(bridge.is_there_before_start, "something to call before it is started")
    outcome = at_once("a call", lambda: bridge.call(nothing))
    if outcome != 42:
        check(isinstance(outcome, Exception), f"it returned {outcome!r}")
        check("start" in str(outcome) or "setup()" in str(outcome), f"it says {outcome!r}")
    return "answered" if outcome == 42 else f"{type(outcome).__name__}: {outcome}"


ask(hazard)
