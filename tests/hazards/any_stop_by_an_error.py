"""
When an exception ends the loop, waiters without a limit are released, later calls end at once.
"""

from _bridges import bridge
from _questions import ask, check_ended_by
from _verdict import needs


async def break_it():
    bridge.break_loop_soon()


def hazard():
    needs(bridge.keeps_a_loop, "one loop for all calls")
    bridge.make_breakable()
    bridge.start()
    return check_ended_by(break_it)


ask(hazard)
