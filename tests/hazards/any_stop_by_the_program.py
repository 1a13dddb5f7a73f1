"""
When code in the loop stops it, waiters without a limit are released and later calls end at once.
"""

from _bridges import bridge
from _questions import ask, check_ended_by
from _verdict import needs


async def stop():
    bridge.stop_loop_soon()


def hazard():
    needs(bridge.keeps_a_loop, "one loop for all calls")
    bridge.start()
    return check_ended_by(stop)


ask(hazard)
