"""
Ctrl-C in a main thread that waits raises within 50 ms, and the operation is cancelled.
"""

import os
import signal
import threading
import time

from _operations import Operations
from _verdict import check, judge, needs

import crochet

operations = Operations()
pressed = []


def press():
    pressed.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)


@crochet.wait_for(timeout=None)
def forever():
    # Pressed by another thread, once the caller waits and this thread has nothing to do.
    threading.Timer(0.05, press).start()
    return operations.start()


def hazard():
    needs(os.name == "posix", "SIGINT by os.kill")
    crochet.setup()
    delays = []
    for _ in range(9):
        try:
            forever()
        except KeyboardInterrupt:
            delays.append(time.monotonic() - pressed[-1])
    check(len(delays) == 9, f"only {len(delays)} of 9 raised KeyboardInterrupt")
    left = operations.settle()
    check(left == 0, f"{left} of 9 operations go on")
    # Whatever else the machine does, now and then it does it quickly.
    check(min(delays) < 0.05, f"it raised after {1000 * min(delays):.0f} ms at best")
    return f"{1000 * min(delays):.1f} ms at best of 9, all cancelled"


judge(hazard)
