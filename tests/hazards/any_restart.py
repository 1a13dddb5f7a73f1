"""
It can be started again after it was stopped, 20 times, and leaves no thread or descriptor behind.
"""

from _bridges import bridge
from _questions import ask, check_alive
from _state import state
from _verdict import needs


def live():
    bridge.start()
    check_alive()
    bridge.stop()


def hazard():
    needs(bridge.can_stop, "a way to stop the loop")
    live()
    before = state()
    for _ in range(20):
        live()
    state().check_not_grown(before, "after 20 times")
    return "20 times, nothing left behind"


ask(hazard)
