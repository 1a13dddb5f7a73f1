"""
When an exception ends the loop, waiters without a limit are released, later calls end at once.
"""

from _bridges import bridge
from _questions import Operation, ask, at_once, check_released, nothing, waiters
from _verdict import check, needs


async def break_it():
    bridge.break_loop_soon()


def hazard():
    needs(bridge.keeps_a_loop, "one loop for all calls")
    bridge.make_breakable()
    bridge.start()
    operations = [Operation() for _ in range(8)]
    waiting = waiters(operations)
    bridge.call(break_it, 30)
    kinds = check_released(waiting)
    outcome = at_once("a later call", lambda: bridge.call(nothing))
    check(outcome == 42 or isinstance(outcome, Exception), f"a later call: {outcome!r}")
    return f"8 of 8, by {kinds}"


ask(hazard)
