"""
When the loop is stopped by the bridge, calls that wait without a limit are released at once.
"""

from _bridges import bridge
from _questions import Operation, ask, check_released, in_background, nothing, waiters
from _verdict import Hang, needs


def hazard():
    needs(bridge.can_stop, "a way to stop the loop")
    bridge.start()
    bridge.call(nothing, 30)
    operations = [Operation() for _ in range(8)]
    waiting = waiters(operations)
    stopping, outcomes = in_background(bridge.stop)
    kinds = check_released(waiting)
    stopping.join(15)
    if stopping.is_alive():
        raise Hang("the waiters were released, and the stopping hangs")
    if outcomes[0] is not None:
        raise outcomes[0]
    for operation in operations:
        operation.check_ends()
    return f"8 of 8, by {kinds}; all cancelled"


ask(hazard)
