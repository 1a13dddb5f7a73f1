"""
It can be started again after it was stopped, 20 times, and leaves no thread or descriptor behind.
"""

import os
import threading

from _bridges import bridge
from _questions import ask, check_alive
from _verdict import check, needs


def state():
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return threading.active_count(), descriptors


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
    after = state()
    check(after <= before, f"threads and descriptors: {before}, then {after}")
    return "20 times, nothing left behind"


ask(hazard)
