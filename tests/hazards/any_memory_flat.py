"""
Memory is flat over 20,000 successful calls with the garbage collector off.
"""

import gc
import sys
import time

from _bridges import bridge
from _questions import ask, nothing
from _verdict import BOUND, check

NUMBER = 20_000


def hazard():
    bridge.start()
    call = bridge.blocking(nothing)
    gc.disable()
    for _ in range(1_000):
        call()
    before = sys.getallocatedblocks()
    number = 0
    # Some start a thread for each call, and may not get as far.
    deadline = time.monotonic() + BOUND / 2
    while number < NUMBER and time.monotonic() < deadline:
        call()
        number += 1
    grown = (sys.getallocatedblocks() - before) / number
    check(grown < 0.1, f"{grown:.1f} blocks more for each call")
    return f"{grown:.1f} blocks more for each of {number:,} calls"


ask(hazard)
