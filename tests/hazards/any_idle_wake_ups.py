"""
At rest no thread wakes up, but one that waits, ten times a second at most: not after other calls.
"""

import os
import select

from _bridges import bridge
from _questions import Operation, ask, check_alive, in_background
from _state import check_rest
from _verdict import happens, needs

SECONDS = 2


def hazard():
    needs(os.path.isdir("/proc/self/task"), "/proc/self/task")
    bridge.start()
    operation = Operation()
    waiter, _ = in_background(lambda: bridge.call(operation.run))
    happens(operation.started, "the operation starts")
    check_alive()
    # What was begun comes to rest.
    select.select([], [], [], 0.5)
    return check_rest(waiter, SECONDS)


ask(hazard)
