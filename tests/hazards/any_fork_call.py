"""
A call in a forked child is answered or fails at once; the parent's calls go on being answered.
"""

from _bridges import bridge
from _questions import AT_ONCE, ask, check_alive, nothing
from _verdict import in_fork, outcome_of


def hazard():
    bridge.start()
    check_alive()
    said = in_fork(lambda: repr(outcome_of(lambda: bridge.call(nothing, 60))), AT_ONCE)
    check_alive()
    return f"in the child: {said}"


ask(hazard)
