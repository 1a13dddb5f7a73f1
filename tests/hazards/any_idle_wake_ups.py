"""
At rest no thread wakes up: not with one call that waits and after others.
"""

import os
import select

from _bridges import bridge
from _questions import Operation, ask, check_alive, in_background
from _state import wake_ups
from _verdict import check, happens, needs

SECONDS = 2


def hazard():
    needs(os.path.isdir("/proc/self/task"), "/proc/self/task")
    bridge.start()
    operation = Operation()
    in_background(lambda: bridge.call(operation.run))
    happens(operation.started, "the operation starts")
    check_alive()
    # What was begun comes to rest.
    select.select([], [], [], 0.5)
    before = wake_ups()
    select.select([], [], [], SECONDS)
    after = wake_ups()
    number = sum(after[thread] - before.get(thread, 0) for thread in after)
    check(number == 0, f"{number} wake-ups in {SECONDS} s")
    return f"0 wake-ups in {SECONDS} s, {len(after)} threads"


ask(hazard)
